/* What a call leaves on the stack below its caller, and in registers. */
#ifndef SECALLOC_SHELTER_STACK_H
#define SECALLOC_SHELTER_STACK_H

/* Zero both, down to the lowest page of the stack that was ever touched. Where the bounds of the
 * stack are not known, as on a coroutine's, the registers alone. Learns the calling thread's
 * bounds at its first call. [any] */
void stack_forget(void);

#endif
