/* Small arenas in cells of one size on a slab, a slot of the vault. All that says
 * who owns which cell lies outside the secret pages.
 *
 * A slab has a lock of its own and belongs to a shard of threads, so that threads
 * seldom meet. Slab records stay in their list as long as the pool lives, so that
 * it can be walked without a lock; only their pages come and go. Locks are taken
 * in the order registry, pool, slab, vault. */
#include "alt_stack.h"
#include "fatal.h"
#include "locks.h"
#include "pool_state.h"
#include "shard.h"

#include <stdlib.h>
#include <string.h>

/* A slab's record stands in a list that gcc's analyzer loses sight of. */
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 10
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif

enum { CANARY_LEAST = 8 };
/* Above FINE_LIMIT a class is at most a fifth larger than the one before. */
static const size_t coarse[] = {640, 768, 896, 1024, 1280, 1536, 1792, 2048};

/* The pools of one process: a child's are none of its parent's. */
static struct {
    struct sa_pool *first;
    uint32_t epoch;
} registry;

/* Take the lock, and give the pools of this process. */
static struct sa_pool *lock_registry(void)
{
    lock_take(LOCK_POOLS);
    if (registry.epoch != vault_epoch())
        registry.first = NULL;
    registry.epoch = vault_epoch();
    return registry.first;
}

/* Written under the lock alone, so a load and a store are enough. */
static uint32_t get_free(struct sa_slab *s)
{
    return atomic_load_explicit(&s->free, memory_order_relaxed);
}

static void set_free(struct sa_slab *s, uint32_t n)
{
    atomic_store_explicit(&s->free, n, memory_order_relaxed);
}

/* Class and cell size for `size` bytes and a canary. */
static unsigned class_for(size_t size, size_t *cell)
{
    *cell = 0;
    if (size > coarse[sizeof coarse / sizeof coarse[0] - 1])
        return ALONE; /* what follows cannot overflow */
    *cell = (size + CANARY_LEAST + FINE_STEP - 1) / FINE_STEP * FINE_STEP;
    if (*cell <= FINE_LIMIT)
        return (unsigned)(*cell / FINE_STEP - 1);
    for (unsigned i = 0; i < sizeof coarse / sizeof coarse[0]; i++)
        if (*cell <= coarse[i]) {
            *cell = coarse[i];
            return FINE_LIMIT / FINE_STEP + i;
        }
    return ALONE;
}

/* ---- cells of a slab, with its lock held ------------------------------------------ */

uint8_t *pool_cell_at(struct sa_slab *s, uint32_t index, size_t *bytes)
{
    *bytes = s->cell_bytes;
    uint8_t *end = slot_data(s->slot) + s->slot.region->data; /* the last meets the guard */
    return end - (size_t)(s->cells - index) * s->cell_bytes;
}

static size_t tail_for(const struct sa_slab *s, uint32_t index, size_t size)
{
    if (s->class == ALONE)
        return 0;
    return (size_t)(s->cells - index) * s->cell_bytes - size;
}

static bool take_cell(struct sa_slab *s, struct sa_arena *owner, size_t size, uint32_t *index)
{
    uint32_t words = (s->cells + 63) / 64;
    for (uint32_t i = 0, w = s->hint; i < words; i++, w = w + 1 < words ? w + 1 : 0) {
        uint64_t room = ~s->taken[w];
        if (!room)
            continue;
        *index = w * 64 + (uint32_t)__builtin_ctzll(room);
        s->taken[w] |= room & (0 - room);
        s->owners[*index] = owner;
        s->bytes += size;
        s->hint = w;
        set_free(s, get_free(s) - 1);
        return true;
    }
    return false;
}

static uint32_t used(struct sa_slab *s)
{
    return s->mapped ? s->cells - get_free(s) : 0;
}

void pool_cell_is_free(struct sa_slab *s, uint32_t index, size_t size)
{
    s->taken[index / 64] &= ~((uint64_t)1 << index % 64);
    s->owners[index] = NULL;
    s->bytes -= size;
    s->hint = index / 64;
    set_free(s, get_free(s) + 1);
}

static _Atomic(struct sa_slab *) *spare_of(struct sa_slab *s)
{
    return &s->pool->spare[s->shard][s->class];
}

