/* A pool's slabs together: this file finds a slab with a free cell, or gets pages for one more. */
#include "slab/state.h"
#include "vault/vault.h"

#include <stdlib.h>
#include <string.h>

/* What is asked for. */
struct wish {
    size_t size, cell; /* of the content, and of the cells of its class */
    unsigned class, shard;
    unsigned least; /* protections it must have */
    unsigned ask;   /* and should have */
};

/* ---- the set ----------------------------------------------------------------------------- */

void slab_set_close(struct slab_set *set)
{
    pthread_mutex_lock(&set->growing);
    atomic_store(&set->closed, true); /* from here on nobody grows or takes */
    pthread_mutex_unlock(&set->growing);
}

bool slab_set_is_closed(struct slab_set *set) { return atomic_load(&set->closed); }

uint64_t slab_set_overtaken(struct slab_set *set) { return atomic_load(&set->overtaken); }

struct sa_slab *slab_walk(struct slab_set *set, struct sa_slab *after)
{
    struct sa_slab *s = after ? after->next : NULL;
    for (unsigned i = after ? after->class + 1 : 0; !s && i < SLAB_CLASSES; i++)
        s = atomic_load(&set->slabs[i]);
    return s;
}

struct sa_slab *slab_walk_locked(struct slab_set *set, struct sa_slab *after)
{
    struct sa_slab *next = slab_walk(set, after);
    if (after)
        slab_unlock_here(after);
    if (next)
        slab_lock_here(next);
    return next;
}

struct slab_totals slab_set_totals(struct slab_set *set)
{
    struct slab_totals totals = {0};
    for (struct sa_slab *s = NULL; (s = slab_walk_locked(set, s));)
        slab_add_up(s, &totals);
    return totals;
}

/* ---- classes ----------------------------------------------------------------------------- */

enum { CANARY_LEAST = 8 };
/* Above CELL_FINE a class is at most a fifth larger than the one before. */
static const size_t coarse[] = {640, 768, 896, 1024, 1280, 1536, 1792, 2048};
enum { COARSE = sizeof coarse / sizeof coarse[0] };

/* The class of cells that hold `size` bytes and a canary, and the size of those cells; 0 for
 * SLAB_ALONE. */
static unsigned class_for(size_t size, size_t *cell)
{
    *cell = 0;
    if (size > coarse[COARSE - 1])
        return SLAB_ALONE; /* what follows cannot overflow */
    *cell = (size + CANARY_LEAST + CELL_STEP - 1) / CELL_STEP * CELL_STEP;
    if (*cell <= CELL_FINE)
        return (unsigned)(*cell / CELL_STEP - 1);
    for (unsigned i = 0; i < COARSE; i++)
        if (*cell <= coarse[i]) {
            *cell = coarse[i];
            return CELL_FINE / CELL_STEP + i;
        }
    return SLAB_ALONE;
}

/* The bytes of pages that one cell alone takes, with a canary. */
static size_t bytes_alone(size_t size)
{
    size_t bytes;
    return __builtin_add_overflow(size, CANARY_LEAST, &bytes) ? SIZE_MAX : bytes; /* is refused */
}

/* ---- growing ------------------------------------------------------------------------------ */

/* Bytes of pages for the next slab: as many as shard and class have, so that few arenas hold
 * few pages, and no more than the lock limit has room for. */
static size_t next_bytes(struct slab_set *set, const struct wish *w)
{
    size_t page = os_page_size();
    size_t pages = atomic_load(&set->pages[w->shard][w->class]);
    size_t room = vault_lock_room() / page;
    pages = pages < 1 ? 1 : pages > SLAB_PAGES ? SLAB_PAGES : pages;
    while (pages > 1 && pages > room)
        pages /= 2;
    while (pages & (pages - 1)) /* the vault's size classes */
        pages &= pages - 1;
    return pages * page;
}

/* Link a new record, locked. NULL: no heap. */
static struct sa_slab *new_record(struct slab_set *set, unsigned class)
{
    struct sa_slab *s = aligned_alloc(64, sizeof *s); /* no cache line shared between threads */
    if (!s)
        return NULL;
    memset(s, 0, sizeof *s);
    s->set = set;
    s->class = class;
    atomic_store(&s->locked, true);
    s->next = atomic_load(&set->slabs[class]);
    atomic_store(&set->slabs[class], s);
    return s;
}

