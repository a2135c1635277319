/* What the slabs' own files share: slab.c has the cells of one, gate.c its pages' access, set.c
 * finds a cell among many or has pages cut, registry.c knows all sets.
 *
 * A slab has a lock of its own and belongs to a shard of threads, so that threads seldom meet.
 * Slab records stay in their list as long as the set lives, so that it can be walked without a
 * lock; only their pages come and go. The record of cells and their owners lies outside of the secret
 * pages. Locks are taken in the order registry, set, slab, vault. */
#ifndef SECALLOC_SLAB_STATE_H
#define SECALLOC_SLAB_STATE_H

#include "base/shard.h"
#include "slab/slab.h"

#include <pthread.h>

enum {
    CELL_STEP = 16,
    CELL_FINE = 512, /* cells up to there are multiples of the step */
    SLAB_CLASSES = CELL_FINE / CELL_STEP + 8 + 1,
    SLAB_ALONE = SLAB_CLASSES - 1, /* the last class: one cell a slab */
    SLAB_PAGES = 16,               /* at most, but for those alone */
    SLAB_ANY_SHARD = SHARDS,
};
_Static_assert(SLAB_PAGES * 65536 / CELL_STEP <= UINT16_MAX + 1,
               "an arena keeps 16 bits of a cell");

struct sa_slab {
    _Alignas(64) struct sa_slab *next; /* of its class; never changes once linked */
    struct slab_set *set;
    unsigned class, shard;
    _Atomic bool locked;
    _Atomic uint32_t free; /* cells to be had; 0 without pages */
    _Atomic uint32_t gate; /* access for the owners, then lifts; see gate.c */
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

struct slab_set {
    struct slab_set *next, **from; /* in the registry, under its lock */
    uint32_t epoch;
    pthread_mutex_t growing;    /* over `closed`, and which slab is to get pages */
    _Atomic bool closed;
    _Atomic int access;         /* what slabs are born with */
    _Atomic uint64_t overtaken; /* see slab_overtaken */
    struct {
        _Atomic int64_t ms;
        _Atomic uint64_t returns;
    } refused[2]; /* when secretmem, and a lock, were refused last: see set.c */
    _Atomic uint32_t pages[SHARDS][SLAB_CLASSES]; /* in slabs of the shard and class */
    _Atomic(struct sa_slab *) slabs[SLAB_CLASSES];
    _Atomic(struct sa_slab *) recent[SHARDS][SLAB_CLASSES]; /* where a shard looks first */
    _Atomic(struct sa_slab *) spare[SHARDS][SLAB_CLASSES]; /* an empty one that keeps its pages */
};

static inline bool slab_try_lock(struct sa_slab *s)
{
    return !atomic_exchange_explicit(&s->locked, true, memory_order_acquire);
}

static inline void slab_lock_here(struct sa_slab *s)
{
    for (unsigned turn = 0; !slab_try_lock(s);)
        os_wait(turn++);
}

static inline void slab_unlock_here(struct sa_slab *s)
{
    atomic_store_explicit(&s->locked, false, memory_order_release);
}

/* Written under the lock alone, so a load and a store are enough. */
static inline uint32_t slab_free_cells(const struct sa_slab *s)
{
    return atomic_load_explicit(&s->free, memory_order_relaxed);
}

static inline void slab_set_free_cells(struct sa_slab *s, uint32_t n)
{
    atomic_store_explicit(&s->free, n, memory_order_relaxed);
}

/* With the lock held: cells in use. */
static inline uint32_t slab_used(const struct sa_slab *s)
{
    return s->mapped ? s->cells - slab_free_cells(s) : 0;
}

/* Cut the pages of a slab without any, which have just come to s->slot, into cells of that size,
 * and open them. Locked. SA_NO_MEMORY: the pages went back. [any] */
SA_MUST_USE enum sa_code slab_cut(struct sa_slab *s, unsigned shard, size_t cell,
                                  struct sa_why *why);

/* Take a free cell of a slab that has one. Locked. [any] */
struct cell slab_take_cell(struct sa_slab *s, struct sa_arena *owner, size_t size);

/* Give the pages of a slab whose cells are all free back. Locked. [any] */
void slab_unmap(struct sa_slab *s);

/* Where the lock limit is far enough to keep some pages for speed alone. [any] */
bool slab_lock_limit_is_far(void);

/* A slab got pages, which are accessible, or is to lose them. Locked. [any] */
void slab_pages_came(struct sa_slab *s);
void slab_pages_go(struct sa_slab *s);

/* Add what a slab has. Locked. [any] */
void slab_add_up(const struct sa_slab *s, struct slab_totals *totals);

#endif
