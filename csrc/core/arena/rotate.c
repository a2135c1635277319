/* Moving an arena's content to fresh pages. */
#include "arena/cipher.h"
#include "arena/use.h"
#include "vault/noise.h"
#include "base/registers.h"

#include <string.h>

/* Copy the pages that may hold something; a large slot comes zeroed and mostly
 * untouched, and its copy shall be so too. */
static void copy_pages(uint8_t *to, uint8_t *from, size_t bytes, bool locked)
{
    struct slot_pages pages = {.at = from, .bytes = bytes, .locked = locked};
    for (size_t offset; slot_next_touched(&pages, &offset);)
        memcpy(to + offset, from + offset, os_page_size());
}

/* Move content, canary and all that is counted from place to place, unless a wipe
 * came first: then false, with nothing written to `to`. */
static bool move_content(struct sa_arena *a, struct cell from, struct cell to,
                         enum slot_holds holds)
{
    sigset_t mask;
    for (unsigned turn = 0; arena_whole(a); slot_wait_clear(turn++)) {
        if (!slot_lock_pair(from.slot, to.slot, &mask))
            continue;
        bool whole = arena_whole(a);
        if (whole) {
            const uint8_t *bytes = arena_bytes(a);
            arena_set_place(a, to);
            atomic_store(&a->wipes, atomic_load(&a->good) - slot_generation(to.slot));
            if (holds == HOLDS_ZEROS)
                copy_pages(slot_data(to.slot), slot_data(from.slot), to.slot.region->data,
                           place_granted(from) & SA_LOCK);
            else
                memcpy(arena_bytes(a), bytes, a->size);
            registers_forget();
            if (holds != HOLDS_CANARY)
                arena_lay_canary(a);
            if (!place_is_shared(to))
                cipher_move(from.slot, to.slot); /* as ciphertext */
        }
        slot_unlock_pair(from.slot, to.slot, whole || place_is_shared(to), &mask);
        return whole;
    }
    return false;
}

static enum sa_code move(struct sa_arena *a, struct sa_why *why)
{
    struct cell from = arena_place(a), to;
    enum slot_holds holds;
    arena_check_canary(a);
    if (!arena_whole(a))
        return SA_WIPED;
    enum sa_code code = noise_rekey(why);
    if (code || (code = place_take_alike(a, a, &to, &holds, why)))
        return code;
    place_show_owner(&to, a);
    bool moved = move_content(a, from, to, holds);
    if (moved)
        place_wipe(from);
    place_drop(moved ? from : to, a->size, moved);
    return moved ? SA_OK : SA_WIPED;
}

static enum sa_code rotate(struct sa_arena *a, struct sa_why *why)
{
    enum sa_code code = arena_alive(a);
    if (code || (code = arena_begin_moving(a, USE_EXPORTS | USE_FILL)))
        return code;
    if (!(code = arena_lift(a, why))) {
        code = move(a, why);
        arena_unlift(a); /* where it lies now */
    }
    arena_leave(a, USE_MOVING);
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
