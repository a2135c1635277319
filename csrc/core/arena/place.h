/* Where an arena lies: on pages of its own, or in a cell of a slab. Nobody else asks which. A place
 * is a struct cell; one without a slab is a slot of the arena's own.
 *
 * Content is whole while the arena's count of wipes equals `good`: any wipe, also in a handler,
 * moves the count, so that a wiped arena cannot pass for a key. */
#ifndef SECALLOC_ARENA_PLACE_H
#define SECALLOC_ARENA_PLACE_H

#include "arena/word.h"
#include "slab/slab.h"

#define ARENA_NEVER_GOOD UINT64_MAX /* no count of wipes gets there */

static inline struct slot arena_slot(struct sa_arena *a)
{
    return (struct slot){atomic_load_explicit(&a->region, memory_order_acquire),
                         atomic_load_explicit(&a->slot, memory_order_acquire)};
}

/* First byte. The arena must be counted in, or moving, or not yet shared. */
static inline uint8_t *arena_bytes(struct sa_arena *a)
{
    struct slot s = arena_slot(a);
    return slot_data(s) + s.region->data - a->tail - a->size;
}

/* Wipes of the arena that have begun or ended so far. Moving it does not change the sum. As
 * a reader, or moving. */
static inline uint64_t arena_generation(struct sa_arena *a)
{
    return slot_generation(arena_slot(a)) + atomic_load(&a->wipes);
}

/* No wipe passed since the content was complete, or since the fill under way began. As above. */
static inline bool arena_whole(struct sa_arena *a)
{
    return arena_generation(a) == atomic_load(&a->good);
}

/* Where it lies, or is to lie from now on. The arena is moving. */
static inline struct cell arena_place(struct sa_arena *a)
{
    return (struct cell){a->slab, a->cell, arena_slot(a), a->tail};
}
void arena_set_place(struct sa_arena *a, struct cell place);

/* The slab whose pages it shares, which its pool seals and opens; NULL: it has its own. [any] */
static inline struct sa_slab *arena_shares(struct sa_arena *a) { return a->slab; }

/* ---- slack ------------------------------------------------------------------------------ */

/* Fill the slack / die where the slack of whole content was written to. [any] */
void arena_lay_canary(struct sa_arena *a);
void arena_check_canary(struct sa_arena *a);

/* The latter on pages that are lifted for it. False: they are its own and sealed, so that it has
 * to be `moving`; nothing was checked. As a reader, or moving. [any] */
bool arena_check_lifted(struct sa_arena *a, bool moving);

/* ---- access -------------------------------------------------------------------------------- */

/* What the pool allows; all, where there is none. [any] */
static inline enum os_access arena_pool_access(struct sa_arena *a)
{
    struct sa_slab *slab = a->slab;
    return slab ? slab_access(slab) : OS_WRITE;
}

/* What it comes to that the system refused to change the access: SA_NO_MEMORY. [any] */
SA_MUST_USE enum sa_code place_refused(int error, struct sa_why *why);

/* Give pages of its own the access that the word asks for, at once or, while exports need
 * more, LATER: SA_BUSY. A pool's stay as they are. SA_NO_MEMORY: it was refused, and they are as
 * they were. The arena is moving. [any] */
SA_MUST_USE enum sa_code arena_apply_access(struct sa_arena *a, struct sa_why *why);

/* The same for what a word asks for, at once, exports or not. Pages of its own alone. [any] */
SA_MUST_USE enum sa_code place_apply(struct sa_arena *a, uint64_t use, struct sa_why *why);

/* Open it, as arena_apply_access does, for what the word says now; a pool must be open for at
 * least that much, as what it holds is opened together: SA_SEALED, SA_READ_ONLY. The arena is
 * moving. [any] */
SA_MUST_USE enum sa_code arena_open_pages(struct sa_arena *a, enum os_access least,
                                          struct sa_why *why);

/* The access after a fill, which the word does not have any more; SA_BUSY: only later. The arena
 * is moving. [any] */
SA_MUST_USE enum sa_code arena_close_fill(struct sa_arena *a);

