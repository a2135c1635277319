/* The allocator that stands behind this library: the C library's, or another's. */
#ifndef BEHIND_H
#define BEHIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exported by glibc since 2.0 for just this purpose. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *block, size_t bytes);
void __libc_free(void *block);

/* Which function of it is meant. */
enum behind {
    BEHIND_MALLOC,
    BEHIND_CALLOC,
    BEHIND_REALLOC,
    BEHIND_FREE,
    BEHIND_MEMALIGN,
    BEHIND_ALIGNED_ALLOC,
    BEHIND_POSIX_MEMALIGN,
    BEHIND_VALLOC,
    BEHIND_PVALLOC,
    BEHIND_USABLE_SIZE,
    BEHIND_FUNCTIONS
};

/* Its address; 0: there is none, or the thread is asking just now. */
uintptr_t behind(enum behind function);

/* Whether it is the C library's own, whose blocks look as this library believes. */
bool behind_is_glibcs(void);

/* Memory for what dlsym takes while it is asked, at a multiple of 16; never given back. NULL: the
 * thread is not asking, or there is no more. */
void *behind_early(size_t bytes);
bool behind_is_early(const void *block);

#endif
