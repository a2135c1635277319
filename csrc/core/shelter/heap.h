/* A heap for small objects on the vault's pages: cells of one size in spans of a few pages, each
 * span between guards, locked, and kept out of core files and children. */
#ifndef SECALLOC_HEAP_H
#define SECALLOC_HEAP_H

#include "vault/spans.h"

/* `bytes` of memory at a multiple of 16, noise or zeros, or with `zeroed` zeros. NULL: not to be
 * had under the limits, or without LOCK and what sa_require() names. [any] */
void *heap_take(size_t bytes, bool zeroed);

/* The same, at a multiple of `alignment`, a power of two; NULL beyond that of a page. [any] */
void *heap_take_aligned(size_t bytes, size_t alignment, bool zeroed);

/* Zero a block and let it go; any thread's. One that is none, or went before, ends the process.
 * [any] */
void heap_give(void *block);

/* The block with another size: in place, or at another address, and zeroed where it was. NULL: not
 * to be had, and it is what it was. What it loses is zeroed. [any] */
void *heap_resize(void *block, size_t bytes);

/* Whether the address lies in a block or between blocks of the heap. [any] */
static inline bool heap_has(const void *p) { return spans_find(p) != NULL; }

/* False: it does not, by two comparisons. [any] */
static inline bool heap_may_have(const void *p) { return spans_enclose(p); }

/* How many bytes of a block may be written. [any] */
size_t heap_size(const void *block);

/* Blocks in use, and their bytes. [any] */
void heap_count(size_t *blocks, size_t *bytes);

/* Give back what is kept for the next block. [any] */
void heap_trim(void);

/* For fork: held meanwhile, so that every span is whole. False: the calling thread has it, as in a
 * handler that interrupted it, or another one for half a minute. [any, atfork] */
SA_MUST_USE bool heap_hold(void);
bool heap_is_held(void); /* by the calling thread, which then takes nothing, and gives but zeros */
void heap_let_go(void);
void heap_forked(void); /* in the child: nobody has it [atfork child] */

#endif
