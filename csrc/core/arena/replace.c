/* New content in place of the old, whole: it is built aside, in a twin, and the two change
 * places. */
#include "arena/cipher.h"
#include "arena/use.h"

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

/* Let the two change places. Both are moving, and the pages have their access. */
static void change_places(struct sa_arena *a, struct sa_arena *fresh)
{
    struct cell from = arena_place(a), to = arena_place(fresh);
    /* The slot's generation at which the new content is whole; and a count for the arena at which
     * it is, another than any before. */
    uint64_t whole = atomic_load(&fresh->good) - atomic_load(&fresh->wipes);
    uint64_t count = arena_generation(a) + 2;
    atomic_store(&fresh->good, ARENA_NEVER_GOOD);
    arena_set_place(a, to);
    arena_set_place(fresh, from);
    place_set_owner(to, a);
    place_set_owner(from, fresh);
    atomic_store(&a->wipes, count - whole);
    atomic_store(&a->good, count);
}

/* Both are moving. */
static enum sa_code exchange(struct sa_arena *a, struct sa_arena *fresh, struct sa_why *why)
{
    struct cell from = arena_place(a);
    enum sa_code code = arena_lift(a, why);
    if (code)
        return code;
    arena_check_canary(a);
    /* The pages get the access that the arena's have before it lies there. */
    atomic_store(&fresh->encrypts, atomic_load(&a->encrypts));
    code = arena_shares(fresh) ? SA_OK : place_apply(fresh, atomic_load(&a->use), why);
    if (!code && !arena_whole(fresh))
        code = SA_WIPED;
    if (code) {
        arena_unlift(a);
        return code;
    }
    change_places(a, fresh);
    place_unlift(from);
    return SA_OK;
}

enum sa_code sa_replace(struct sa_arena *a, struct sa_arena *fresh, struct sa_why *why)
{
    enum sa_code code = arena_alive(a);
    if (code || (code = arena_begin_moving(a, USE_FILL)))
        return code;
    code = arena_may_replace(a);
    bool lent = atomic_load(&a->use) & USE_EXPORTS;
    if (!code && lent) {
        arena_leave(a, USE_MOVING);
        return fill_in_place(a, fresh, why);
    }
    if (!code && !(code = arena_begin_moving(fresh, USE_FILL))) {
        code = exchange(a, fresh, why);
        arena_leave(fresh, USE_MOVING);
    }
    arena_leave(a, USE_MOVING);
    return code;
}
