/* Where an arena lies, and all that differs by it: slack, access, wiping, taking, giving back. */
#include "arena/place.h"
#include "arena/cipher.h"
#include "base/registers.h"
#include "vault/canary.h"
#include "fatal/fatal.h"
#include "vault/large.h"
#include "vault/noise.h"
#include "vault/vault.h"

#include <string.h>

void arena_set_place(struct sa_arena *a, struct cell place)
{
    atomic_store(&a->region, place.slot.region);
    atomic_store(&a->slot, place.slot.index);
    if (place.slab) { /* else none of it changes, and a census may be reading */
        a->slab = place.slab;
        a->cell = (uint16_t)place.index;
        a->tail = (uint32_t)place.tail;
    }
}

/* ---- slack ------------------------------------------------------------------------------ */

/* The slack on both sides of the bytes, up to the slot's or the cell's ends. */
struct slack {
    uint8_t *front, *bytes, *tail, *end;
};

static struct slack slack_of(struct sa_arena *a)
{
    struct slot s = arena_slot(a);
    uint8_t *from = slot_data(s), *end = from + s.region->data, *bytes = end - a->tail - a->size;
    if (s.region->is_file)
        return (struct slack){bytes, bytes, bytes, bytes};
    if (a->slab) {
        size_t n;
        from = end - slab_cell_before_end(a->slab, a->cell, &n);
        end = from + n;
    }
    return (struct slack){from, bytes, bytes + a->size, end};
}

void arena_lay_canary(struct sa_arena *a)
{
    struct slack s = slack_of(a);
    canary_lay(s.front, s.bytes);
    canary_lay(s.tail, s.end);
}

/* A wiper overwrites slack too, so damage counts only if no wipe began meanwhile. */
void arena_check_canary(struct sa_arena *a)
{
    struct slack s = slack_of(a);
    if (!arena_whole(a) || (canary_whole(s.front, s.bytes) && canary_whole(s.tail, s.end)))
        return;
    atomic_thread_fence(memory_order_acquire); /* what was read before the generation */
    if (arena_whole(a))
        fatal_tampered(FATAL_CANARY);
}

bool arena_check_lifted(struct sa_arena *a, bool moving)
{
    struct sa_why unused;
    if (!a->slab && !moving && !slot_allows(arena_slot(a), OS_READ))
        return false;
    if (arena_lift(a, &unused)) /* refused: there is nothing to look at */
        return true;
    arena_check_canary(a);
    if (a->slab || moving)
        arena_unlift(a);
    return true;
}

/* ---- access -------------------------------------------------------------------------------- */

SA_COLD enum sa_code place_refused(int error, struct sa_why *why)
{
    *why = slot_refused(error);
    return SA_NO_MEMORY;
}

static enum sa_code refused(int error, struct sa_why *why)
{
    return error ? place_refused(error, why) : SA_OK;
}

enum sa_code place_apply(struct sa_arena *a, uint64_t use, struct sa_why *why)
{
    if (cipher_concerns(a))
        return cipher_apply(a, use_wants(use), use & USE_FILL, why);
    return refused(slot_set_access(arena_slot(a), use_wants(use)), why);
}

enum sa_code arena_apply_access(struct sa_arena *a, struct sa_why *why)
{
    if (a->slab)
        return SA_OK;
    struct slot s = arena_slot(a);
    uint64_t u = atomic_load(&a->use);
    bool lower = slot_allows(s, (enum os_access)(use_wants(u) + 1));
    if (lower)
        while (u & USE_EXPORTS)
            if (atomic_compare_exchange_weak(&a->use, &u, u | USE_LATER))
                return SA_BUSY;
    if (u & USE_LATER) /* which nobody else sets or clears while we move it */
        atomic_fetch_and(&a->use, ~USE_LATER);
    return place_apply(a, u, why);
}

enum sa_code arena_open_pages(struct sa_arena *a, enum os_access least, struct sa_why *why)
{
    enum os_access pool = arena_pool_access(a);
    if (pool < least)
        return pool == OS_READ ? SA_READ_ONLY : SA_SEALED;
    enum sa_code code = arena_apply_access(a, why);
    return code == SA_BUSY ? SA_OK : code; /* more open than it should be until the exports end */
}

