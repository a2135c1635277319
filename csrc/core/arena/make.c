/* This file makes arenas: it takes a place for one and begins its first fill. */
#include "arena/make.h"
#include "arena/use.h"
#include "fatal/fatal.h"

enum sa_code arena_prepare(unsigned *required, bool again, struct sa_why *why)
{
    enum sa_code code = vault_enter(why);
    *required |= sa_required();
    if (code || (code = vault_may_have(*required, why)))
        return code;
    if (again)
        alt_stack_make();
    else
        alt_stack_ensure();
    fatal_arm();
    wipers_wait();
    return SA_OK;
}

/* ---- in a pool ----------------------------------------------------------------------------- */

/* The pool may be closed the moment that it knows the arena: it waits for what is moving. Returns
 * the word before. */
static uint64_t begin_in_pool(struct sa_arena *a)
{
    uint64_t before = atomic_load_explicit(&a->use, memory_order_relaxed);
    atomic_store_explicit(&a->use, USE_MOVING, memory_order_relaxed); /* the slab's lock shows it */
    return before;
}

static void give_up(struct sa_arena *a, uint64_t before)
{
    atomic_store_explicit(&a->use, before, memory_order_relaxed);
}

/* arena_start, or nothing is made. */
static enum sa_code begin_life(struct sa_arena *a, const struct cell *place, size_t size,
                               enum slot_holds holds, struct sa_content content, struct sa_why *why)
{
    enum sa_code code = arena_start(a, place, size, holds, content, USE_FILL, why);
    if (code)
        sa_close(a);
    return code;
}

enum sa_code arena_make_in(struct slab_set *set, struct sa_arena *a, size_t size,
                           struct sa_content content, unsigned least, struct sa_why *why)
{
    struct cell place;
    uint64_t before = begin_in_pool(a);
    enum sa_code code = slab_take(set, a, size, least, &place, why);
    if (!code)
        return begin_life(a, &place, size, HOLDS_NOISE, content, why);
    give_up(a, before);
    return code;
}

enum sa_code sa_twin(struct sa_arena *a, struct sa_arena *fresh, struct sa_why *why)
{
    enum sa_code code = arena_alive(a);
    /* Counted in, it stays where it lies: of what it has left nothing would say how it was. */
    if (code || (code = arena_enter(a, USE_READER, NEED_PAGES)))
        return code;
    fatal_arm();
    wipers_wait();
    struct cell place;
    struct sa_content zeros = {.from = NULL};
    enum slot_holds holds;
    uint64_t before = begin_in_pool(fresh);
    if ((code = place_take_alike(a, fresh, &place, &holds, why)))
        give_up(fresh, before);
    else /* the fill's end gives a slab's lift back */
        code = arena_start(fresh, &place, a->size, holds, zeros,
                           place_is_shared(place) ? USE_FILL | USE_LATER : USE_FILL, why);
    arena_leave(a, USE_READER);
    return code;
}

/* ---- on pages of its own ------------------------------------------------------------------- */

enum sa_code sa_arena_make_of(struct sa_arena *a, size_t size, size_t align,
                              struct sa_content content, unsigned required, struct sa_why *why)
{
    if (align == 0 || align & (align - 1) || align > os_page_size())
        return SA_BAD_ALIGN;
    uint8_t own = (uint8_t)required;
    enum sa_code code = arena_prepare(&required, true, why);
    if (code)
        return code;
    struct cell place;
    enum slot_holds holds;
    size_t tail = (align - size % align) % align;
    if ((code = place_take_own(size, tail, required, &place, &holds, why)))
        return code;
    a->required = own;
    return begin_life(a, &place, size, holds, content, why);
}

enum sa_code sa_arena_make_with(struct sa_arena *a, size_t size, size_t align, unsigned required,
                                struct sa_why *why)
{
    return sa_arena_make_of(a, size, align, (struct sa_content){.from = NULL}, required, why);
}

enum sa_code sa_arena_make(struct sa_arena *a, size_t size, size_t align, struct sa_why *why)
{
    return sa_arena_make_with(a, size, align, 0, why);
}
