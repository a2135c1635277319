/* Life of an arena on a slot: who uses it, make, lend, wipe, close. */
#include "alt_stack.h"
#include "arena_state.h"
#include "canary.h"
#include "fatal.h"
#include "noise.h"

#include <string.h>

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
    return atomic_load(&a->use) & CLOSED ? SA_CLOSED : SA_FORKED;
}

/* The slack on both sides of the bytes, up to the slot's or the cell's ends. */
struct slack {
    uint8_t *front, *bytes, *tail, *end;
};

static struct slack slack_of(struct sa_arena *a)
{
    struct slot s = arena_slot(a);
    uint8_t *bytes = arena_bytes(a), *from = slot_data(s);
    size_t n = s.region->data;
    if (a->slab)
        from = slab_cell_at(a->slab, a->cell, &n);
    return (struct slack){from, bytes, bytes + a->size, from + n};
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
    atomic_thread_fence(memory_order_acquire); /* what was read before the stamp */
    if (arena_whole(a))
        fatal_tampered();
}

/* ---- who uses it ------------------------------------------------------------------ */

static enum sa_code permits(uint64_t u, enum os_access pages, enum arena_need need)
{
    if (need == NEED_PAGES)
        return SA_OK;
    if (u & FILL)
        return need == NEED_READ ? SA_WIPED : SA_OK;
    if (need == NEED_FILL)
        return SA_WIPED;
    if (pages == OS_NONE || (u & SEALED && !(u & (READS | EDITS))))
        return SA_SEALED;
    if (need == NEED_WRITE && (pages == OS_READ || (u & READS && !(u & EDITS))))
        return SA_READ_ONLY;
    return SA_OK;
}

/* What the pool allows; all, where there is none. */
static enum os_access shared_access(struct sa_arena *a)
{
    struct sa_slab *slab = a->slab;
    return slab ? slab_access(slab) : OS_WRITE;
}

enum sa_code arena_enter(struct sa_arena *a, uint64_t what, enum arena_need need)
{
    uint64_t u = atomic_load(&a->use);
    enum sa_code code;
    for (unsigned turn = 0;;) {
        if (u & CLOSED)
            return SA_CLOSED;
        /* The first two are over soon. Our own looks make a little room for who has a turn. */
        if (u & MOVING || (what == READER && (u & READERS) == READERS) ||
            (what == READER && u & WAITING && turn < 8)) {
            os_wait(turn++);
            u = atomic_load(&a->use);
            continue;
        }
        if ((code = permits(u, OS_WRITE, need)))
            return code;
        if (what == EXPORT && (u & EXPORTS) == EXPORTS)
            return SA_CROWDED;
        if (atomic_compare_exchange_weak(&a->use, &u, u + what))
            break;
    }
    /* Counted in first, then the pool looked at: whoever seals it does it the other
     * way round, so that one of the two sees the other. */
    if ((code = permits(u, shared_access(a), need)))
        arena_leave(a, what);
    return code;
}

static void give_slot_back(struct sa_arena *a)
{
    struct slot s = arena_slot(a);
    if (a->slab)
        slab_give_back(a->slab, a->cell, a->size);
    else
        vault_put(s, a->size, slot_retire(s));
}

/* Of pages that are to be less accessible once the last export has ended. */
static bool ends_last(uint64_t u)
{
    return u & LATER && !(u & CLOSED) && (u & EXPORTS) == EXPORT;
}

/* Before it ends, while it is still counted. */
static void settle_before_last(struct sa_arena *a)
{
    for (unsigned turn = 0;; os_wait(turn++)) {
        uint64_t u = atomic_load(&a->use);
        if (!ends_last(u))
            return;
        if (u & (MOVING | READERS) ||
            !atomic_compare_exchange_strong(&a->use, &u, (u | MOVING) & ~LATER))
            continue;
        if (slot_set_access(arena_slot(a), arena_wants(u))) {
            /* refused: they stay open, as they were all along */
        }
        atomic_fetch_and(&a->use, ~MOVING); /* nobody closes what moves */
        return;
    }
}