/* Make the pages of a sealed arena accessible to our own code, and give them back the
 * access they should have. The arena is moving or closed, or lies in a pool. [any] */
SA_MUST_USE enum sa_code arena_lift(struct sa_arena *a, struct sa_why *why);
void arena_unlift(struct sa_arena *a);

/* What LATER waits for, in a word that somebody is about to leave by `what`: pages of its own get
 * their access before the last export ends, while it is still counted. */
static inline bool place_waits_for(struct sa_slab *slab, uint64_t use, uint64_t what)
{
    return !slab && use & USE_LATER && what == USE_EXPORT && !(use & USE_CLOSED) &&
           (use & USE_EXPORTS) == USE_EXPORT;
}

/* A slab's lift ends with exports and fill. The fill of a closed arena stores nothing any more,
 * unless as a reader. */
static inline bool place_lift_ends(struct sa_slab *slab, uint64_t use)
{
    return slab && use & USE_LATER &&
           !(use & (USE_EXPORTS | (use & USE_CLOSED ? USE_READERS : USE_FILL)));
}

/* ---- wiping and giving back ------------------------------------------------------------------ */

/* Leave noise and move the generation, so that nothing reads as whole. The arena is
 * counted in, or moving. [any] */
void arena_wipe(struct sa_arena *a);

/* Check the canary and leave noise. The arena is closed, so that nothing reads it as whole: no
 * generation needs to move. [any] */
void arena_wipe_closed(struct sa_arena *a);

/* Give the place of a closed arena back, which nobody uses and holds noise. [any] */
void arena_give_back(struct sa_arena *a);

/* Both, of one that nobody uses. Where most of its pages is slack, only the content is overwritten,
 * and they are left holding canary all over, for the next arena to find. [any] */
void arena_end(struct sa_arena *a);

/* ---- places -------------------------------------------------------------------------------- */

/* Get a slot for `size` bytes and a tail, with those protections; *holds tells what is there.
 * arena_start or place_drop is next. [any] */
SA_MUST_USE enum sa_code place_take_own(size_t size, size_t tail, unsigned least, struct cell *out,
                                        enum slot_holds *holds, struct sa_why *why);

/* Get another place of the same kind and size as the arena's, in the same pool if it lies in one,
 * protected no less, for `owner`. A slot is not live yet; a cell's slab is lifted. [any] */
SA_MUST_USE enum sa_code place_take_alike(struct sa_arena *a, struct sa_arena *owner,
                                          struct cell *out, enum slot_holds *holds,
                                          struct sa_why *why);

/* Put a new arena, which nobody else knows, on a place that was taken and holds that, and let wipers
 * see it before its first byte is there. Of content its word is 0, of zeros `use`, with USE_FILL in
 * it. SA_OS_ERROR: no entropy; the caller closes it. [any] */
SA_MUST_USE enum sa_code arena_start(struct sa_arena *a, const struct cell *place, size_t size,
                                     enum slot_holds holds, struct sa_content content, uint64_t use,
                                     struct sa_why *why);

/* Let a census see the owner of pages that are its own. [any] */
static inline void place_show_owner(const struct cell *place, struct sa_arena *owner)
{
    if (!place->slab) /* a slab knows it since the cell was taken */
        slot_set_owner(place->slot, owner);
}

/* Another owner for a place, while neither can be closed. [any] */
void place_set_owner(struct cell place, struct sa_arena *owner);

/* Whether others lie on the same pages, so that they are live in any case. */
static inline bool place_is_shared(struct cell place) { return place.slab; }

/* The protections of its pages, of LOCK, SECRETMEM and NODUMP. [any] */
unsigned place_granted(struct cell place);

/* Overwrite a live place. [any] */
void place_wipe(struct cell place);

/* End the lift of a place that content was moved to or from. Own pages have none. [any] */
void place_unlift(struct cell place);

/* Give a place of that size back, which holds noise or nothing, and was lifted. `live`: a slot
 * was seen by wipers. [any] */
void place_drop(struct cell place, size_t size, bool live);

/* Wipe a cell and free it, for the pool that closes its arena, with the slab locked. [any] */
void place_free_locked(struct cell place, size_t size);

#endif
