/* The access that an arena's pages have, and sealing it. */
#include "arena_state.h"

enum sa_code arena_begin_moving(struct sa_arena *a, uint64_t against)
{
    for (unsigned turn = 0;; os_wait(turn++)) {
        uint64_t u = atomic_load(&a->use);
        if (u & CLOSED)
            return SA_CLOSED;
        if (u & (MOVING | READERS))
            continue;
        if (u & against & (FILL | READS | EDITS))
            return SA_FILLING;
        if (u & against & EXPORTS)
            return SA_BUSY;
        if (atomic_compare_exchange_strong(&a->use, &u, u | MOVING))
            return SA_OK;
    }
}

static enum sa_code refused(int error, struct sa_why *why)
{
    if (!error)
        return SA_OK;
    *why = (struct sa_why){.call = "mprotect", .error = error,
                           .mend = "raise the data limit (ulimit -d) or vm.max_map_count"};
    return SA_NO_MEMORY;
}

enum sa_code arena_set_access(struct slot s, enum os_access access, struct sa_why *why)
{
    return refused(slot_set_access(s, access), why);
}

enum sa_code arena_settle_access(struct sa_arena *a, struct sa_why *why)
{
    struct slot s = arena_slot(a);
    uint64_t u = atomic_load(&a->use);
    bool lower = slot_allows(s, (enum os_access)(arena_wants(u) + 1));
    if (lower)
        while (u & EXPORTS)
            if (atomic_compare_exchange_weak(&a->use, &u, u | LATER))
                return SA_BUSY;
    atomic_fetch_and(&a->use, ~LATER);
    return arena_set_access(s, arena_wants(u), why);
}

enum sa_code arena_lift(struct sa_arena *a, struct sa_why *why)
{
    struct sa_slab *slab = a->slab;
    if (slab)
        return refused(slab_lift(slab), why);
    if (slot_allows(arena_slot(a), OS_READ))
        return SA_OK;
    return arena_set_access(arena_slot(a), OS_READ, why);
}

void arena_unlift(struct sa_arena *a)
{
    struct sa_why unused;
    struct sa_slab *slab = a->slab;
    if (slab)
        slab_unlift(slab);
    else if (arena_settle_access(a, &unused)) {
        /* refused: a little more open than it was */
    }
}

enum sa_code sa_seal(struct sa_arena *a, struct sa_why *why)
{
    struct sa_slab *slab = a->slab;
    enum sa_code code = arena_alive(a);
    if (code || (code = arena_begin_moving(a, slab ? 0 : EXPORTS | FILL | READS | EDITS)))
        return code;
    if (slab) {
        code = SA_POOLED;
    } else if (!(atomic_load(&a->use) & SEALED)) {
        atomic_fetch_or(&a->use, SEALED);
        if ((code = arena_settle_access(a, why)))
            atomic_fetch_and(&a->use, ~SEALED);
    }
    arena_leave(a, MOVING);
    return code;
}
