/* Sealing a pool and opening it: the access that its slabs' pages have.
 *
 * A slab's gate says what its arenas may do, and counts lifts: our own code at work on
 * the pages whatever that is, and arenas whose exports or fills outlast it. The pages have
 * at least the gate's access, and are writable while there are lifts. Access is raised
 * before the gate, and lowered after it when no lift is left. Whoever uses an arena counts
 * itself in and then looks at the gate; whoever lowers it sets the gate and then looks at
 * the arenas. */
#include "noise.h"
#include "pool_state.h"

#include <errno.h>

enum { GATE_ACCESS = 3, LIFT = 4 };

static enum os_access access_of(uint32_t gate) { return (enum os_access)(gate & GATE_ACCESS); }

enum os_access pool_access(struct sa_slab *s) { return access_of(atomic_load(&s->gate)); }

static void set_gate(struct sa_slab *s, enum os_access access)
{
    uint32_t gate = atomic_load(&s->gate);
    while (!atomic_compare_exchange_weak(&s->gate, &gate, (gate & ~3u) | (uint32_t)access))
        ;
}

/* ---- one slab --------------------------------------------------------------------- */

static void lock_access(struct sa_slab *s)
{
    for (unsigned turn = 0; atomic_exchange(&s->changing, true);)
        os_wait(turn++);
}

static void unlock_access(struct sa_slab *s) { atomic_store(&s->changing, false); }

/* EFAULT: a wiper had to give the pages up. */
static int raise_to(struct sa_slab *s, enum os_access access)
{
    int error = 0;
    lock_access(s);
    if (s->mapped && !slot_allows(s->slot, access))
        error = slot_set_access(s->slot, access);
    if (!error && s->mapped && atomic_load(slot_hold(s->slot)) & HOLD_DROPPED)
        error = EFAULT;
    unlock_access(s);
    return error;
}

/* Down to what the gate says, unless it is lifted. */
static void lower(struct sa_slab *s)
{
    lock_access(s);
    uint32_t gate = atomic_load(&s->gate);
    if (s->mapped && gate < LIFT && slot_set_access(s->slot, access_of(gate))) {
        /* refused: more open than it should be, as it was before */
    }
    unlock_access(s);
}

int pool_lift(struct sa_slab *s)
{
    if (access_of(atomic_fetch_add(&s->gate, LIFT)) == OS_WRITE)
        return 0;
    int error = raise_to(s, OS_WRITE);
    if (error)
        pool_unlift(s);
    return error;
}

void pool_unlift(struct sa_slab *s)
{
    uint32_t gate = atomic_fetch_sub(&s->gate, LIFT) - LIFT;
    if (gate < LIFT && access_of(gate) != OS_WRITE)
        lower(s);
}

void pool_wipe_cell(struct sa_slab *s, uint32_t index)
{
    size_t bytes;
    if (pool_lift(s)) {
        pool_overtaken(s);
        (void)slot_wipe(s->slot); /* with its neighbours, rather than not at all */
        return;
    }
    uint8_t *cell = pool_cell_at(s, index, &bytes);
    noise_wipe(cell, bytes);
    pool_unlift(s);
}

void pool_overtaken(struct sa_slab *s) { atomic_fetch_add(&s->pool->overtaken, 1); }

void pool_pages_came(struct sa_slab *s)
{
    lock_access(s);
    s->mapped = true;
    unlock_access(s);
    set_gate(s, (enum os_access)atomic_load(&s->pool->access));
    if (pool_access(s) != OS_WRITE)
        lower(s);
}

void pool_pages_go(struct sa_slab *s)
{
    lock_access(s);
    s->mapped = false;
    unlock_access(s);
}

/* ---- all of them ------------------------------------------------------------------- */

/* Call it for each slab with its lock held, until one gives a code. */
static enum sa_code each_slab(struct sa_pool *p, enum os_access access,
                              enum sa_code (*visit)(struct sa_slab *, enum os_access))
{
    enum sa_code code = SA_OK;
    for (unsigned class = 0; class < CLASSES && !code; class++)
        for (struct sa_slab *s = atomic_load(&p->slabs[class]); s && !code; s = s->next) {
            lock_slab(s);
            code = visit(s, access);
            unlock_slab(s);
        }
    return code;
}

static enum sa_code open_gate(struct sa_slab *s, enum os_access access)
{
    int error = raise_to(s, access);
    if (!error)
        set_gate(s, access);
    return error ? SA_NO_MEMORY : SA_OK;
}

/* Lifted until every use of the slab was looked at, or another's unlift would lower it. */
static enum sa_code close_gate(struct sa_slab *s, enum os_access access)
{
    atomic_fetch_add(&s->gate, LIFT);
    s->lowering = true;
    set_gate(s, access);
    return SA_OK;
}