/* A record of the class without pages, locked: one that lost them, or a new one. */
static enum sa_code take_record(struct slab_set *set, unsigned class, struct sa_slab **out,
                                struct sa_why *why)
{
    pthread_mutex_lock(&set->growing);
    bool closed = atomic_load(&set->closed);
    struct sa_slab *s = closed ? NULL : atomic_load(&set->slabs[class]);
    for (; s; s = s->next) {
        slab_lock_here(s);
        if (!s->mapped)
            break;
        slab_unlock_here(s);
    }
    if (!s && !closed)
        s = new_record(set, class);
    pthread_mutex_unlock(&set->growing);
    if (!s && !closed)
        *why = (struct sa_why){.call = "malloc"};
    *out = s;
    return s ? SA_OK : closed ? SA_CLOSED : SA_NO_MEMORY;
}

/* Pages for a slab, fewer before a protection is not to be had. */
static enum sa_code take_pages(struct sa_slab *s, size_t bytes, unsigned least, struct sa_why *why)
{
    enum slot_holds holds;
    enum sa_code code = vault_take(bytes, 0, least, &s->slot, &holds, why);
    if (code == SA_UNPROTECTED && s->class != SLAB_ALONE && bytes > os_page_size())
        code = vault_take(1, 0, least, &s->slot, &holds, why);
    return code;
}

/* A slab with pages for the shard, with the protections asked for, locked, all cells free. */
static enum sa_code grow(struct slab_set *set, const struct wish *w, struct sa_slab **out,
                         struct sa_why *why)
{
    struct sa_slab *s;
    enum sa_code code = take_record(set, w->class, &s, why);
    if (code)
        return code;
    size_t bytes = w->class == SLAB_ALONE ? bytes_alone(w->size) : next_bytes(set, w);
    code = take_pages(s, bytes, w->ask, why);
    if (!code)
        code = slab_cut(s, w->shard, w->cell, why);
    if (code)
        slab_unlock_here(s);
    else
        *out = s;
    return code;
}

/* ---- finding ------------------------------------------------------------------------------ */

static bool has_room(const struct sa_slab *s, const struct wish *w)
{
    return s->mapped && slab_free_cells(s) && !(w->ask & ~s->granted);
}

/* Lock a slab of the shard, or of SLAB_ANY_SHARD, that is as it is asked for; NULL: none is. */
static struct sa_slab *find_room(struct slab_set *set, const struct wish *w, unsigned shard)
{
    for (struct sa_slab *s = atomic_load(&set->slabs[w->class]); s; s = s->next) {
        if (!slab_free_cells(s))
            continue;
        slab_lock_here(s);
        if (has_room(s, w) && (shard == SLAB_ANY_SHARD || s->shard == shard))
            return s;
        slab_unlock_here(s);
    }
    return NULL;
}

static _Atomic(struct sa_slab *) *recent_of(struct slab_set *set, const struct wish *w)
{
    return &set->recent[w->shard][w->class];
}

/* The slab that the shard took from last, locked, if it has room. Where another
 * thread holds it right now the two share a shard: then we go to the next one. */
static struct sa_slab *recent_slab(struct slab_set *set, struct wish *w)
{
    struct sa_slab *s = atomic_load_explicit(recent_of(set, w), memory_order_acquire);
    if (s && !slab_try_lock(s)) {
        w->shard = (w->shard + 1) % SHARDS;
        s = atomic_load_explicit(recent_of(set, w), memory_order_acquire);
        if (s)
            slab_lock_here(s);
    }
    if (s && !has_room(s, w)) {
        slab_unlock_here(s);
        return NULL;
    }
    return s;
}

/* What was refused within the last hundredth of a second, with nothing of ours put back since, is
 * not asked for again: at a limit each cell would pay for that, five hundred times its price. */
static bool just_refused(struct slab_set *set, unsigned ask)
{
    unsigned i = ask & SA_SECRETMEM ? 0 : 1;
    int64_t ms = atomic_load_explicit(&set->refused[i].ms, memory_order_relaxed);
    uint64_t returns = atomic_load_explicit(&set->refused[i].returns, memory_order_relaxed);
    return ms && returns == vault_returns() && os_about_now_ms() - ms < 10;
}

