/* What the pool's own files share; nobody else includes it. pool.c takes and gives back
 * cells; pool_access.c seals and opens their pages. */
#ifndef SECALLOC_POOL_STATE_H
#define SECALLOC_POOL_STATE_H

#include "arena_state.h"
#include "shard.h"

#include <pthread.h>

enum {
    FINE_STEP = 16, FINE_LIMIT = 512,
    CLASSES = FINE_LIMIT / FINE_STEP + 8 + 1, /* the last: one arena a slab */
    ALONE = CLASSES - 1,
    SLAB_PAGES = 16,
    ANY_SHARD = SHARDS,
};
struct sa_slab {
    _Alignas(64) struct sa_slab *next; /* never changes once linked */
    struct sa_pool *pool;
    unsigned class, shard;
    _Atomic bool locked;
    _Atomic uint32_t free; /* cells to be had; 0 without pages */
    _Atomic uint32_t gate; /* access for the arenas, then lifts; see pool_access.c */
    _Atomic bool changing; /* lock over the pages' access and `mapped` */
    /* under the lock: */
    bool mapped, lowering;
    unsigned granted; /* its pages' LOCK, SECRETMEM and NODUMP */
    struct slot slot;
    size_t cell_bytes, bytes;
    uint32_t cells, hint; /* the bitmap's word to look at first */
    uint64_t *taken;      /* a bit a cell */
    struct sa_arena **owners;
};

struct sa_pool {
    pthread_mutex_t sealing; /* over the three below it, outermost */
    bool sealed;
    unsigned reads, edits;   /* open blocks */
    _Atomic int access;      /* what new slabs are born with */
    _Atomic uint64_t overtaken; /* see pool_overtaken */
    pthread_mutex_t lock; /* over growth, and the registry's links under its lock */
    struct sa_pool *next, **from;
    uint32_t epoch;
    _Atomic bool closed;
    struct {
        _Atomic int64_t ms;
        _Atomic uint64_t returns;
    } refused[2]; /* when secretmem, and a lock, were refused last: see pool.c */
    _Atomic uint32_t pages[SHARDS][CLASSES]; /* in slabs of the shard and class */
    _Atomic(struct sa_slab *) slabs[CLASSES];
    _Atomic(struct sa_slab *) recent[SHARDS][CLASSES]; /* where a shard looks first */
    _Atomic(struct sa_slab *) spare[SHARDS][CLASSES]; /* an empty one that keeps its pages */
};

static inline bool try_lock_slab(struct sa_slab *s)
{
    return !atomic_exchange_explicit(&s->locked, true, memory_order_acquire);
}

static inline void lock_slab(struct sa_slab *s)
{
    for (unsigned turn = 0; !try_lock_slab(s);)
        os_wait(turn++);
}

static inline void unlock_slab(struct sa_slab *s)
{
    atomic_store_explicit(&s->locked, false, memory_order_release);
}

/* SA_CLOSED, SA_FORKED, or why this process cannot start. [any] */
SA_MUST_USE enum sa_code pool_alive(struct sa_pool *p, struct sa_why *why);

/* A slab got pages, which are accessible, or is to lose them; its lock is held. [any] */
void pool_pages_came(struct sa_slab *s);
void pool_pages_go(struct sa_slab *s);

#endif