/* Give an empty slab's pages back; its cells hold noise or nothing. */
static void unmap_slab(struct sa_slab *s)
{
    struct sa_slab *me = s;
    (void)atomic_compare_exchange_strong(spare_of(s), &me, NULL);
    atomic_fetch_sub(&s->pool->pages[s->shard][s->class],
                     (uint32_t)(s->slot.region->data / os_page_size()));
    set_free(s, 0);
    pool_pages_go(s);
    vault_put(s->slot, 0, slot_retire(s->slot));
    void *taken = s->taken, *owners = (void *)s->owners;
    s->taken = NULL; /* first: a child forked in between frees what is still here */
    s->owners = NULL;
    free(taken);
    free(owners);
}

/* Where the lock limit is far enough to keep some pages for speed alone. */
static bool lock_limit_is_far(void)
{
    return vault_lock_room() >= 64 * SLAB_PAGES * os_page_size();
}

/* One empty slab a class and shard keeps its pages, so that a single arena made and
 * closed again and again does not map them each time: not one that fell short of what may be
 * had again by now. Near the lock limit only a page is kept: more may be all that is allowed
 * to others. */
static void settle_empty(struct sa_slab *s)
{
    bool closed = atomic_load(&s->pool->closed);
    if (!s->mapped || used(s) || (!closed && atomic_load(spare_of(s)) == s))
        return;
    struct sa_slab *none = NULL;
    if (closed || s->class == ALONE || vault_wanted() & ~s->granted ||
        (s->slot.region->data > os_page_size() && !lock_limit_is_far()) ||
        !atomic_compare_exchange_strong(spare_of(s), &none, s))
        unmap_slab(s);
}

void pool_give_back(struct sa_slab *s, uint32_t index, size_t size)
{
    lock_slab(s);
    pool_cell_is_free(s, index, size);
    settle_empty(s);
    unlock_slab(s);
}

/* ---- growing ------------------------------------------------------------------------ */

/* Pages for the next slab: as many as shard and class have, so that few arenas hold few
 * pages, and no more than the lock limit has room for. */
static size_t next_pages(struct sa_pool *p, unsigned class, unsigned shard)
{
    size_t page = os_page_size();
    size_t pages = atomic_load(&p->pages[shard][class]);
    size_t room = vault_lock_room() / page;
    pages = pages < 1 ? 1 : pages > SLAB_PAGES ? SLAB_PAGES : pages;
    while (pages > 1 && pages > room)
        pages /= 2;
    while (pages & (pages - 1)) /* the vault's size classes */
        pages &= pages - 1;
    return pages;
}

/* With the pool's lock held: a record of the class without pages, or a new one. */
static struct sa_slab *slab_record(struct sa_pool *p, unsigned class)
{
    struct sa_slab *s = atomic_load(&p->slabs[class]);
    for (; s; s = s->next) {
        lock_slab(s);
        if (!s->mapped)
            return s;
        unlock_slab(s);
    }
    s = aligned_alloc(64, sizeof *s); /* no cache line shared between threads */
    if (!s)
        return NULL;
    memset(s, 0, sizeof *s);
    s->pool = p;
    s->class = class;
    atomic_store(&s->locked, true);
    s->next = atomic_load(&p->slabs[class]);
    atomic_store(&p->slabs[class], s);
    return s;
}

static enum sa_code no_heap(struct sa_why *why)
{
    *why = (struct sa_why){.call = "malloc"};
    return SA_NO_MEMORY;
}

/* Pages for a slab, fewer before a protection is not to be had. */
static enum sa_code take_pages(struct sa_slab *s, size_t pages, unsigned least, struct sa_why *why)
{
    bool zeroed;
    enum sa_code code = vault_take(pages * os_page_size(), 0, least, &s->slot, &zeroed, why);
    if (code == SA_UNPROTECTED && pages > 1)
        code = vault_take(1, 0, least, &s->slot, &zeroed, why);
    return code;
}

