/* Pools: many small arenas on few pages. */
#ifndef SECALLOC_FACE_POOL_H
#define SECALLOC_FACE_POOL_H

#include "face/types.h"

struct sa_pool;

/* Make an empty pool, to be ended with sa_pool_free. [any] */
SA_MUST_USE enum sa_code sa_pool_make(struct sa_pool **out, struct sa_why *why);

/* As sa_arena_make, in the pool: on pages shared with its other arenas, start
 * aligned to 16 where the size allows, a canary behind the bytes. No cell falls short of a
 * protection while one that does not is free, or to be had. SA_CLOSED: the pool is. The arena
 * must be closed before sa_pool_free. [any] */
SA_MUST_USE enum sa_code sa_pool_alloc(struct sa_pool *pool, struct sa_arena *a, size_t size,
                                       struct sa_why *why);

/* The same with the sa_protection bits in `required`, and those of sa_require(), or not at
 * all: SA_UNPROTECTED. [any] */
SA_MUST_USE enum sa_code sa_pool_alloc_with(struct sa_pool *pool, struct sa_arena *a, size_t size,
                                            unsigned required, struct sa_why *why);

/* The same of content, as sa_arena_make_of. [any] */
SA_MUST_USE enum sa_code sa_pool_alloc_of(struct sa_pool *pool, struct sa_arena *a, size_t size,
                                          struct sa_content content, unsigned required,
                                          struct sa_why *why);

/* Close all arenas of the pool, and the pool to new ones; harmless when repeated
 * and in a forked child. [any] */
void sa_pool_close(struct sa_pool *pool);

/* sa_seal, sa_open and sa_open_end of all its pages at once. Sealed, or open for reading
 * alone, it makes no arenas: SA_SEALED, SA_READ_ONLY. [any] */
SA_MUST_USE enum sa_code sa_pool_seal(struct sa_pool *pool, struct sa_why *why);
/* The block's end is SA_WIPED where, since *generation was told, a lockdown passed, or an arena
 * with exported buffers was wiped. */
SA_MUST_USE enum sa_code sa_pool_open(struct sa_pool *pool, bool change, uint64_t *generation,
                                      struct sa_why *why);
SA_MUST_USE enum sa_code sa_pool_open_end(struct sa_pool *pool, bool change, uint64_t generation,
                                          struct sa_why *why);

/* Close, and free what the pool itself took. [any] */
void sa_pool_free(struct sa_pool *pool);

struct sa_pool_status {
    size_t arenas; /* live */
    size_t bytes;  /* their sizes together */
    size_t mapped; /* bytes of data pages held for them */
    bool closed;   /* or its process is not this one */
    bool sealed;   /* and not open */
};
void sa_pool_status(struct sa_pool *pool, struct sa_pool_status *out); /* [any] */

#endif
