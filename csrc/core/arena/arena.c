/* What can be done with an arena: lend, wipe, check, close, and ask what it is. */
#include "arena/make.h"
#include "arena/use.h"

size_t sa_page_size(void) { return os_page_size(); }

int64_t sa_now_ms(void) { return os_now_ms(); }

/* ---- lend -------------------------------------------------------------------------------- */

enum sa_code sa_borrow(struct sa_arena *a, const uint8_t **bytes)
{
    enum sa_code code = arena_alive(a);
    if (code || (code = arena_enter(a, USE_READER, NEED_READ)))
        return code;
    if (!arena_whole(a)) {
        arena_leave(a, USE_READER);
        return SA_WIPED;
    }
    *bytes = arena_bytes(a);
    return SA_OK;
}

enum sa_code sa_return(struct sa_arena *a)
{
    atomic_thread_fence(memory_order_acquire); /* what was read before the generation */
    bool whole = arena_whole(a), closed = atomic_load(&a->use) & USE_CLOSED;
    arena_leave(a, USE_READER);
    return closed ? SA_CLOSED : whole ? SA_OK : SA_WIPED;
}

SA_INLINE enum sa_code lend(struct sa_arena *a, bool filling, uint8_t **bytes)
{
    enum sa_code code = arena_alive(a);
    if (code || (code = arena_enter(a, USE_EXPORT, filling ? NEED_FILL : NEED_READ)))
        return code;
    if ((filling && !(atomic_load(&a->use) & USE_FILL)) || !arena_whole(a)) {
        arena_leave(a, USE_EXPORT);
        return SA_WIPED;
    }
    *bytes = arena_bytes(a);
    return SA_OK;
}

enum sa_code sa_export(struct sa_arena *a, bool filling, uint8_t **bytes)
{
    return lend(a, filling, bytes);
}

enum sa_code sa_export_whole(struct sa_arena *a, uint8_t **bytes, bool *to_write)
{
    enum sa_code code = lend(a, false, bytes);
    if (code)
        return code;
    uint64_t u = atomic_load_explicit(&a->use, memory_order_relaxed);
    *to_write = use_permits(u, arena_pool_access(a), NEED_WRITE) == SA_OK;
    return SA_OK;
}

void sa_unexport(struct sa_arena *a)
{
    if (vault_here() == a->epoch) /* else a parent's, whose slot is not here */
        arena_leave(a, USE_EXPORT);
}

bool sa_may_store(struct sa_arena *a)
{
    return use_permits(atomic_load(&a->use), arena_pool_access(a), NEED_WRITE) == SA_OK;
}

/* ---- wipe, check -------------------------------------------------------------- */

enum sa_code sa_wipe(struct sa_arena *a, struct sa_why *why)
{
    (void)why; /* nothing here can be refused: wiping goes on where pages cannot be opened */
    enum sa_code code = arena_alive(a);
    if (code || (code = arena_enter(a, USE_READER, NEED_PAGES)))
        return code;
    arena_wipe(a);
    arena_leave(a, USE_READER);
    return SA_OK;
}

enum sa_code sa_check(struct sa_arena *a)
{
    enum sa_code code = arena_alive(a);
    if (code || (code = arena_enter(a, USE_READER, NEED_PAGES)))
        return code;
    bool checked = arena_check_lifted(a, false); /* a reader keeps the access as it is */
    arena_leave(a, USE_READER);
    if (checked)
        return SA_OK;
    if ((code = arena_begin_moving(a, 0)))
        return code;
    (void)arena_check_lifted(a, true); /* true: it moves */
    arena_leave(a, USE_MOVING);
    return SA_OK;
}

/* ---- close ---------------------------------------------------------------------------- */

/* Close the word, and count the caller in as a reader, where others use the arena or `count_in`
 * says so: else *gone, and nobody will. False: it moves just now. */
