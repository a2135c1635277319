/* Sealing a pool and opening it: all its slabs' pages get other access together. */
#include "arena/word.h"
#include "pool/state.h"

/* Look at one arena's uses before its pages are lowered. *wait: readers, or a move, that are over
 * soon keep them as they are. A use that lasts lifts the slab until it ends: SA_BUSY. With `must`
 * it forbids the lowering: SA_BUSY, exports; SA_FILLING, a fill or blocks. Slab locked. */
static enum sa_code let_go(struct sa_slab *s, struct sa_arena *a, bool must, bool *wait)
{
    uint64_t u = atomic_load(&a->use);
    for (;;) {
        *wait = u & (USE_MOVING | USE_READERS) && !(u & USE_CLOSED);
        if (*wait)
            return SA_OK;
        if (must && u & (USE_FILL | USE_BLOCKS) && !(u & USE_CLOSED))
            return SA_FILLING;
        if (!(u & USE_EXPORTS) && (u & USE_CLOSED || !(u & USE_FILL)))
            return SA_OK;
        if (must || u & USE_LATER)
            return SA_BUSY;
        slab_lift_more(s); /* lifted already, so the pages need nothing */
        if (atomic_compare_exchange_strong(&a->use, &u, u | USE_LATER))
            return SA_BUSY;
        slab_lift_less(s);
    }
}

/* The same for all arenas of a slab, the short uses waited for. */
static enum sa_code all_let_go(struct sa_slab *s, bool must)
{
    bool wait = true, busy = false;
    for (unsigned turn = 0; wait; os_wait(turn++)) {
        enum sa_code code = SA_OK;
        wait = false;
        slab_lock(s);
        for (uint32_t i = 0; i < slab_cells(s) && !wait; i++)
            if (slab_owner(s, i)) {
                code = let_go(s, slab_owner(s, i), must, &wait);
                if (code && must)
                    break;
                busy |= code == SA_BUSY;
            }
        slab_unlock(s);
        if (code && must)
            return code;
    }
    return busy ? SA_BUSY : SA_OK;
}

static void close_gates(struct slab_set *set, enum os_access access)
{
    slab_set_put_access(set, access);
    for (struct sa_slab *s = NULL; (s = slab_walk_locked(set, s));)
        slab_close_gate(s, access);
}

/* The errno of the first slab that could not be opened, where it ends; or 0. */
static int open_gates(struct slab_set *set, enum os_access access)
{
    int error = 0;
    slab_set_put_access(set, access);
    for (struct sa_slab *s = NULL; (s = slab_walk_locked(set, s));)
        if ((error = slab_open_gate(s, access))) {
            slab_unlock(s);
            break;
        }
    return error;
}

static void lower_pages(struct slab_set *set)
{
    for (struct sa_slab *s = NULL; (s = slab_walk_locked(set, s));)
        slab_lower(s);
}

/* SA_BUSY: of some slabs only when a use that lasts ends. With `must` that is refused, with
 * nothing changed, and so is SA_FILLING. */
static enum sa_code lower_all(struct slab_set *set, enum os_access before, enum os_access access,
                              bool must)
{
    enum sa_code code = SA_OK;
    close_gates(set, access);
    for (struct sa_slab *s = NULL; (s = slab_walk(set, s)) && !(must && code);) {
        enum sa_code one = all_let_go(s, must);
        code = one ? one : code;
    }
    if (must && code)
        (void)open_gates(set, before); /* refused: sealed it stays, in part */
    lower_pages(set);
    return code;
}

static enum sa_code raise_all(struct slab_set *set, enum os_access before, enum os_access access,
                              struct sa_why *why)
{
    int error = open_gates(set, access);
    if (!error)
        return SA_OK;
    *why = slot_refused(error);
    (void)lower_all(set, before, before, false); /* what is in use follows later */
    return SA_NO_MEMORY;
}

static enum os_access wanted(const struct sa_pool *p)
{
    return p->edits ? OS_WRITE : p->reads ? OS_READ : p->sealed ? OS_NONE : OS_WRITE;
}

/* Give all slabs the access that is wanted now. With `must`, SA_FILLING and SA_BUSY say that uses
 * which last forbid it; else SA_BUSY says that some pages follow when they end. */
static enum sa_code change(struct sa_pool *p, bool must, struct sa_why *why)
{
    enum os_access before = slab_set_access(p->set), access = wanted(p);
    if (access == before)
        return SA_OK;
    return access > before ? raise_all(p->set, before, access, why)
                           : lower_all(p->set, before, access, must);
}

/* ---- the pool ----------------------------------------------------------------------- */

enum sa_code sa_pool_seal(struct sa_pool *p, struct sa_why *why)
{
    enum sa_code code = pool_alive(p, why);
    if (code)
        return code;
    pthread_mutex_lock(&p->sealing);
    if (p->reads || p->edits) {
        code = SA_FILLING;
    } else if (!p->sealed) {
        p->sealed = true;
        if ((code = change(p, true, why)))
            p->sealed = false;
    }
    pthread_mutex_unlock(&p->sealing);
    return code;
}

/* Of all wipes that an open block must not outlive. */
static uint64_t wipes_of(struct sa_pool *p) { return slab_set_overtaken(p->set) + wipers_passes(); }

enum sa_code sa_pool_open(struct sa_pool *p, bool for_change, uint64_t *generation,
                          struct sa_why *why)
{
    enum sa_code code = pool_alive(p, why);
    if (code)
        return code;
    pthread_mutex_lock(&p->sealing);
    unsigned *blocks = for_change ? &p->edits : &p->reads;
    *generation = wipes_of(p);
    ++*blocks;
    code = change(p, false, why);
    if (code == SA_BUSY)
        code = SA_OK; /* writable until what was lent ends */
    if (code)
        --*blocks;
    pthread_mutex_unlock(&p->sealing);
    return code;
}

enum sa_code sa_pool_open_end(struct sa_pool *p, bool for_change, uint64_t generation,
                              struct sa_why *why)
{
    enum sa_code code = pool_alive(p, why);
    if (code)
        return code;
    pthread_mutex_lock(&p->sealing);
    --*(for_change ? &p->edits : &p->reads);
    code = change(p, false, why);
    bool wiped = wipes_of(p) != generation;
    pthread_mutex_unlock(&p->sealing);
    return wiped ? SA_WIPED : code;
}