enum sa_code arena_close_fill(struct sa_arena *a)
{
    struct sa_why unused;
    uint64_t u = atomic_load(&a->use);
    if (!a->slab) /* inside a block for reading they are accessible anyway */
        return arena_apply_access(a, &unused) == SA_BUSY && !(u & USE_READS) ? SA_BUSY : SA_OK;
    while (place_lift_ends(a->slab, u))
        if (atomic_compare_exchange_weak(&a->use, &u, u & ~USE_LATER)) {
            slab_unlift(a->slab);
            break;
        }
    return SA_OK;
}

enum sa_code arena_lift(struct sa_arena *a, struct sa_why *why)
{
    if (a->slab)
        return refused(slab_lift(a->slab), why);
    if (slot_allows(arena_slot(a), OS_READ))
        return SA_OK;
    return refused(slot_set_access(arena_slot(a), OS_READ), why);
}

void arena_unlift(struct sa_arena *a)
{
    struct sa_why unused;
    if (a->slab)
        slab_unlift(a->slab);
    else if (arena_apply_access(a, &unused)) {
        /* refused: a little more open than it was */
    }
}

/* ---- wiping and giving back ------------------------------------------------------------------ */

/* Count a wipe of usable content that others hold buffers of. As a reader, or moving, or
 * closed. */
static void tell_pool(struct sa_arena *a)
{
    if (atomic_load(&a->use) & USE_EXPORTS && arena_whole(a))
        slab_overtaken(a->slab);
}

void arena_wipe(struct sa_arena *a)
{
    if (!a->slab) {
        (void)slot_wipe_and_restore(arena_slot(a)); /* live, as long as it is counted in */
        return;
    }
    /* A cell alone. Its slot stays live and its neighbours' content whole; a wiper
     * of the slot may write the same noise at the same time. */
    tell_pool(a);
    atomic_fetch_add(&a->wipes, 1);
    atomic_thread_fence(memory_order_release); /* the generation before the first byte */
    slab_wipe_cell(a->slab, a->cell);
    atomic_fetch_add(&a->wipes, 1);
}

void arena_wipe_closed(struct sa_arena *a)
{
    struct sa_why unused;
    bool lifted = arena_lift(a, &unused) == SA_OK;
    if (lifted)
        arena_check_canary(a);
    if (!a->slab) {
        place_wipe(arena_place(a));
        return;
    }
    tell_pool(a);
    if (lifted) {
        slab_wipe_lifted(a->slab, a->cell);
        slab_unlift(a->slab);
    } else {
        slab_wipe_cell(a->slab, a->cell);
    }
}

void arena_give_back(struct sa_arena *a)
{
    if (a->slab)
        slab_give_back(a->slab, a->cell, a->size);
    else
        vault_put(arena_slot(a), a->size, slot_retire(arena_slot(a)));
}

/* Overwrite the content of a live slot with noise, then with canary as its slack is. False: there
 * is noise on it, or is to be. */
static bool leave_canary(struct sa_arena *a, struct slot s)
{
    uint64_t h = atomic_load(slot_word(s));
    if (large_is(s) || a->size > os_page_size() / 2 || h & WORD_DROPPED ||
        word_access(h) != OS_WRITE || !arena_whole(a))
        return false; /* a large one is not parked, and may be a file that others read */
    arena_check_canary(a);
    uint8_t *bytes = arena_bytes(a);
    noise_wipe(bytes, a->size);
    canary_lay(bytes, bytes + a->size);
    return true;
}

/* Check, wipe and free a cell under one lock, which spares it a lift. False: nothing was done. */
static bool end_cell(struct sa_arena *a)
{
    struct sa_slab *slab = a->slab;
    if (!slab_lock_writable(slab))
        return false;
    arena_check_canary(a);
    slab_wipe_lifted(slab, a->cell);
    slab_free_cell(slab, a->cell, a->size);
    slab_retain_or_unmap(slab);
    slab_unlock(slab);
    return true;
}

void arena_end(struct sa_arena *a)
{
    struct slot s = arena_slot(a);
    if (a->slab && end_cell(a))
        return;
    if (a->slab || !leave_canary(a, s)) {
        arena_wipe_closed(a);
        arena_give_back(a);
        return;
    }
    bool whole = slot_retire(s); /* a wiper that came meanwhile has ended with this */
    vault_put_canary(s, a->size, whole, arena_whole(a));
}

