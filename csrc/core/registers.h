/* What a copy or a comparison leaves in the processor. */
#ifndef SECALLOC_REGISTERS_H
#define SECALLOC_REGISTERS_H

/* Zero every register that a call may change, vector and general ones. For whoever
 * has just read a secret: what is left there goes to the stack with the next signal
 * frame, and where glibc's loader resolves a function at its first call. [signal] */
void registers_forget(void);

#endif
