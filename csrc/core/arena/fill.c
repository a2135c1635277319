/* Writing to an arena: fills, which make a wiped arena usable, and stores. */
#include "arena/cipher.h"
#include "arena/use.h"
#include "vault/noise.h"
#include "base/registers.h"

#include <string.h>

/* ---- begin ------------------------------------------------------------------------------ */

/* Turn the content to noise. */
static enum sa_code wipe_for_fill(struct sa_arena *a, struct sa_why *why)
{
    arena_wipe(a);
    if (!(atomic_load(slot_word(arena_slot(a))) & WORD_DROPPED))
        return SA_OK;
    *why = (struct sa_why){.call = "mprotect",
                           .hint = "the pages were given up in a wipe; make a new arena"};
    return SA_OS_ERROR;
}

/* With the arena moving. */
static enum sa_code begin_fill(struct sa_arena *a, struct sa_why *why)
{
    struct sa_why unused;
    atomic_fetch_or(&a->use, USE_FILL);
    enum sa_code code = arena_open_pages(a, OS_WRITE, why);
    if (!code)
        code = wipe_for_fill(a, why);
    if (!code) {
        if (!arena_shares(a))
            cipher_drop(a);
        atomic_store(&a->good, arena_generation(a));
        arena_lay_canary(a);
        return SA_OK;
    }
    atomic_fetch_and(&a->use, ~USE_FILL);
    if (arena_apply_access(a, &unused)) {
        /* refused: a little more open than it was */
    }
    return code;
}

enum sa_code sa_fill_begin(struct sa_arena *a, struct sa_why *why)
{
    enum sa_code code = arena_alive(a);
    if (code || (code = arena_begin_moving(a, USE_FILL)))
        return code;
    use_note(a, atomic_load(&a->use));
    if (!(code = arena_may_replace(a)))
        code = begin_fill(a, why);
    arena_leave(a, USE_MOVING);
    return code;
}

/* ---- end --------------------------------------------------------------------------------- */

/* What is left to do when a fill has left the word. */
enum ending {
    FILL_NOTHING,   /* the content is whole, and the access stays */
    FILL_ACCESS,    /* the content is whole; the access before the fill is to be put back */
    FILL_WIPE,      /* noise is to be left, and that access */
    FILL_IS_CLOSED, /* it no longer matters */
};

static enum ending ending_of(struct sa_arena *a, uint64_t use, bool whole)
{
    if (use & USE_CLOSED)
        return FILL_IS_CLOSED;
    if (!whole || !arena_whole(a)) /* a wipe from now on moves the generation */
        return FILL_WIPE;
    return use & (USE_SEALED | USE_BLOCKS | USE_LATER) ? FILL_ACCESS : FILL_NOTHING;
}

/* Take the fill from the word; where something is left to do, the arena is moving. */
static enum ending leave_fill(struct sa_arena *a, bool whole)
{
    uint64_t u = atomic_load(&a->use);
    for (unsigned turn = 0;;) {
        if (u & USE_MOVING || (u & USE_READERS && !(u & USE_CLOSED))) {
            os_wait(turn++);
            u = atomic_load(&a->use);
            continue;
        }
        enum ending ending = ending_of(a, u, whole);
        uint64_t moving = ending == FILL_ACCESS || ending == FILL_WIPE ? USE_MOVING : 0;
        if (atomic_compare_exchange_weak(&a->use, &u, (u & ~USE_FILL) | moving))
            return ending;
    }
}

enum sa_code sa_fill_end(struct sa_arena *a, bool whole)
{
    enum sa_code code = arena_alive(a);
    if (code)
        return code;
    use_note(a, atomic_load(&a->use));
    switch (leave_fill(a, whole)) {
    case FILL_NOTHING: return SA_OK;
    case FILL_ACCESS: code = arena_close_fill(a); break;
    case FILL_WIPE:
        atomic_store(&a->good, ARENA_NEVER_GOOD);
        arena_wipe(a);
        if (arena_close_fill(a)) {
            /* later: there is only noise */
        }
        code = whole ? SA_WIPED : SA_OK;
        break;
    case FILL_IS_CLOSED: arena_leave(a, 0); return SA_CLOSED;
    }
    arena_leave(a, USE_MOVING);
    return code;
}