/* Cut a slab's pages into cells; failing, they went back. */
static enum sa_code cut(struct sa_slab *s, size_t cell, struct sa_why *why)
{
    size_t data = s->slot.region->data;
    s->granted = hold_granted(atomic_load(slot_hold(s->slot)));
    s->cell_bytes = s->class == ALONE ? data : cell;
    s->cells = (uint32_t)(data / s->cell_bytes);
    uint64_t *taken = calloc((s->cells + 63) / 64, sizeof *taken);
    struct sa_arena **owners = calloc(s->cells, sizeof *owners);
    if (!taken || !owners) {
        free(taken);
        free((void *)owners);
        vault_put(s->slot, 0, true);
        return no_heap(why);
    }
    if (s->cells % 64) /* bits beyond the last cell are never to be had */
        taken[s->cells / 64] = ~(uint64_t)0 << s->cells % 64;
    s->taken = taken;
    s->owners = owners;
    return SA_OK;
}

/* A slab with pages for the shard, with those protections at least, locked, all cells free. */
static enum sa_code grow(struct sa_pool *p, unsigned class, unsigned shard, size_t cell,
                         size_t size, unsigned least, struct sa_slab **out, struct sa_why *why)
{
    pthread_mutex_lock(&p->lock);
    struct sa_slab *s = atomic_load(&p->closed) ? NULL : slab_record(p, class);
    pthread_mutex_unlock(&p->lock);
    if (!s)
        return atomic_load(&p->closed) ? SA_CLOSED : no_heap(why);
    size_t bytes;
    bool zeroed;
    enum sa_code code = SA_OK;
    if (class != ALONE) {
        code = take_pages(s, next_pages(p, class, shard), least, why);
    } else {
        if (__builtin_add_overflow(size, CANARY_LEAST, &bytes))
            bytes = SIZE_MAX; /* refused below */
        code = vault_take(bytes, 0, least, &s->slot, &zeroed, why);
    }
    if (!code)
        code = cut(s, cell, why);
    if (code) {
        unlock_slab(s);
        return code;
    }
    s->hint = 0;
    s->bytes = 0;
    s->shard = shard;
    slot_publish(s->slot, true);
    pool_pages_came(s);
    atomic_fetch_add(&p->pages[shard][class], (uint32_t)(s->slot.region->data / os_page_size()));
    set_free(s, s->cells);
    *out = s;
    return SA_OK;
}

static bool has_room(const struct sa_slab *s, unsigned least)
{
    return s->mapped && atomic_load_explicit(&s->free, memory_order_relaxed) &&
           !(least & ~s->granted);
}

/* Lock a slab of the shard, or of ANY_SHARD, that has a free cell with those protections;
 * NULL: none has. */
static struct sa_slab *find_room(struct sa_pool *p, unsigned class, unsigned shard,
                                 unsigned least)
{
    for (struct sa_slab *s = atomic_load(&p->slabs[class]); s; s = s->next) {
        if (!get_free(s))
            continue;
        lock_slab(s);
        if (has_room(s, least) && (shard == ANY_SHARD || s->shard == shard))
            return s;
        unlock_slab(s);
    }
    return NULL;
}

/* The slab that the shard took from last, locked, if it has room. Where another
 * thread holds it right now the two share a shard: then we go to the next one. */
static struct sa_slab *recent_slab(struct sa_pool *p, unsigned class, unsigned *shard,
                                   unsigned least)
{
    struct sa_slab *s = atomic_load_explicit(&p->recent[*shard][class], memory_order_acquire);
    if (s && !try_lock_slab(s)) {
        *shard = (*shard + 1) % SHARDS;
        s = atomic_load_explicit(&p->recent[*shard][class], memory_order_acquire);
        if (s)
            lock_slab(s);
    }
    if (s && !has_room(s, least)) {
        unlock_slab(s);
        return NULL;
    }
    return s;
}

/* What keeps a cell from being taken; `moving` content may be moved in a sealed pool. */
static enum sa_code allowed(struct sa_pool *p, struct sa_slab *s, bool moving)
{
    if (atomic_load(&p->closed))
        return SA_CLOSED;
    enum os_access access = s ? pool_access(s) : (enum os_access)atomic_load(&p->access);
    return moving || access == OS_WRITE ? SA_OK : access == OS_READ ? SA_READ_ONLY : SA_SEALED;
}

