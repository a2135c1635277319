/* Sealing an arena and opening it: the access that its pages have. */
#include "arena_state.h"

enum sa_code arena_begin_moving(struct sa_arena *a, uint64_t against)
{
    for (unsigned turn = 0;; os_wait(turn++)) {
        uint64_t u = atomic_load(&a->use);
        if (u & CLOSED)
            return SA_CLOSED;
        if (u & (MOVING | READERS))
            continue;
        if (u & against & (FILLS | READS | EDITS))
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
    return refused(slot_set_access(s, arena_wants(u)), why);
}

enum sa_code arena_lift(struct sa_arena *a, struct sa_why *why)
{
    struct sa_slab *slab = a->slab;
    if (slab)
        return refused(pool_lift(slab), why);
    if (slot_allows(arena_slot(a), OS_READ))
        return SA_OK;
    return refused(slot_set_access(arena_slot(a), OS_READ), why);
}

void arena_unlift(struct sa_arena *a)
{
    struct sa_why unused;
    struct sa_slab *slab = a->slab;
    if (slab)
        pool_unlift(slab);
    else if (arena_settle_access(a, &unused)) {
        /* refused: a little more open than it was */
    }
}

static enum sa_code begin(struct sa_arena *a, uint64_t against)
{
    enum sa_code code = arena_alive(a);
    return code ? code : arena_begin_moving(a, against);
}

enum sa_code sa_seal(struct sa_arena *a, struct sa_why *why)
{
    struct sa_slab *slab = a->slab;
    enum sa_code code = begin(a, slab ? 0 : EXPORTS | FILLS | READS | EDITS);
    if (code)
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

static enum sa_code look_inside(struct sa_arena *a, struct sa_why *why)
{
    if (!a->slab) {
        enum sa_code code = arena_settle_access(a, why);
        if (code && code != SA_BUSY) /* read-only when the exports end: nobody is lied to */
            return code;
    } else if (pool_access(a->slab) == OS_NONE) {
        return SA_SEALED;
    }
    return arena_whole(a) ? SA_OK : SA_WIPED;
}

enum sa_code sa_open(struct sa_arena *a, bool change, struct sa_why *why)
{
    uint64_t one = change ? EDIT : READ, all = change ? EDITS : READS;
    enum sa_code code = begin(a, FILLS);
    if (code)
        return code == SA_FILLING ? SA_WIPED : code;
    if ((atomic_load(&a->use) & all) == all) {
        arena_leave(a, MOVING);
        return SA_BUSY;
    }
    atomic_fetch_add(&a->use, one);
    if ((code = look_inside(a, why))) {
        atomic_fetch_sub(&a->use, one);
        if (!a->slab)
            arena_unlift(a);
    }
    arena_leave(a, MOVING);
    return code;
}

enum sa_code sa_open_end(struct sa_arena *a, bool change, struct sa_why *why)
{
    enum sa_code code = begin(a, 0);
    if (code)
        return code;
    atomic_fetch_sub(&a->use, change ? EDIT : READ);
    if (!a->slab)
        code = arena_settle_access(a, why);
    arena_leave(a, MOVING);
    return code;
}