/* ---- places -------------------------------------------------------------------------------- */

/* 0 or an errno. */
static int put_first(uint8_t *bytes, size_t size, enum slot_holds holds, struct sa_content content)
{
    if (content.random)
        return os_entropy(bytes, size);
    if (content.from) {
        memcpy(bytes, content.from, size);
        registers_forget();
    } else if (holds != HOLDS_ZEROS) {
        memset(bytes, 0, size);
    }
    return 0;
}

static void set_new(struct sa_arena *a, const struct cell *place, size_t size, uint64_t generation)
{
    a->epoch = vault_epoch();
    a->size = size;
    a->tail = (uint32_t)place->tail; /* less than a slab has, or a page */
    a->cell = (uint16_t)place->index;
    atomic_store_explicit(&a->slab, place->slab, memory_order_relaxed);
    atomic_store_explicit(&a->wipes, 0, memory_order_relaxed);
    atomic_store_explicit(&a->good, generation, memory_order_relaxed);
    atomic_store_explicit(&a->region, place->slot.region, memory_order_relaxed);
    atomic_store_explicit(&a->slot, place->slot.index, memory_order_relaxed);
}

enum sa_code arena_start(struct sa_arena *a, const struct cell *place, size_t size,
                         enum slot_holds holds, struct sa_content content, uint64_t use,
                         struct sa_why *why)
{
    bool filled = content.from || content.random;
    uint64_t generation = slot_generation(place->slot); /* a wipe from now on moves it */
    if (!place->slab)
        slot_publish(place->slot, false);
    set_new(a, place, size, generation);
    if (holds != HOLDS_CANARY)
        arena_lay_canary(a);
    int error = put_first(arena_bytes(a), size, holds, content);
    if (filled && slot_generation(place->slot) != generation)
        arena_wipe(a); /* what was put there behind a wiper's back */
    atomic_store_explicit(&a->use, filled ? 0 : use, memory_order_release);
    place_show_owner(place, a);
    if (!error)
        return SA_OK;
    *why = (struct sa_why){.call = "getrandom", .error = error};
    return SA_OS_ERROR;
}

enum sa_code place_take_own(size_t size, size_t tail, unsigned least, struct cell *out,
                            enum slot_holds *holds, struct sa_why *why)
{
    size_t bytes;
    if (__builtin_add_overflow(size, tail, &bytes)) {
        *why = (struct sa_why){.call = "mmap"};
        return SA_NO_MEMORY;
    }
    *out = (struct cell){.tail = tail};
    return vault_take(bytes, size, least, &out->slot, holds, why);
}

enum sa_code place_take_alike(struct sa_arena *a, struct sa_arena *owner, struct cell *out,
                              enum slot_holds *holds, struct sa_why *why)
{
    *holds = HOLDS_NOISE;
    if (!a->slab) {
        unsigned least = place_granted(arena_place(a));
        if (owner != a && a->encrypts) /* plaintext needs the lock that ciphertext may have given */
            least |= (a->required | sa_required()) & SA_LOCK;
        return place_take_own(a->size, a->tail, least, out, holds, why);
    }
    return slab_take_alike(a->slab, owner, a->size, out, why);
}

void place_set_owner(struct cell place, struct sa_arena *owner)
{
    if (place.slab)
        slab_set_owner(place.slab, place.index, owner);
    else
        slot_set_owner(place.slot, owner);
}

unsigned place_granted(struct cell place)
{
    return word_granted(atomic_load(slot_word(place.slot)));
}

void place_wipe(struct cell place)
{
    if (place.slab)
        slab_wipe_cell(place.slab, place.index);
    else
        (void)slot_wipe(place.slot); /* live, until we retire it */
}

void place_unlift(struct cell place)
{
    if (place.slab)
        slab_unlift(place.slab);
}

void place_drop(struct cell place, size_t size, bool live)
{
    place_unlift(place);
    if (place.slab)
        slab_give_back(place.slab, place.index, size);
    else
        vault_put(place.slot, size, live ? slot_retire(place.slot) : true);
}

void place_free_locked(struct cell place, size_t size)
{
    slab_wipe_cell(place.slab, place.index);
    slab_free_cell(place.slab, place.index, size);
}