/* What was refused within the last hundredth of a second, with nothing of ours put back since, is
 * not asked for again: at a limit each cell would pay for that, five hundred times its price. */
static bool just_refused(struct sa_pool *p, unsigned ask)
{
    unsigned i = ask & SA_SECRETMEM ? 0 : 1;
    int64_t ms = atomic_load_explicit(&p->refused[i].ms, memory_order_relaxed);
    return ms && atomic_load_explicit(&p->refused[i].returns, memory_order_relaxed) == vault_returns() &&
           os_about_now_ms() - ms < 10;
}

static void note_refusal(struct sa_pool *p, unsigned ask)
{
    unsigned i = ask & SA_SECRETMEM ? 0 : 1;
    atomic_store_explicit(&p->refused[i].returns, vault_returns(), memory_order_relaxed);
    atomic_store_explicit(&p->refused[i].ms, os_about_now_ms(), memory_order_relaxed);
}

/* A slab with a free cell that has those protections, locked; `must`: less will not do. */
static enum sa_code slab_with(struct sa_pool *p, unsigned class, unsigned *shard, size_t cell,
                              size_t size, unsigned least, bool must, struct sa_slab **out,
                              struct sa_why *why)
{
    if (class == ALONE)
        return grow(p, class, *shard, cell, size, least, out, why);
    *out = recent_slab(p, class, shard, least);
    bool ask = must || !just_refused(p, least); /* else all slabs are looked at once, below */
    if (!*out && ask)
        *out = find_room(p, class, *shard, least);
    /* Pages of its own for each shard only while the lock limit is far. */
    if (!*out && ask && !lock_limit_is_far())
        *out = find_room(p, class, ANY_SHARD, least);
    if (*out)
        return SA_OK;
    enum sa_code code = SA_UNPROTECTED;
    if (ask) {
        code = grow(p, class, *shard, cell, size, least, out, why);
        if (code == SA_UNPROTECTED)
            note_refusal(p, least);
    }
    if (code)
        *out = find_room(p, class, ANY_SHARD, least); /* rather share than fail */
    return *out ? SA_OK : code;
}

/* Take a cell for `size` bytes with those protections; its slab stays locked. */
static enum sa_code take(struct sa_pool *p, struct sa_arena *owner, size_t size, bool moving,
                         unsigned least, struct cell *out, struct sa_why *why)
{
    enum sa_code code = allowed(p, NULL, moving);
    if (code)
        return code;
    size_t cell;
    unsigned class = class_for(size, &cell), shard = shard_here();
    struct sa_slab *s = NULL;
    least &= SA_LOCK | SA_SECRETMEM | SA_NODUMP; /* the others every slab has */
    unsigned ask = least;
    if (class != ALONE) /* the vault does so itself */
        ask |= vault_wanted() & (SA_LOCK | SA_SECRETMEM);
    while ((code = slab_with(p, class, &shard, cell, size, ask, ask == least, &s, why))) {
        if (code != SA_UNPROTECTED || ask == least)
            return code;
        ask = pages_ask_less(ask, least);
    }
    _Atomic(struct sa_slab *) *recent = &p->recent[shard][class];
    if (atomic_load_explicit(recent, memory_order_relaxed) != s)
        atomic_store_explicit(recent, s, memory_order_release);
    code = allowed(p, s, moving);
    if (!code && moving) {
        int error = pool_lift(s); /* whoever moves content puts it back */
        if (error) {
            *why = (struct sa_why){.call = "mprotect", .error = error};
            code = SA_NO_MEMORY;
        }
    }
    if (code || !take_cell(s, owner, size, &out->index)) {
        settle_empty(s);
        unlock_slab(s);
        return code ? code : SA_CLOSED; /* a slab that was found with room has room */
    }
    out->slab = s;
    out->slot = s->slot;
    out->tail = tail_for(s, out->index, size);
    return SA_OK;
}

enum sa_code pool_another_cell(struct sa_arena *a, struct cell *out, struct sa_why *why)
{
    struct sa_slab *slab = a->slab;
    enum sa_code code = take(slab->pool, a, a->size, true, slab->granted, out, why);
    if (!code)
        unlock_slab(out->slab);
    return code;
}

