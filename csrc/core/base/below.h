/* What calls leave on the stack below their caller. */
#ifndef SECALLOC_BELOW_H
#define SECALLOC_BELOW_H

/* Of a function whose remains are to be overwritten: it has a frame of its own, below its caller's,
 * however much the compiler and the linker put together. */
#define OWN_FRAME __attribute__((noinline))

/* Overwrite the 4 KiB of stack below the caller. A compiler keeps parts of a key, or of content, in
 * memory where it has too few registers, and no source names these places. [signal] */
void wipe_below(void);

#endif
