/* The access that a slab's pages have: what its owners may do, and lifts for our own code.
 *
 * A slab's gate says what its arenas may do, and counts lifts. A lift is our own code at work on
 * the pages, which the gate does not keep out, or an arena whose exports or fill outlast it. The pages have
 * at least the gate's access, and are writable while there are lifts. Access is raised before the
 * gate, and lowered after it when no lift is left. A user of an arena counts itself in and then
 * looks at the gate; a thread that lowers the gate sets it and then looks at the arenas: so one of
 * the two sees the other. */
#include "slab/state.h"

#include <errno.h>

enum { GATE_ACCESS = 3, LIFT = 4 };

static enum os_access access_of(uint32_t gate) { return (enum os_access)(gate & GATE_ACCESS); }

enum os_access slab_access(struct sa_slab *s) { return access_of(atomic_load(&s->gate)); }

static void set_gate(struct sa_slab *s, enum os_access access)
{
    uint32_t gate = atomic_load(&s->gate), next;
    do
        next = (gate & ~(uint32_t)GATE_ACCESS) | (uint32_t)access;
    while (!atomic_compare_exchange_weak(&s->gate, &gate, next));
}

static void lock_access(struct sa_slab *s)
{
    for (unsigned turn = 0; atomic_exchange(&s->changing, true);)
        os_wait(turn++);
}

static void unlock_access(struct sa_slab *s) { atomic_store(&s->changing, false); }

/* 0 or an errno; EFAULT: a wiper had to give the pages up. */
static int raise_locked(struct sa_slab *s, enum os_access access)
{
    int error = 0;
    if (s->mapped && !slot_allows(s->slot, access))
        error = slot_set_access(s->slot, access);
    if (!error && s->mapped && atomic_load(slot_word(s->slot)) & WORD_DROPPED)
        error = EFAULT;
    return error;
}

static int raise_to(struct sa_slab *s, enum os_access access)
{
    lock_access(s);
    int error = raise_locked(s, access);
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

/* ---- lifts ---------------------------------------------------------------------------- */

void slab_lift_more(struct sa_slab *s) { atomic_fetch_add(&s->gate, LIFT); }
void slab_lift_less(struct sa_slab *s) { atomic_fetch_sub(&s->gate, LIFT); }

int slab_lift(struct sa_slab *s)
{
    if (access_of(atomic_fetch_add(&s->gate, LIFT)) == OS_WRITE)
        return 0;
    int error = raise_to(s, OS_WRITE);
    if (error)
        slab_unlift(s);
    return error;
}

void slab_unlift(struct sa_slab *s)
{
    uint32_t gate = atomic_fetch_sub(&s->gate, LIFT) - LIFT;
    if (gate < LIFT && access_of(gate) != OS_WRITE)
        lower(s);
}

void slab_overtaken(struct sa_slab *s) { atomic_fetch_add(&s->set->overtaken, 1); }

/* ---- the gate ---------------------------------------------------------------------------- */

void slab_pages_came(struct sa_slab *s)
{
    lock_access(s);
    s->mapped = true;
    unlock_access(s);
    set_gate(s, slab_set_access(s->set));
    if (slab_access(s) != OS_WRITE)
        lower(s);
}

void slab_pages_go(struct sa_slab *s)
{
    lock_access(s);
    s->mapped = false;
    unlock_access(s);
}

/* Both under the lock of the access: who ends a lift in between would lower the pages that were
 * raised, as the gate does not say so yet. */
int slab_open_gate(struct sa_slab *s, enum os_access access)
{
    lock_access(s);
    int error = raise_locked(s, access);
    if (!error)
        set_gate(s, access);
    unlock_access(s);
    return error;
}

/* Lifted until every use of the slab was looked at, or another's unlift would lower it. */
void slab_close_gate(struct sa_slab *s, enum os_access access)
{
    slab_lift_more(s);
    s->lowering = true;
    set_gate(s, access);
}

void slab_lower(struct sa_slab *s)
{
    if (s->lowering) /* not one that came since: it was born with the right access */
        slab_unlift(s);
    s->lowering = false;
}

enum os_access slab_set_access(struct slab_set *set)
{
    return (enum os_access)atomic_load(&set->access);
}

void slab_set_put_access(struct slab_set *set, enum os_access access)
{
    atomic_store(&set->access, access);
}