/* ---- store ------------------------------------------------------------------------------ */

/* Copy from a slot into the arena, or within it, so that no wipe falls between.
 * False: a wiper had to give up the source's pages. What became of the arena
 * itself meanwhile, its generation tells. */
static bool copy_inside(struct sa_arena *a, struct slot from, void *dst, const void *src, size_t n,
                        uint64_t generation)
{
    struct slot to = arena_slot(a);
    sigset_t mask;
    for (unsigned turn = 0; arena_generation(a) == generation; slot_wait_clear(turn++)) {
        if (atomic_load(slot_word(from)) & WORD_DROPPED)
            return false;
        if (!slot_lock_pair(from, to, &mask))
            continue;
        if (arena_generation(a) == generation)
            memmove(dst, src, n);
        registers_forget();
        slot_unlock_pair(from, to, true, &mask);
        break;
    }
    return true;
}

/* Where the source lies in a slot that may hold a secret, that slot. */
static bool find_live(const void *p, size_t n, struct slot *out)
{
    return n && vault_find(p, n, out) && word_state(atomic_load(slot_word(*out))) == SLOT_LIVE;
}

/* As a reader: the generation that content written now must still have afterwards. */
static enum sa_code begin_writing(struct sa_arena *a, size_t offset, size_t n, uint64_t *generation)
{
    enum sa_code code = arena_alive(a);
    if (code)
        return code;
    wipers_wait();
    if ((code = arena_enter(a, USE_READER, NEED_WRITE)))
        return code;
    *generation = atomic_load(&a->good);
    size_t end;
    if (__builtin_add_overflow(offset, n, &end) || end > a->size)
        code = SA_BAD_RANGE;
    else if (arena_generation(a) != *generation)
        code = SA_WIPED;
    if (code)
        arena_leave(a, USE_READER);
    return code;
}

static enum sa_code end_writing(struct sa_arena *a, uint64_t generation)
{
    bool whole = arena_generation(a) == generation;
    if (!whole)
        arena_wipe(a); /* what we stored behind the wiper's back */
    arena_leave(a, USE_READER);
    return whole ? SA_OK : SA_WIPED;
}

enum sa_code sa_store(struct sa_arena *a, size_t offset, const void *src, size_t n)
{
    uint64_t generation;
    struct slot from;
    enum sa_code code = begin_writing(a, offset, n, &generation);
    if (code)
        return code;
    uint8_t *to = arena_bytes(a) + offset;
    bool copied = true;
    if (find_live(src, n, &from))
        copied = copy_inside(a, from, to, src, n, generation);
    else if (n) {
        memmove(to, src, n);
        registers_forget();
    }
    code = end_writing(a, generation);
    return copied ? code : SA_WIPED;
}

enum sa_code sa_store_noise(struct sa_arena *a, size_t offset, size_t n)
{
    uint64_t generation;
    enum sa_code code = begin_writing(a, offset, n, &generation);
    if (code)
        return code;
    noise_wipe(arena_bytes(a) + offset, n);
    return end_writing(a, generation);
}

enum sa_code sa_store_random(struct sa_arena *a, struct sa_why *why)
{
    uint64_t generation;
    enum sa_code code = begin_writing(a, 0, a->size, &generation);
    if (code)
        return code;
    int error = os_entropy(arena_bytes(a), a->size);
    code = end_writing(a, generation);
    if (!error)
        return code;
    *why = (struct sa_why){.call = "getrandom", .error = error};
    return SA_OS_ERROR;
}
