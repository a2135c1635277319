/* What a dying thread leaves beside its arenas, for a core file to show. */
#ifndef SECALLOC_SCRUB_H
#define SECALLOC_SCRUB_H

/* Clear the vector registers that wait in a handler's frame, and the interrupted
 * stack below its pointer: what functions that returned left there. All that is in
 * use above the pointer stays, for a backtrace. The stack is left alone where its bounds
 * are not known, or the pointer is outside of them. Only where the thread is bound to die
 * when the handler returns, and no other process shares the memory. [signal] */
void stack_scrub(void *context);

#endif
