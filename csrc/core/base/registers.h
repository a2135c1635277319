/* What a copy or a comparison leaves in the processor. */
#ifndef SECALLOC_REGISTERS_H
#define SECALLOC_REGISTERS_H

/* Zero every register that a call may change, vector and general ones. To be called after a
 * secret was read: what is left there goes to the stack with the next signal
 * frame, and where glibc's loader resolves a function at its first call. [signal] */
void registers_forget(void);

#if defined(__x86_64__)
enum registers_held { HELD_SSE = 1, HELD_AVX, HELD_AVX512 };

/* Which vector registers a thread can hold something in, by cpuid (ECX of 1, EBX of 7) and
 * xgetbv: cpuid alone may promise more than the kernel saves. [signal] */
enum registers_held registers_held(unsigned features, unsigned extended, unsigned saved);
#endif

#endif