static bool mark_closed(struct sa_arena *a, bool count_in, bool *was_closed, bool *gone)
{
    uint64_t u = atomic_load(&a->use), next;
    do {
        *was_closed = u & USE_CLOSED;
        if (*was_closed)
            return true;
        if (u & USE_MOVING || (u & USE_READERS) == USE_READERS)
            return false;
        *gone = !(u & (USE_EXPORTS | USE_READERS)) && !count_in;
        next = *gone ? u | USE_CLOSED | USE_GONE : (u | USE_CLOSED) + USE_READER;
    } while (!atomic_compare_exchange_weak(&a->use, &u, next));
    return true;
}

void sa_close(struct sa_arena *a)
{
    bool was_closed, gone = false;
    enum sa_code code = arena_alive(a);
    if (code == SA_FORKED)
        atomic_fetch_or(&a->use, USE_CLOSED | USE_GONE); /* nothing of it is here */
    if (code)
        return;
    for (unsigned turn = 0; !mark_closed(a, false, &was_closed, &gone); turn++)
        os_wait(turn);
    /* The pool may be closing it just now; our caller may free it when we return. */
    for (unsigned turn = 0; was_closed && atomic_load(&a->use) & USE_READERS; turn++)
        os_wait(turn);
    if (was_closed)
        return;
    if (gone) {
        if (atomic_load(&a->use) & USE_LATER)
            (void)arena_is_last_out(a, 0); /* false, it is gone; but a fill left a lift */
        arena_end(a);
    } else {
        arena_wipe_closed(a);
        arena_leave(a, USE_READER);
    }
}

bool arena_close_cell(struct sa_arena *a)
{
    bool was_closed, gone = false;
    if (!mark_closed(a, true, &was_closed, &gone))
        return false;
    if (was_closed)
        return true;
    arena_wipe_closed(a);
    struct cell place = arena_place(a);
    size_t size = a->size;
    if (arena_is_last_out(a, USE_READER)) /* from here on its owner may free it */
        place_free_locked(place, size); /* wiped again, as in arena_leave */
    return true;
}

/* ---- what it is -------------------------------------------------------------------------- */

enum sa_code sa_reachable(struct sa_arena *a)
{
    enum sa_code code = arena_alive(a);
    if (!code && atomic_load(&a->use) & USE_CLOSED)
        return SA_CLOSED;
    return code;
}

enum sa_state sa_state_of(struct sa_arena *a)
{
    enum sa_code code = arena_alive(a);
    uint64_t u = atomic_load(&a->use);
    if (code == SA_CLOSED || u & USE_CLOSED)
        return SA_IS_CLOSED;
    if (code)
        return SA_IS_FORKED;
    for (unsigned turn = 0;; u = atomic_load(&a->use)) {
        if (u & USE_MOVING) {
            os_wait(turn++);
            continue;
        }
        struct slot s = arena_slot(a);
        bool whole = !(u & USE_FILL) && arena_whole(a);
        bool sealed = use_permits(u, arena_pool_access(a), NEED_READ) == SA_SEALED;
        /* Not counted in: it may have moved in between. */
        if (slot_is(arena_slot(a), s) && !(atomic_load(&a->use) & USE_MOVING))
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
    return arena_alive(a) == SA_OK && arena_enter(a, USE_READER, NEED_PAGES) == SA_OK;
}

unsigned sa_protection_of(struct sa_arena *a)
{
    if (!look_at(a))
        return 0;
    unsigned granted = word_granted(atomic_load(slot_word(arena_slot(a))));
    arena_leave(a, USE_READER);
    return granted | SA_GUARD | SA_NOFORK;
}

uintptr_t sa_address_of(struct sa_arena *a)
{
    if (!look_at(a))
        return 0;
    uintptr_t at = (uintptr_t)arena_bytes(a);
    arena_leave(a, USE_READER);
    return at;
}

bool sa_is_secure(const void *p, size_t n)
{
    struct slot s;
    if (!vault_find(p, n, &s))
        return false;
    uint64_t h = atomic_load(slot_word(s));
    return word_state(h) == SLOT_LIVE && (!(h & WORD_POOLED) || slabs_hold(s, p, n));
}
