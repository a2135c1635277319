/* Zeroing our own scratch, in a way that no compiler drops. */
#ifndef SECALLOC_WIPE_H
#define SECALLOC_WIPE_H

#include <string.h>

/* Zero `n` bytes at `p`. The empty asm takes the pointer and clobbers memory, so
 * the store before it counts as used. [signal] */
static inline void wipe_scratch(void *p, size_t n)
{
    memset(p, 0, n);
    __asm__ __volatile__("" : : "r"(p) : "memory");
}

#endif