/* Take `what` from the word; true: the caller is the last one out of a closed arena. */
static bool last_out(struct sa_arena *a, uint64_t what)
{
    struct sa_slab *slab = a->slab;
    uint64_t u = atomic_load(&a->use), next;
    do {
        while (what == EXPORT && !slab && ends_last(u)) {
            settle_before_last(a);
            u = atomic_load(&a->use);
        }
        next = u - what;
        /* A fill of a closed arena stores nothing any more, unless as a reader. */
        if (slab && next & LATER && !(next & (EXPORTS | (next & CLOSED ? READERS : FILL))))
            next &= ~LATER;
        if (next & CLOSED && !(next & (EXPORTS | READERS | MOVING | GONE)))
            next |= GONE;
    } while (!atomic_compare_exchange_weak(&a->use, &u, next));
    if (slab && u & LATER && !(next & LATER))
        slab_unlift(slab);
    return next & GONE && !(u & GONE);
}

void arena_leave(struct sa_arena *a, uint64_t what)
{
    if (last_out(a, what) && arena_alive(a) == SA_OK) {
        arena_wipe(a); /* again: whoever used it when it was closed may have written since */
        give_slot_back(a);
    }
}

void arena_tell_pool(struct sa_arena *a)
{
    struct sa_slab *slab = a->slab;
    if (slab && atomic_load(&a->use) & EXPORTS && arena_whole(a))
        slab_overtaken(slab);
}

void arena_wipe(struct sa_arena *a)
{
    if (!a->slab) {
        (void)slot_wipe_and_restore(arena_slot(a)); /* live, as long as it is counted in */
        return;
    }
    /* A cell alone. Its slot stays live and its neighbours' content whole; a wiper
     * of the slot may write the same noise at the same time. */
    arena_tell_pool(a);
    atomic_fetch_add(&a->wipes, 1);
    atomic_thread_fence(memory_order_release); /* the stamp before the first byte */
    slab_wipe_cell(a->slab, a->cell);
    atomic_fetch_add(&a->wipes, 1);
}

/* ---- make ---------------------------------------------------------------------------- */

size_t sa_page_size(void) { return os_page_size(); }

int64_t sa_now_ms(void) { return os_now_ms(); }

static void settle(struct sa_arena *a, const struct cell *place, uint64_t stamp, size_t size,
                   bool zeroed, uint64_t use)
{
    a->epoch = vault_epoch();
    a->size = size;
    a->tail = place->tail;
    a->cell = place->index;
    atomic_store_explicit(&a->slab, place->slab, memory_order_relaxed);
    arena_set_slot(a, place->slot);
    atomic_store_explicit(&a->wipes, 0, memory_order_relaxed);
    atomic_store_explicit(&a->good, stamp, memory_order_relaxed);
    arena_lay_canary(a);
    if (!zeroed)
        memset(arena_bytes(a), 0, size);
    atomic_store_explicit(&a->use, use, memory_order_release);
}

void arena_settle(struct sa_arena *a, struct slot s, uint64_t stamp, size_t size, size_t tail,
                  bool zeroed)
{
    settle(a, &(struct cell){.slot = s, .tail = tail}, stamp, size, zeroed, FILL);
}

uint64_t arena_begin_cell(struct sa_arena *a)
{
    uint64_t before = atomic_load_explicit(&a->use, memory_order_relaxed);
    atomic_store_explicit(&a->use, MOVING, memory_order_relaxed); /* the slab's lock shows it */
    return before;
}

void arena_end_cell(struct sa_arena *a, const struct cell *taken, size_t size, uint64_t use)
{
    if (taken)
        settle(a, taken, slot_stamp(taken->slot), size, false, use);
    else
        atomic_store_explicit(&a->use, use, memory_order_relaxed);
}

enum sa_code arena_make_plain(struct sa_arena *a, size_t size, size_t tail, unsigned least,
                              struct sa_why *why)
{
    size_t bytes;
    if (__builtin_add_overflow(size, tail, &bytes)) {
        *why = (struct sa_why){.call = "mmap"};
        return SA_NO_MEMORY;
    }
    alt_stack_make(); /* or anew, where another library took it away */
    fatal_arm();
    wipers_wait();
    struct slot s;
    bool zeroed;
    enum sa_code code;
    if ((code = vault_take(bytes, size, least, &s, &zeroed, why)))
        return code;
    uint64_t stamp = slot_stamp(s); /* while nobody wipes it: a wipe from now on moves it */
    slot_publish(s, false);
    arena_settle(a, s, stamp, size, tail, zeroed);
    slot_set_owner(s, a);
    return SA_OK;
}