static enum sa_code lower_pages(struct sa_slab *s, enum os_access unused)
{
    (void)unused;
    if (s->lowering) /* not one that came since: it was born with the right access */
        pool_unlift(s);
    s->lowering = false;
    return SA_OK;
}

/* Whether an arena lets its pages be lowered at all. A use that lasts lifts its slab, to
 * be unlifted when it ends; where it must not, it is told. Readers are waited for. */
static enum sa_code let_go(struct sa_slab *s, struct sa_arena *a, bool must, bool *wait)
{
    uint64_t u = atomic_load(&a->use);
    for (;;) {
        *wait = u & (MOVING | READERS) && !(u & CLOSED);
        if (*wait)
            return SA_OK;
        if (must && u & (FILL | READS | EDITS) && !(u & CLOSED))
            return SA_FILLING;
        if (!(u & EXPORTS) && (u & CLOSED || !(u & FILL)))
            return SA_OK;
        if (must || u & LATER)
            return SA_BUSY;
        atomic_fetch_add(&s->gate, LIFT); /* lifted already, so the pages need nothing */
        if (atomic_compare_exchange_strong(&a->use, &u, u | LATER))
            return SA_BUSY;
        atomic_fetch_sub(&s->gate, LIFT);
    }
}

/* All arenas of a slab. */
static enum sa_code all_let_go(struct sa_slab *s, bool must)
{
    bool wait = true, busy = false;
    for (unsigned turn = 0; wait; os_wait(turn++)) {
        enum sa_code code = SA_OK;
        wait = false;
        lock_slab(s);
        for (uint32_t i = 0; s->mapped && i < s->cells && !wait; i++)
            if (s->owners[i]) {
                code = let_go(s, s->owners[i], must, &wait);
                if (code && must)
                    break;
                busy |= code == SA_BUSY;
            }
        unlock_slab(s);
        if (code && must)
            return code;
    }
    return busy ? SA_BUSY : SA_OK;
}

static enum sa_code lower_all(struct sa_pool *p, enum os_access before, enum os_access access,
                              bool must)
{
    bool busy = false;
    atomic_store(&p->access, access);
    (void)each_slab(p, access, close_gate); /* always SA_OK */
    for (unsigned class = 0; class < CLASSES; class++)
        for (struct sa_slab *s = atomic_load(&p->slabs[class]); s; s = s->next) {
            enum sa_code code = all_let_go(s, must);
            if (code && must) {
                atomic_store(&p->access, before);
                (void)each_slab(p, before, open_gate); /* refused: sealed it stays, in part */
                (void)each_slab(p, before, lower_pages);
                return code;
            }
            busy |= code != SA_OK;
        }
    (void)each_slab(p, access, lower_pages); /* always SA_OK */
    return busy ? SA_BUSY : SA_OK;
}

static enum sa_code raise_all(struct sa_pool *p, enum os_access before, enum os_access access,
                              struct sa_why *why)
{
    atomic_store(&p->access, access);
    enum sa_code code = each_slab(p, access, open_gate);
    if (code) {
        *why = (struct sa_why){.call = "mprotect",
                               .mend = "raise the data limit (ulimit -d) or vm.max_map_count"};
        (void)lower_all(p, access, before, false); /* what is in use follows later */
    }
    return code;
}

static enum sa_code change(struct sa_pool *p, bool must, struct sa_why *why)
{
    enum os_access before = (enum os_access)atomic_load(&p->access);
    enum os_access access = p->edits ? OS_WRITE : p->reads ? OS_READ : p->sealed ? OS_NONE : OS_WRITE;
    if (access == before)
        return SA_OK;
    return access > before ? raise_all(p, before, access, why) : lower_all(p, before, access, must);
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
static uint64_t wipes_of(struct sa_pool *p)
{
    return atomic_load(&p->overtaken) + wipers_passes();
}

enum sa_code sa_pool_open(struct sa_pool *p, bool for_change, uint64_t *stamp,
                          struct sa_why *why)
{
    enum sa_code code = pool_alive(p, why);
    if (code)
        return code;
    pthread_mutex_lock(&p->sealing);
    unsigned *blocks = for_change ? &p->edits : &p->reads;
    *stamp = wipes_of(p);
    ++*blocks;
    code = change(p, false, why);
    if (code == SA_BUSY)
        code = SA_OK; /* writable until what was lent ends */
    if (code)
        --*blocks;
    pthread_mutex_unlock(&p->sealing);
    return code;
}

enum sa_code sa_pool_open_end(struct sa_pool *p, bool for_change, uint64_t stamp,
                              struct sa_why *why)
{
    enum sa_code code = pool_alive(p, why);
    if (code)
        return code;
    pthread_mutex_lock(&p->sealing);
    --*(for_change ? &p->edits : &p->reads);
    code = change(p, false, why);
    bool wiped = wipes_of(p) != stamp;
    pthread_mutex_unlock(&p->sealing);
    return wiped ? SA_WIPED : code;
}
