/* The overwriting of memory that is let go, for both allocators of a Python process. */
#ifndef OVERWRITE_H
#define OVERWRITE_H

#include <stddef.h>
#include <string.h>

/* Zero [at, at + bytes). The compiler must believe that somebody looks at it afterwards. */
static inline void overwrite(void *at, size_t bytes)
{
    memset(at, 0, bytes);
    __asm__ volatile("" : : "r"(at) : "memory");
}

#endif
