/* Moving an arena's content to fresh pages. */
#include "arena_state.h"
#include "noise.h"
#include "registers.h"

#include <string.h>

/* Become the one that moves the arena; waits for exports until `timeout_ms`. */
static enum sa_code begin_moving(struct sa_arena *a, uint32_t timeout_ms)
{
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (unsigned turn = 0;; os_wait(turn++)) {
        uint64_t u = atomic_load(&a->use);
        if (u & CLOSED)
            return SA_CLOSED;
        if (u & FILLS)
            return SA_FILLING;
        if (!(u & (EXPORTS | MOVING | READERS)) &&
            atomic_compare_exchange_strong(&a->use, &u, u | MOVING))
            return SA_OK;
        clock_gettime(CLOCK_MONOTONIC, &now);
        int64_t ms = (int64_t)(now.tv_sec - start.tv_sec) * 1000 +
                     (now.tv_nsec - start.tv_nsec) / 1000000;
        if (u & EXPORTS && ms >= timeout_ms)
            return SA_BUSY;
    }
}

/* Copy the pages that may hold something; a large slot comes zeroed and mostly
 * untouched, and its copy shall be so too. */
static void copy_pages(uint8_t *to, const uint8_t *from, size_t bytes, bool sparse)
{
    enum { BATCH = 512 };
    size_t page = os_page_size();
    unsigned char touched[BATCH];
    while (bytes) {
        size_t part = bytes < BATCH * page ? bytes : BATCH * page;
        bool known = sparse && os_touched((void *)(uintptr_t)from, part, touched) == 0;
        for (size_t i = 0; i < part / page; i++)
            if (!known || touched[i] & 1)
                memcpy(to + i * page, from + i * page, page);
        to += part;
        from += part;
        bytes -= part;
    }
}

/* Where content lies, or is to go. */
static struct cell place_of(struct sa_arena *a)
{
    return (struct cell){a->slab, a->cell, arena_slot(a), a->tail};
}

static enum sa_code new_place(struct sa_arena *a, struct cell *to, bool *zeroed,
                              struct sa_why *why)
{
    *zeroed = false;
    if (a->slab)
        return pool_another_cell(a, to, why);
    size_t tail = a->tail;
    *to = (struct cell){.tail = tail};
    enum sa_code code = vault_take(a->size + tail, a->size, &to->slot, zeroed, why);
    if (!code)
        slot_set_owner(to->slot, a);
    return code;
}

/* The place holds noise or nothing. A pool's was lifted for the move. */
static void drop_place(struct sa_arena *a, struct cell place, bool live)
{
    if (place.slab) {
        pool_unlift(place.slab);
        pool_give_back(place.slab, place.index, a->size);
    } else {
        vault_put(place.slot, a->size, live ? slot_retire(place.slot) : true);
    }
}

static void wipe_place(struct cell place)
{
    if (place.slab)
        pool_wipe_cell(place.slab, place.index);
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
            arena_set_slot(a, to.slot);
            if (to.slab) { /* else none of it changes, and a census may be reading */
                a->slab = to.slab;
                a->cell = to.index;
                a->tail = to.tail;
            }
            if (zeroed)
                copy_pages(slot_data(to.slot), slot_data(from.slot), to.slot.region->data,
                           hold_granted(atomic_load(slot_hold(from.slot))) & SA_LOCK);
            else
                memcpy(arena_bytes(a), bytes, a->size);
            registers_forget();
            atomic_store(&a->good, arena_stamp(a));
            arena_lay_canary(a);
        }
        slot_unhold_both(from.slot, to.slot, whole || to.slab, &mask);
        return whole;
    }
    return false;
}

enum sa_code sa_rotate(struct sa_arena *a, uint32_t timeout_ms, struct sa_why *why)
{
    enum sa_code code = arena_alive(a);
    if (code || (code = begin_moving(a, timeout_ms)))
        return code;
    struct cell from = place_of(a), to;
    bool zeroed, moved = false;
    if (!(code = arena_lift(a, why))) {
        arena_check_canary(a);
        if (!arena_whole(a))
            code = SA_WIPED;
        else if (!(code = noise_rekey(why)) && !(code = new_place(a, &to, &zeroed, why))) {
            moved = move_content(a, from, to, zeroed);
            if (moved)
                wipe_place(from);
            else
                code = SA_WIPED;
            drop_place(a, moved ? from : to, moved);
        }
        arena_unlift(a); /* where it lies now */
    }
    arena_leave(a, MOVING);
    return code;
}