enum sa_code sa_arena_make_with(struct sa_arena *a, size_t size, size_t align, unsigned required,
                                struct sa_why *why)
{
    required |= sa_required();
    if (align == 0 || align & (align - 1) || align > os_page_size())
        return SA_BAD_ALIGN;
    enum sa_code code = vault_enter(why);
    if (code || (code = vault_may_have(required, why)))
        return code;
    return arena_make_plain(a, size, (align - size % align) % align, required, why);
}

enum sa_code sa_arena_make(struct sa_arena *a, size_t size, size_t align, struct sa_why *why)
{
    return sa_arena_make_with(a, size, align, 0, why);
}

/* ---- lend -------------------------------------------------------------------------------- */

enum sa_code sa_borrow(struct sa_arena *a, const uint8_t **bytes)
{
    enum sa_code code = arena_alive(a);
    if (code || (code = arena_enter(a, READER, NEED_READ)))
        return code;
    if (!arena_whole(a)) {
        arena_leave(a, READER);
        return SA_WIPED;
    }
    *bytes = arena_bytes(a);
    return SA_OK;
}

enum sa_code sa_return(struct sa_arena *a)
{
    atomic_thread_fence(memory_order_acquire); /* what was read before the stamp */
    bool whole = arena_whole(a), closed = atomic_load(&a->use) & CLOSED;
    arena_leave(a, READER);
    return closed ? SA_CLOSED : whole ? SA_OK : SA_WIPED;
}

enum sa_code sa_export(struct sa_arena *a, bool filling, uint8_t **bytes)
{
    enum sa_code code = arena_alive(a);
    if (code || (code = arena_enter(a, EXPORT, filling ? NEED_FILL : NEED_READ)))
        return code;
    uint64_t u = atomic_load(&a->use);
    if ((filling && !(u & FILL)) || !arena_whole(a)) {
        arena_leave(a, EXPORT);
        return SA_WIPED;
    }
    *bytes = arena_bytes(a);
    return SA_OK;
}

void sa_unexport(struct sa_arena *a)
{
    if (vault_here() == a->epoch) /* else a parent's, whose slot is not here */
        arena_leave(a, EXPORT);
}

bool sa_may_store(struct sa_arena *a)
{
    return permits(atomic_load(&a->use), shared_access(a), NEED_WRITE) == SA_OK;
}

/* ---- wipe, check, close -------------------------------------------------------------- */

enum sa_code sa_wipe(struct sa_arena *a, struct sa_why *why)
{
    (void)why; /* nothing here can be refused: wiping goes on where pages cannot be opened */
    enum sa_code code = arena_alive(a);
    if (code || (code = arena_enter(a, READER, NEED_PAGES)))
        return code;
    arena_wipe(a);
    arena_leave(a, READER);
    return SA_OK;
}

enum sa_code sa_check(struct sa_arena *a)
{
    struct sa_why unused;
    uint64_t as = READER; /* what keeps the access as it is */
    enum sa_code code = arena_alive(a);
    if (code || (code = arena_enter(a, as, NEED_PAGES)))
        return code;
    if (!a->slab && !slot_allows(arena_slot(a), OS_READ)) {
        arena_leave(a, as);
        if ((code = arena_begin_moving(a, 0)))
            return code;
        as = MOVING;
    }
    if (arena_lift(a, &unused) == SA_OK) { /* refused: there is nothing to look at */
        arena_check_canary(a);
        if (a->slab || as == MOVING)
            arena_unlift(a);
    }
    arena_leave(a, as);
    return SA_OK;
}

/* Set CLOSED, and GONE where nobody uses the arena and `count_in` is not asked for;
 * false: it moves just now. */
static bool mark_closed(struct sa_arena *a, bool count_in, bool *was_closed, bool *gone)
{
    uint64_t u = atomic_load(&a->use), next;
    do {
        *was_closed = u & CLOSED;
        if (*was_closed)
            return true;
        if (u & MOVING || (u & READERS) == READERS)
            return false;
        /* Else we count in as a reader: the last one out gives it back. */
        *gone = !(u & (EXPORTS | READERS)) && !count_in;
        next = *gone ? u | CLOSED | GONE : (u | CLOSED) + READER;
    } while (!atomic_compare_exchange_weak(&a->use, &u, next));
    return true;
}

