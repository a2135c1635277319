/* All sets of slabs of this process: made and freed, and asked by address or in sum. */
#include "vault/locks.h"
#include "slab/state.h"
#include "vault/vault.h"

#include <stdlib.h>

/* The sets of one process: a child's are none of its parent's. */
static struct {
    struct slab_set *first;
    uint32_t epoch;
} registry;

/* Take the lock, and give the sets of this process. */
static struct slab_set *lock_registry(void)
{
    lock_take(LOCK_POOLS);
    if (registry.epoch != vault_epoch())
        registry.first = NULL;
    registry.epoch = vault_epoch();
    return registry.first;
}

static void unlock_registry(void) { lock_give(LOCK_POOLS); }

/* ---- making and freeing ------------------------------------------------------------------ */

static void enroll(struct slab_set *set)
{
    set->next = lock_registry();
    set->from = &registry.first;
    if (set->next)
        set->next->from = &set->next;
    registry.first = set;
    unlock_registry();
}

static void strike(struct slab_set *set)
{
    (void)lock_registry(); /* it is one of them */
    *set->from = set->next;
    if (set->next)
        set->next->from = set->from;
    unlock_registry();
}

enum sa_code slab_set_make(struct slab_set **out, struct sa_why *why)
{
    struct slab_set *set = calloc(1, sizeof *set);
    if (!set || pthread_mutex_init(&set->growing, NULL)) {
        free(set);
        *why = (struct sa_why){.call = "malloc"};
        return SA_NO_MEMORY;
    }
    atomic_store(&set->access, OS_WRITE);
    set->epoch = vault_epoch();
    enroll(set);
    *out = set;
    return SA_OK;
}

void slab_set_free(struct slab_set *set)
{
    if (set->epoch == vault_epoch())
        strike(set);
    for (struct sa_slab *s = slab_walk(set, NULL), *next; s; s = next) {
        next = slab_walk(set, s);
        free(s->taken); /* a parent's, in a forked child */
        free((void *)s->owners);
        free(s);
    }
    free(set);
}

/* ---- asking all ----------------------------------------------------------------------------- */

struct sa_slab *slabs_walk(struct sa_slab *after)
{
    struct slab_set *set = after ? after->set : lock_registry();
    struct sa_slab *next = set ? slab_walk_locked(set, after) : NULL;
    while (!next && set && (set = set->next))
        next = slab_walk_locked(set, NULL);
    if (!next)
        unlock_registry();
    return next;
}

struct slab_totals slabs_totals(void)
{
    struct slab_totals totals = {0};
    for (struct sa_slab *s = NULL; (s = slabs_walk(s));)
        slab_add_up(s, &totals);
    return totals;
}

/* With the slab's lock held. */
static bool cell_holds(struct sa_slab *s, const uint8_t *p, size_t n)
{
    size_t bytes;
    const uint8_t *first = slab_cell_at(s, 0, &bytes);
    if (p < first)
        return false;
    size_t index = (size_t)(p - first) / bytes, within = (size_t)(p - first) % bytes;
    if (n == 0 && within == 0 && index > 0)
        index--, within = bytes; /* the very end of the cell before */
    return index < s->cells && n <= bytes - within && s->owners[index];
}

bool slabs_hold(struct slot slot, const void *at, size_t n)
{
    bool holds = false;
    for (struct sa_slab *s = NULL; (s = slabs_walk(s));)
        if (s->mapped && slot_is(s->slot, slot)) {
            holds = cell_holds(s, at, n);
            slab_unlock_here(s);
            unlock_registry();
            break;
        }
    return holds;
}

static void describe(struct sa_slab *s, struct sa_live *out)
{
    uint64_t h = atomic_load(slot_word(s->slot));
    *out = (struct sa_live){
        .pages = (uintptr_t)slot_data(s->slot),
        .data = s->slot.region->data,
        .size = s->bytes,
        .arenas = slab_used(s),
        .protection = word_granted(h) | SA_GUARD | SA_NOFORK,
        .pooled = true,
        .sealed = word_wanted(h) == OS_NONE,
        .may_read = word_wanted(h) != OS_NONE,
        .may_write = word_wanted(h) == OS_WRITE,
    };
}

size_t slabs_census(struct sa_live *out, size_t room, size_t n)
{
    for (struct sa_slab *s = NULL; (s = slabs_walk(s));)
        if (s->mapped) {
            if (n < room)
                describe(s, &out[n]);
            n++;
        }
    return n;
}

void slabs_trim(void)
{
    for (struct sa_slab *s = NULL; (s = slabs_walk(s));)
        if (s->mapped && !slab_used(s))
            slab_unmap(s);
}