/* ---- the pool ------------------------------------------------------------------------- */

enum sa_code sa_pool_make(struct sa_pool **out, struct sa_why *why)
{
    enum sa_code code = vault_enter(why);
    if (code)
        return code;
    struct sa_pool *p = calloc(1, sizeof *p);
    if (!p || pthread_mutex_init(&p->lock, NULL) || pthread_mutex_init(&p->sealing, NULL)) {
        free(p);
        return no_heap(why);
    }
    atomic_store(&p->access, OS_WRITE);
    p->epoch = vault_epoch();
    p->next = lock_registry();
    p->from = &registry.first;
    if (p->next)
        p->next->from = &p->next;
    registry.first = p;
    lock_give(LOCK_POOLS);
    *out = p;
    return SA_OK;
}

enum sa_code pool_alive(struct sa_pool *p, struct sa_why *why)
{
    if (atomic_load(&p->closed))
        return SA_CLOSED;
    enum sa_code code = vault_enter(why);
    return !code && p->epoch != vault_epoch() ? SA_FORKED : code;
}

/* With the slab locked still: the pool may be closed the moment it is free. */
static void settle_cell(struct sa_arena *a, struct cell c, size_t size)
{
    atomic_store_explicit(&a->slab, c.slab, memory_order_relaxed);
    a->cell = c.index;
    arena_settle(a, c.slot, slot_stamp(c.slot), size, c.tail, false);
}

void pool_set_owner(struct sa_slab *s, uint32_t index, struct sa_arena *owner)
{
    lock_slab(s);
    s->owners[index] = owner;
    unlock_slab(s);
}

enum sa_code pool_twin(struct sa_arena *a, struct sa_arena *fresh, struct sa_why *why)
{
    struct cell c;
    struct sa_slab *slab = a->slab;
    fatal_arm();
    wipers_wait();
    enum sa_code code = take(slab->pool, fresh, a->size, true, slab->granted, &c, why);
    if (code)
        return code;
    settle_cell(fresh, c, a->size);
    atomic_fetch_or(&fresh->use, LATER); /* the fill's end gives the lift back */
    unlock_slab(c.slab);
    return SA_OK;
}

enum sa_code sa_pool_alloc(struct sa_pool *p, struct sa_arena *a, size_t size,
                           struct sa_why *why)
{
    struct cell c;
    enum sa_code code = pool_alive(p, why);
    if (code)
        return code;
    alt_stack_ensure();
    fatal_arm();
    wipers_wait();
    unsigned required = sa_required();
    if ((code = vault_may_have(required, why)) ||
        (code = take(p, a, size, false, required, &c, why)))
        return code;
    settle_cell(a, c, size);
    unlock_slab(c.slab);
    return SA_OK;
}

/* False: an arena of the slab is being rotated just now. */
static bool close_slab(struct sa_slab *s)
{
    bool all = true;
    lock_slab(s);
    for (uint32_t i = 0; s->mapped && i < s->cells; i++)
        if (s->owners[i] && !arena_close_cell(s->owners[i]))
            all = false;
    settle_empty(s);
    unlock_slab(s);
    return all;
}

void sa_pool_close(struct sa_pool *p)
{
    struct sa_why unused;
    if (pool_alive(p, &unused))
        return; /* closed, or a parent's: nothing of it is here */
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->closed, true); /* from here on nobody grows or takes */
    pthread_mutex_unlock(&p->lock);
    for (unsigned class = 0; class < CLASSES; class++)
        for (struct sa_slab *s = atomic_load(&p->slabs[class]); s; s = s->next)
            for (unsigned turn = 0; !close_slab(s); turn++)
                os_wait(turn);
}

void sa_pool_free(struct sa_pool *p)
{
    sa_pool_close(p);
    if (p->epoch == vault_epoch()) {
        (void)lock_registry(); /* it is one of them */
        *p->from = p->next;
        if (p->next)
            p->next->from = p->from;
        lock_give(LOCK_POOLS);
    }
    for (unsigned class = 0; class < CLASSES; class++)
        for (struct sa_slab *s = atomic_load(&p->slabs[class]), *next; s; s = next) {
            next = s->next;
            free(s->taken); /* a parent's, in a forked child */
            free((void *)s->owners);
            free(s);
        }
    free(p);
}

