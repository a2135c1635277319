/* Who uses an arena: this file counts in and out of its word, and tells who is last. */
#include "arena/use.h"

enum sa_code arena_elsewhere(struct sa_arena *a)
{
    alt_stack_ensure();
    if (!atomic_load_explicit(&a->region, memory_order_acquire))
        return SA_CLOSED; /* never made */
    struct sa_why unused;
    /* In a raw clone nobody told us yet: entering the vault finds out. Should the
     * start fail there, the epoch has moved all the same. */
    if (vault_enter(&unused) == SA_OK && a->epoch == vault_epoch())
        return SA_OK;
    return atomic_load(&a->use) & USE_CLOSED ? SA_CLOSED : SA_FORKED;
}

/* ---- in ------------------------------------------------------------------------------- */

/* Whether a newcomer has to wait: for a move, or for readers, too many to count one more, which
 * both are over soon; our own looks make a little room for the thread that has a turn. */
static bool has_to_wait(uint64_t u, uint64_t what, unsigned turn)
{
    if (u & USE_MOVING)
        return true;
    return what == USE_READER &&
           ((u & USE_READERS) == USE_READERS || (u & USE_WAITING && turn < 8));
}

/* Counted in first, then the pool is looked at: a thread that seals it does so the other way
 * round, so that one of the two sees the other. */
enum sa_code arena_stay(struct sa_arena *a, uint64_t use, uint64_t what, enum arena_need need)
{
    enum sa_code code = use_permits(use, arena_pool_access(a), need);
    if (code)
        arena_leave(a, what);
    return code;
}

enum sa_code arena_enter_slowly(struct sa_arena *a, uint64_t what, enum arena_need need)
{
    uint64_t u = atomic_load(&a->use);
    enum sa_code code;
    for (unsigned turn = 0;;) {
        if (u & USE_CLOSED)
            return SA_CLOSED;
        if (has_to_wait(u, what, turn)) {
            os_wait(turn++);
            u = atomic_load(&a->use);
            continue;
        }
        if ((code = use_permits(u, OS_WRITE, need)))
            return code;
        if (what == USE_EXPORT && (u & USE_EXPORTS) == USE_EXPORTS)
            return SA_CROWDED;
        if (atomic_compare_exchange_weak(&a->use, &u, u + what))
            break;
    }
    if (need != NEED_PAGES)
        use_note(a, u);
    return arena_stay(a, u, what, need);
}

/* ---- out ------------------------------------------------------------------------------- */

/* Give pages the access that they were to get when the last export ends, before it does. */
static void lower_before_last(struct sa_arena *a, uint64_t what)
{
    struct sa_why unused;
    for (unsigned turn = 0;; os_wait(turn++)) {
        uint64_t u = atomic_load(&a->use);
        if (!place_waits_for(arena_shares(a), u, what))
            return;
        if (u & (USE_MOVING | USE_READERS) ||
            !atomic_compare_exchange_strong(&a->use, &u, (u | USE_MOVING) & ~USE_LATER))
            continue;
        if (place_apply(a, u, &unused)) {
            /* refused: they stay open, as they were all along */
        }
        atomic_fetch_and(&a->use, ~USE_MOVING); /* nobody closes what moves */
        return;
    }
}

bool arena_is_last_out(struct sa_arena *a, uint64_t what)
{
    struct sa_slab *slab = arena_shares(a); /* now: once we are out its owner may free it */
    uint64_t u = atomic_load(&a->use), next;
    if (what == USE_EXPORT)
        use_note(a, u);
    do {
        while (place_waits_for(slab, u, what)) {
            lower_before_last(a, what);
            u = atomic_load(&a->use);
        }
        next = u - what;
        if (place_lift_ends(slab, next))
            next &= ~USE_LATER;
        if (next & USE_CLOSED && !(next & (USE_EXPORTS | USE_READERS | USE_MOVING | USE_GONE)))
            next |= USE_GONE;
    } while (!atomic_compare_exchange_weak(&a->use, &u, next));
    if (u & USE_LATER && !(next & USE_LATER))
        slab_unlift(slab);
    return next & USE_GONE && !(u & USE_GONE);
}

void arena_leave_slowly(struct sa_arena *a, uint64_t what)
{
    if (arena_is_last_out(a, what) && arena_alive(a) == SA_OK) {
        arena_wipe(a); /* again: a user that it had when it was closed may have written since */
        arena_give_back(a);
    }
}

/* ---- moving ------------------------------------------------------------------------------ */

enum sa_code arena_begin_moving(struct sa_arena *a, uint64_t against)
{
    uint64_t unused;
    return arena_begin_moving_with(a, against, 0, 0, &unused);
}

enum sa_code arena_begin_moving_slowly(struct sa_arena *a, uint64_t against, uint64_t added,
                                       uint64_t full, uint64_t *use)
{
    for (unsigned turn = 0;; os_wait(turn++)) {
        uint64_t u = atomic_load(&a->use);
        if (u & USE_CLOSED)
            return SA_CLOSED;
        if (u & (USE_MOVING | USE_READERS))
            continue;
        if (u & against & (USE_FILL | USE_BLOCKS))
            return SA_FILLING;
        if (u & against & USE_EXPORTS)
            return SA_BUSY;
        if (full && (u & full) == full)
            return SA_CROWDED;
        *use = (u | USE_MOVING) + added;
        if (atomic_compare_exchange_strong(&a->use, &u, *use))
            return SA_OK;
    }
}

enum sa_code arena_may_replace(struct sa_arena *a)
{
    uint64_t u = atomic_load(&a->use);
    if (!(u & (USE_EXPORTS | USE_BLOCKS)) || !arena_whole(a))
        return SA_OK;
    return u & USE_EXPORTS ? SA_BUSY : SA_FILLING;
}
