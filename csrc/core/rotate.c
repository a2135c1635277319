/* Moving an arena's content to fresh pages. */
#include "arena_state.h"
#include "noise.h"
#include "registers.h"

#include <string.h>

/* Copy the pages that may hold something; a large slot comes zeroed and mostly
 * untouched, and its copy shall be so too. */
static void copy_pages(uint8_t *to, const uint8_t *from, size_t bytes, bool locked)
{
    enum { BATCH = 512 };
    size_t page = os_page_size();
    unsigned char touched[BATCH];
    while (bytes) {
        size_t part = bytes < BATCH * page ? bytes : BATCH * page;
        bool known = slot_touched((void *)(uintptr_t)from, part, locked, touched);
        for (size_t i = 0; i < part / page; i++)
            if (!known || touched[i] & 1)
                memcpy(to + i * page, from + i * page, page);
        to += part;
        from += part;
        bytes -= part;
    }
}

static unsigned granted(struct cell place) { return hold_granted(atomic_load(slot_hold(place.slot))); }

static enum sa_code new_place(struct sa_arena *a, struct cell *to, bool *zeroed,
                              struct sa_why *why)
{
    *zeroed = false;
    if (a->slab)
        return slab_take_alike(a->slab, a, a->size, to, why);
    size_t tail = a->tail;
    *to = (struct cell){.tail = tail};
    enum sa_code code = vault_take(a->size + tail, a->size, granted(arena_place(a)), &to->slot,
                                   zeroed, why); /* never less than it has */
    if (!code)
        slot_set_owner(to->slot, a);
    return code;
}

/* The place holds noise or nothing. A pool's was lifted for the move. */
static void drop_place(struct sa_arena *a, struct cell place, bool live)
{
    if (place.slab) {
        slab_unlift(place.slab);
        slab_give_back(place.slab, place.index, a->size);
    } else {
        vault_put(place.slot, a->size, live ? slot_retire(place.slot) : true);
    }
}

static void wipe_place(struct cell place)
{
    if (place.slab)
        slab_wipe_cell(place.slab, place.index);
    else
        (void)slot_wipe(place.slot); /* live until we retire it */
}

/* Move content, canary and all that is counted from place to place, unless a wipe
 * came first: then false, with nothing written to `to`. */
static bool move_content(struct sa_arena *a, struct cell from, struct cell to, bool zeroed)
{
    sigset_t mask;
    for (unsigned turn = 0; arena_whole(a); slot_wait_clear(turn++)) {
        if (!slot_hold_both(from.slot, to.slot, &mask))
            continue;
        bool whole = arena_whole(a);
        if (whole) {
            const uint8_t *bytes = arena_bytes(a);
            arena_set_place(a, to);
            atomic_store(&a->wipes, atomic_load(&a->good) - slot_stamp(to.slot));
            if (zeroed)
                copy_pages(slot_data(to.slot), slot_data(from.slot), to.slot.region->data,
                           granted(from) & SA_LOCK);
            else
                memcpy(arena_bytes(a), bytes, a->size);
            registers_forget();
            arena_lay_canary(a);
        }
        slot_unhold_both(from.slot, to.slot, whole || to.slab, &mask);
        return whole;
    }
    return false;
}

static enum sa_code move(struct sa_arena *a, struct sa_why *why)
{
    struct cell from = arena_place(a), to;
    bool zeroed, moved = false;
    arena_check_canary(a);
    if (!arena_whole(a))
        return SA_WIPED;
    enum sa_code code = noise_rekey(why);
    if (code || (code = new_place(a, &to, &zeroed, why)))
        return code;
    if ((moved = move_content(a, from, to, zeroed)))
        wipe_place(from);
    else
        code = SA_WIPED;
    drop_place(a, moved ? from : to, moved);
    return code;
}

static enum sa_code rotate(struct sa_arena *a, struct sa_why *why)
{
    enum sa_code code = arena_alive(a);
    if (code || (code = arena_begin_moving(a, EXPORTS | FILL)))
        return code;
    if (!(code = arena_lift(a, why))) {
        code = move(a, why);
        arena_unlift(a); /* where it lies now */
    }
    arena_leave(a, MOVING);
    return code;
}

enum sa_code sa_rotate(struct sa_arena *a, uint32_t timeout_ms, struct sa_why *why)
{
    struct sa_turn turn = {0};
    int64_t end = os_now_ms() + timeout_ms, left = timeout_ms;
    enum sa_code code;
    while (((code = rotate(a, why)) == SA_BUSY || code == SA_FILLING) && left > 0) {
        sa_turn_wait(a, &turn, false, (uint32_t)left);
        left = end - os_now_ms();
    }
    sa_turn_end(a, &turn);
    return code;
}
