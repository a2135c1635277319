/* New content in place of the old, whole: it is built aside, in a twin, and the two change
 * places. */
#include "arena_state.h"
#include "fatal.h"

static enum sa_code twin_in_pool(struct sa_arena *a, struct sa_arena *fresh, struct sa_why *why)
{
    struct cell c;
    fatal_arm();
    wipers_wait();
    uint64_t before = arena_begin_cell(fresh);
    enum sa_code code = slab_take_alike(a->slab, fresh, a->size, &c, why);
    /* The fill's end gives the lift back. */
    arena_end_cell(fresh, code ? NULL : &c, a->size, code ? before : FILL | LATER);
    return code;
}

enum sa_code sa_twin(struct sa_arena *a, struct sa_arena *fresh, struct sa_why *why)
{
    enum sa_code code = arena_alive(a);
    if (code || atomic_load(&a->use) & CLOSED)
        return code ? code : SA_CLOSED;
    if (a->slab)
        return twin_in_pool(a, fresh, why);
    unsigned had = hold_granted(atomic_load(slot_hold(arena_slot(a))));
    return arena_make_plain(fresh, a->size, a->tail, had, why);
}

/* The arena is wiped, and buffers are exported that tie it to where it lies. */
static enum sa_code fill_in_place(struct sa_arena *a, struct sa_arena *fresh, struct sa_why *why)
{
    const uint8_t *bytes;
    enum sa_code code = sa_borrow(fresh, &bytes);
    if (code)
        return code;
    if (!(code = sa_fill_begin(a, why))) {
        code = sa_store(a, 0, bytes, a->size);
        enum sa_code end = sa_fill_end(a, code == SA_OK);
        code = code ? code : end;
    }
    enum sa_code back = sa_return(fresh);
    return code ? code : back;
}

static void own(struct cell place, struct sa_arena *a)
{
    if (place.slab)
        slab_set_owner(place.slab, place.index, a);
    else
        slot_set_owner(place.slot, a);
}

/* Both are moving. */
static enum sa_code exchange(struct sa_arena *a, struct sa_arena *fresh, struct sa_why *why)
{
    struct cell from = arena_place(a), to = arena_place(fresh);
    enum sa_code code = arena_lift(a, why);
    if (code)
        return code;
    arena_check_canary(a);
    /* The pages get the access that the arena's have before it lies there. */
    if (!a->slab && (code = arena_set_access(to.slot, arena_wants(atomic_load(&a->use)), why))) {
        arena_unlift(a);
        return code;
    }
    if (!arena_whole(fresh)) {
        arena_unlift(a);
        return SA_WIPED;
    }
    /* The slot's stamp at which the new content is whole; and a count for the arena at which
     * it is, another than any before. */
    uint64_t whole = atomic_load(&fresh->good) - atomic_load(&fresh->wipes);
    uint64_t count = arena_stamp(a) + 2;
    atomic_store(&fresh->good, NEVER_GOOD);
    arena_set_place(a, to);
    arena_set_place(fresh, from);
    own(to, a);
    own(from, fresh);
    atomic_store(&a->wipes, count - whole);
    atomic_store(&a->good, count);
    if (a->slab)
        slab_unlift(from.slab);
    return SA_OK;
}

enum sa_code sa_replace(struct sa_arena *a, struct sa_arena *fresh, struct sa_why *why)
{
    enum sa_code code = arena_alive(a);
    if (code || (code = arena_begin_moving(a, FILL)))
        return code;
    uint64_t u = atomic_load(&a->use);
    if (arena_whole(a) && u & (EXPORTS | READS | EDITS)) {
        code = u & EXPORTS ? SA_BUSY : SA_FILLING;
    } else if (u & EXPORTS) {
        arena_leave(a, MOVING);
        return fill_in_place(a, fresh, why);
    } else if (!(code = arena_begin_moving(fresh, FILL))) {
        code = exchange(a, fresh, why);
        arena_leave(fresh, MOVING);
    }
    arena_leave(a, MOVING);
    return code;
}
