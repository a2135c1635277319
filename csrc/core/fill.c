/* Writing to an arena: fills, which make a wiped arena usable, and stores. */
#include "arena_state.h"
#include "noise.h"
#include "registers.h"

#include <string.h>

/* ---- fill ------------------------------------------------------------------------------ */

/* With the fill counted and the arena moving. A pool must be open for it: what it holds
 * is opened together. */
static enum sa_code open_for_fill(struct sa_arena *a, struct sa_why *why)
{
    if (!a->slab)
        return arena_settle_access(a, why);
    enum os_access pages = slab_access(a->slab);
    return pages == OS_WRITE ? SA_OK : pages == OS_READ ? SA_READ_ONLY : SA_SEALED;
}

enum sa_code sa_fill_begin(struct sa_arena *a, struct sa_why *why)
{
    enum sa_code code = arena_alive(a);
    if (code || (code = arena_begin_moving(a, FILL)))
        return code;
    uint64_t u = atomic_load(&a->use);
    /* Readers of usable content would see the noise. Over a wiped arena there are none: who
     * still holds a buffer for life must not keep it wiped. */
    if (u & (EXPORTS | READS | EDITS) && arena_whole(a)) {
        arena_leave(a, MOVING);
        return u & EXPORTS ? SA_BUSY : SA_FILLING;
    }
    atomic_fetch_or(&a->use, FILL);
    code = open_for_fill(a, why);
    if (!code) {
        arena_wipe(a);
        if (atomic_load(slot_hold(arena_slot(a))) & HOLD_DROPPED) {
            *why = (struct sa_why){.call = "mprotect",
                                   .mend = "the pages were given up in a wipe; make a new arena"};
            code = SA_OS_ERROR;
        }
    }
    if (!code) {
        atomic_store(&a->good, arena_stamp(a));
        arena_lay_canary(a);
        arena_leave(a, MOVING);
        return SA_OK;
    }
    atomic_fetch_and(&a->use, ~FILL);
    if (!a->slab)
        arena_unlift(a);
    arena_leave(a, MOVING);
    return code;
}

/* A fill has ended, the arena moves: the access before it, SA_BUSY if only later. */
static enum sa_code close_after_fill(struct sa_arena *a)
{
    struct sa_why unused;
    struct sa_slab *slab = a->slab;
    uint64_t u = atomic_load(&a->use);
    if (!slab) /* inside a block for reading they are accessible anyway */
        return arena_settle_access(a, &unused) == SA_BUSY && !(u & READS) ? SA_BUSY : SA_OK;
    while (u & LATER && !(u & EXPORTS))
        if (atomic_compare_exchange_weak(&a->use, &u, u & ~LATER)) {
            slab_unlift(slab);
            break;
        }
    return SA_OK;
}

enum sa_code sa_fill_end(struct sa_arena *a, bool whole)
{
    enum sa_code code = arena_alive(a);
    if (code)
        return code;
    uint64_t u = atomic_load(&a->use), next;
    bool good, plain;
    for (unsigned turn = 0;;) {
        if (u & MOVING || (u & READERS && !(u & CLOSED))) {
            os_wait(turn++);
            u = atomic_load(&a->use);
            continue;
        }
        good = whole && arena_whole(a); /* a wipe from now on moves the stamp */
        plain = good && !(u & (SEALED | READS | EDITS | LATER)); /* the access stays */
        next = (u & ~FILL) | (plain || u & CLOSED ? 0 : MOVING);
        if (atomic_compare_exchange_weak(&a->use, &u, next))
            break;
    }
    if (u & CLOSED) {
        arena_leave(a, 0);
        return SA_CLOSED;
    }
    if (plain)
        return SA_OK;
    if (!good) {
        atomic_store(&a->good, NEVER_GOOD);
        arena_wipe(a);
    }
    code = close_after_fill(a);
    arena_leave(a, MOVING);
    return good ? code : whole ? SA_WIPED : SA_OK;
}

/* ---- store ------------------------------------------------------------------------------ */

/* Copy from a slot into the arena, or within it, so that no wipe falls between.
 * False: a wiper had to give up the source's pages. What became of the arena
 * itself meanwhile, its stamp tells. */
static bool copy_inside(struct sa_arena *a, struct slot from, void *dst, const void *src,
                        size_t n, uint64_t stamp)
{
    struct slot to = arena_slot(a);
    sigset_t mask;
    for (unsigned turn = 0; arena_stamp(a) == stamp; slot_wait_clear(turn++)) {
        if (atomic_load(slot_hold(from)) & HOLD_DROPPED)
            return false;
        if (!slot_hold_both(from, to, &mask))
            continue;
        if (arena_stamp(a) == stamp)
            memmove(dst, src, n);
        registers_forget();
        slot_unhold_both(from, to, true, &mask);
        break;
    }
    return true;
}

/* Where the source lies in a slot that may hold a secret, that slot. */
static bool find_live(const void *p, size_t n, struct slot *out)
{
    return n && vault_find(p, n, out) && hold_state(atomic_load(slot_hold(*out))) == SLOT_LIVE;
}

/* As a reader: the stamp that content written now must still have afterwards. */
static enum sa_code begin_writing(struct sa_arena *a, size_t offset, size_t n, uint64_t *stamp)
{
    enum sa_code code = arena_alive(a);
    if (code)
        return code;
    wipers_wait();
    if ((code = arena_enter(a, READER, NEED_WRITE)))
        return code;
    *stamp = atomic_load(&a->good);
    size_t end;
    if (__builtin_add_overflow(offset, n, &end) || end > a->size)
        code = SA_BAD_RANGE;
    else if (arena_stamp(a) != *stamp)
        code = SA_WIPED;
    if (code)
        arena_leave(a, READER);
    return code;
}

static enum sa_code end_writing(struct sa_arena *a, uint64_t stamp)
{
    bool whole = arena_stamp(a) == stamp;
    if (!whole)
        arena_wipe(a); /* what we stored behind the wiper's back */
    arena_leave(a, READER);
    return whole ? SA_OK : SA_WIPED;
}

enum sa_code sa_store(struct sa_arena *a, size_t offset, const void *src, size_t n)
{
    uint64_t stamp;
    struct slot from;
    enum sa_code code = begin_writing(a, offset, n, &stamp);
    if (code)
        return code;
    uint8_t *to = arena_bytes(a) + offset;
    bool copied = true;
    if (find_live(src, n, &from))
        copied = copy_inside(a, from, to, src, n, stamp);
    else if (n) {
        memmove(to, src, n);
        registers_forget();
    }
    code = end_writing(a, stamp);
    return copied ? code : SA_WIPED;
}

enum sa_code sa_store_noise(struct sa_arena *a, size_t offset, size_t n)
{
    uint64_t stamp;
    enum sa_code code = begin_writing(a, offset, n, &stamp);
    if (code)
        return code;
    noise_wipe(arena_bytes(a) + offset, n);
    return end_writing(a, stamp);
}

enum sa_code sa_store_random(struct sa_arena *a, struct sa_why *why)
{
    uint64_t stamp;
    enum sa_code code = begin_writing(a, 0, a->size, &stamp);
    if (code)
        return code;
    int error = os_entropy(arena_bytes(a), a->size);
    code = end_writing(a, stamp);
    if (!error)
        return code;
    *why = (struct sa_why){.call = "getrandom", .error = error};
    return SA_OS_ERROR;
}