static void note_refusal(struct slab_set *set, unsigned ask)
{
    unsigned i = ask & SA_SECRETMEM ? 0 : 1;
    atomic_store_explicit(&set->refused[i].returns, vault_returns(), memory_order_relaxed);
    atomic_store_explicit(&set->refused[i].ms, os_about_now_ms(), memory_order_relaxed);
}

/* A slab with a free cell that is as it is asked for, locked. */
static enum sa_code slab_as_asked(struct slab_set *set, struct wish *w, struct sa_slab **out,
                                  struct sa_why *why)
{
    if (w->class == SLAB_ALONE)
        return grow(set, w, out, why);
    if ((*out = recent_slab(set, w)))
        return SA_OK;
    enum sa_code code = SA_UNPROTECTED;
    if (w->ask == w->least || !just_refused(set, w->ask)) {
        *out = find_room(set, w, w->shard);
        /* Pages of its own for each shard only while the lock limit is far. */
        if (!*out && !slab_lock_limit_is_far())
            *out = find_room(set, w, SLAB_ANY_SHARD);
        if (*out || !(code = grow(set, w, out, why)))
            return SA_OK;
        if (code == SA_UNPROTECTED)
            note_refusal(set, w->ask);
    }
    *out = find_room(set, w, SLAB_ANY_SHARD); /* rather share than fail */
    return *out ? SA_OK : code;
}

/* The same with as many protections as are to be had. */
static enum sa_code best_slab(struct slab_set *set, struct wish *w, struct sa_slab **out,
                              struct sa_why *why)
{
    w->ask = w->least;
    if (w->class != SLAB_ALONE) /* the vault does so itself */
        w->ask |= vault_wanted() & (SA_LOCK | SA_SECRETMEM);
    for (;;) {
        enum sa_code code = slab_as_asked(set, w, out, why);
        if (code != SA_UNPROTECTED || w->ask == w->least)
            return code;
        w->ask = pages_ask_less(w->ask, w->least);
    }
}

/* ---- taking ------------------------------------------------------------------------------- */

/* What keeps a cell from being taken; `moving` content may be moved in a sealed pool. */
static enum sa_code allowed(struct slab_set *set, enum os_access access, bool moving)
{
    if (atomic_load(&set->closed))
        return SA_CLOSED;
    return moving || access == OS_WRITE ? SA_OK : access == OS_READ ? SA_READ_ONLY : SA_SEALED;
}

static enum sa_code lift(struct sa_slab *s, struct sa_why *why)
{
    int error = slab_lift(s);
    if (!error)
        return SA_OK;
    *why = slot_refused(error);
    return SA_NO_MEMORY;
}

static enum sa_code take(struct slab_set *set, struct sa_arena *owner, size_t size, bool moving,
                         unsigned least, struct cell *out, struct sa_why *why)
{
    enum sa_code code = allowed(set, (enum os_access)atomic_load(&set->access), moving);
    if (code)
        return code;
    struct sa_slab *s;
    struct wish w = {.size = size, .shard = shard_here()};
    w.class = class_for(size, &w.cell);
    w.least = least & (SA_LOCK | SA_SECRETMEM | SA_NODUMP); /* the others every slab has */
    if ((code = best_slab(set, &w, &s, why)))
        return code;
    if (atomic_load_explicit(recent_of(set, &w), memory_order_relaxed) != s)
        atomic_store_explicit(recent_of(set, &w), s, memory_order_release);
    code = allowed(set, slab_access(s), moving); /* again: it may have been closed or sealed */
    if (!code && moving)
        code = lift(s, why);
    if (!code)
        *out = slab_take_cell(s, owner, size);
    else
        slab_retain_or_unmap(s);
    slab_unlock_here(s);
    return code;
}

enum sa_code slab_take(struct slab_set *set, struct sa_arena *owner, size_t size, unsigned least,
                       struct cell *out, struct sa_why *why)
{
    return take(set, owner, size, false, least, out, why);
}

enum sa_code slab_take_alike(struct sa_slab *slab, struct sa_arena *owner, size_t size,
                             struct cell *out, struct sa_why *why)
{
    return take(slab->set, owner, size, true, slab->granted, out, why);
}