static void add_up(struct sa_pool *p, size_t *slots, size_t *mapped, size_t *arenas,
                   size_t *bytes)
{
    for (unsigned class = 0; class < CLASSES; class++)
        for (struct sa_slab *s = atomic_load(&p->slabs[class]); s; s = s->next) {
            lock_slab(s);
            if (s->mapped) {
                ++*slots;
                *mapped += s->slot.region->data;
                *arenas += used(s);
                *bytes += s->bytes;
            }
            unlock_slab(s);
        }
}

void sa_pool_status(struct sa_pool *p, struct sa_pool_status *out)
{
    struct sa_why unused;
    size_t slots = 0;
    *out = (struct sa_pool_status){.closed = atomic_load(&p->closed),
                                   .sealed = atomic_load(&p->access) == OS_NONE};
    if (!pool_alive(p, &unused) || (out->closed && p->epoch == vault_epoch()))
        add_up(p, &slots, &out->mapped, &out->arenas, &out->bytes);
    else
        out->closed = true;
}

/* With the slab's lock held. */
static bool cell_holds(struct sa_slab *s, const uint8_t *p, size_t n)
{
    size_t bytes;
    const uint8_t *first = pool_cell_at(s, 0, &bytes);
    if (p < first)
        return false;
    size_t index = (size_t)(p - first) / bytes, within = (size_t)(p - first) % bytes;
    if (n == 0 && within == 0 && index > 0)
        index--, within = bytes; /* the very end of the cell before */
    return index < s->cells && n <= bytes - within && s->owners[index];
}

bool pool_holds(struct slot slot, const void *at, size_t n)
{
    bool found = false, holds = false;
    for (struct sa_pool *p = lock_registry(); p && !found; p = p->next)
        for (unsigned class = 0; class < CLASSES && !found; class++)
            for (struct sa_slab *s = atomic_load(&p->slabs[class]); s && !found; s = s->next) {
                lock_slab(s);
                found = s->mapped && s->slot.region == slot.region && s->slot.index == slot.index;
                holds = found && cell_holds(s, at, n);
                unlock_slab(s);
            }
    lock_give(LOCK_POOLS);
    return holds;
}

void pool_totals(size_t *slots, size_t *arenas, size_t *bytes)
{
    size_t mapped = 0;
    *slots = *arenas = *bytes = 0;
    for (struct sa_pool *p = lock_registry(); p; p = p->next)
        add_up(p, slots, &mapped, arenas, bytes);
    lock_give(LOCK_POOLS);
}

static void describe(struct sa_slab *s, struct sa_live *out)
{
    uint64_t h = atomic_load(slot_hold(s->slot));
    *out = (struct sa_live){
        .pages = (uintptr_t)slot_data(s->slot),
        .data = s->slot.region->data,
        .size = s->bytes,
        .arenas = used(s),
        .protection = hold_granted(h) | SA_GUARD | SA_NOFORK,
        .pooled = true,
        .sealed = hold_wanted(h) == OS_NONE,
        .may_read = hold_wanted(h) != OS_NONE,
        .may_write = hold_wanted(h) == OS_WRITE,
    };
}

size_t pool_census(struct sa_live *out, size_t room, size_t n)
{
    for (struct sa_pool *p = lock_registry(); p; p = p->next)
        for (unsigned class = 0; class < CLASSES; class++)
            for (struct sa_slab *s = atomic_load(&p->slabs[class]); s; s = s->next) {
                lock_slab(s);
                if (s->mapped) {
                    if (n < room)
                        describe(s, &out[n]);
                    n++;
                }
                unlock_slab(s);
            }
    lock_give(LOCK_POOLS);
    return n;
}

void pools_trim(void)
{
    for (struct sa_pool *p = lock_registry(); p; p = p->next)
        for (unsigned class = 0; class < CLASSES; class++)
            for (struct sa_slab *s = atomic_load(&p->slabs[class]); s; s = s->next) {
                lock_slab(s);
                if (s->mapped && !used(s))
                    unmap_slab(s);
                unlock_slab(s);
            }
    lock_give(LOCK_POOLS);
}