/* Closed, so that nothing reads it as whole: no stamp needs to move. */
static void wipe_closed(struct sa_arena *a)
{
    struct sa_why unused;
    bool lifted = arena_lift(a, &unused) == SA_OK;
    if (lifted)
        arena_check_canary(a);
    if (!a->slab) {
        (void)slot_wipe(arena_slot(a)); /* live, as long as it is counted in */
    } else {
        arena_tell_pool(a);
        slab_wipe_cell(a->slab, a->cell);
        if (lifted)
            arena_unlift(a);
    }
}

void sa_close(struct sa_arena *a)
{
    bool was_closed, gone = false;
    enum sa_code code = arena_alive(a);
    if (code == SA_FORKED)
        atomic_fetch_or(&a->use, CLOSED | GONE); /* nothing of it is here */
    if (code)
        return;
    for (unsigned turn = 0; !mark_closed(a, false, &was_closed, &gone); turn++)
        os_wait(turn);
    /* The pool may be closing it just now; our caller may free it when we return. */
    for (unsigned turn = 0; was_closed && atomic_load(&a->use) & READERS; turn++)
        os_wait(turn);
    if (was_closed)
        return;
    wipe_closed(a);
    if (gone) {
        (void)last_out(a, 0); /* false: it is gone. A fill under way may have left a lift */
        give_slot_back(a);
    } else {
        arena_leave(a, READER);
    }
}

bool arena_close_cell(struct sa_arena *a)
{
    bool was_closed, gone = false;
    if (!mark_closed(a, true, &was_closed, &gone))
        return false;
    if (was_closed)
        return true;
    wipe_closed(a);
    struct sa_slab *slab = a->slab;
    uint32_t index = a->cell;
    size_t size = a->size;
    if (last_out(a, READER)) { /* from here on its owner may free it */
        slab_wipe_cell(slab, index); /* again, as in arena_leave */
        slab_free_cell(slab, index, size); /* the pool has it locked */
    }
    return true;
}

/* ---- what it is ---------------------------------------------------------------------------------- */

enum sa_state sa_state_of(struct sa_arena *a)
{
    enum sa_code code = arena_alive(a);
    uint64_t u = atomic_load(&a->use);
    if (code == SA_CLOSED || u & CLOSED)
        return SA_IS_CLOSED;
    if (code)
        return SA_IS_FORKED;
    for (unsigned turn = 0;; u = atomic_load(&a->use)) {
        if (u & MOVING) {
            os_wait(turn++);
            continue;
        }
        struct slot s = arena_slot(a);
        bool whole = !(u & FILL) && arena_whole(a);
        bool sealed = permits(u, shared_access(a), NEED_READ) == SA_SEALED;
        /* Not counted in: it may have moved in between. */
        if (slot_is(arena_slot(a), s) && !(atomic_load(&a->use) & MOVING))
            return sealed ? SA_IS_SEALED : whole ? SA_USABLE : SA_IS_WIPED;
    }
}

bool sa_is_wiped(struct sa_arena *a)
{
    enum sa_state state = sa_state_of(a);
    return state == SA_IS_SEALED ? !arena_whole(a) : state != SA_USABLE;
}

/* Count in as a reader, in any state that still has pages. */
static bool look_at(struct sa_arena *a)
{
    return arena_alive(a) == SA_OK && arena_enter(a, READER, NEED_PAGES) == SA_OK;
}

unsigned sa_protection_of(struct sa_arena *a)
{
    if (!look_at(a))
        return 0;
    unsigned granted = hold_granted(atomic_load(slot_hold(arena_slot(a))));
    arena_leave(a, READER);
    return granted | SA_GUARD | SA_NOFORK;
}

uintptr_t sa_address_of(struct sa_arena *a)
{
    if (!look_at(a))
        return 0;
    uintptr_t at = (uintptr_t)arena_bytes(a);
    arena_leave(a, READER);
    return at;
}

bool sa_is_secure(const void *p, size_t n)
{
    struct slot s;
    if (!vault_find(p, n, &s))
        return false;
    uint64_t h = atomic_load(slot_hold(s));
    return hold_state(h) == SLOT_LIVE && (!(h & HOLD_POOLED) || slabs_hold(s, p, n));
}
