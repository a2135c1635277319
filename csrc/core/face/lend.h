/* What this library and the one that `python -m secalloc run` loads before the program agree on:
 * in a sheltered call C code's blocks come from the heap here as well. */
#ifndef SECALLOC_FACE_LEND_H
#define SECALLOC_FACE_LEND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* Each may be called by any thread, at any time after it was handed over; none takes memory by
 * malloc. They live as long as the process. [any] */
struct lent {
    const _Atomic unsigned *threads; /* how many are in a call: 0, and nobody is inside */
    bool (*inside)(void);            /* whether this thread's blocks come from the heap now */
    /* A block at a multiple of `alignment`, a power of two. NULL: not to be had. */
    void *(*take)(size_t bytes, size_t alignment, bool zeroed);
    void *(*resize)(void *block, size_t bytes); /* NULL: not to be had, it is what it was */
    void (*give)(void *block);                  /* overwritten */
    bool (*has)(const void *block);             /* whether it is one of the heap */
    size_t (*size)(const void *block);          /* of one that is */
};

/* Exported by that library, under the name LEND. False: the C library's heap is not the one that
 * it knows, or another copy of this library was first. */
typedef bool lend_call(const struct lent *by);
#define LEND "secalloc_run_lend"

#endif
