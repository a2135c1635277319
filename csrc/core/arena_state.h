/* What the arena's own files share; nobody else includes it. arena.c makes, lends
 * and closes; fill.c writes; rotate.c moves.
 *
 * One word says who uses an arena: exports (16 bits), readers (8), blocks open for reading
 * and for changing (16 each), then flags. Exports are lent to others and make rotate and
 * seal refuse; readers are our own short looks, for which everybody waits. FILL is the one
 * fill under way. WAITING says that somebody has a turn: see turn.c. MOVING is held by the
 * one thread that gives the arena other pages or access, or starts or ends a fill. It is
 * only taken where there are no readers: a reader may count itself in once more, and would
 * wait for a mover that waits for it. LATER says that the pages are more open than they
 * should be until the last export, and in a pool the fill, has ended. Content is whole while
 * the arena's count of wipes equals `good`: any wipe, also in a handler, moves the count, so
 * that a wiped arena cannot pass for a key. */
#ifndef SECALLOC_ARENA_STATE_H
#define SECALLOC_ARENA_STATE_H

#include "alt_stack.h"
#include "slab.h"
#include "vault.h"

#define EXPORT ((uint64_t)1)
#define EXPORTS (EXPORT * 0xffff)
#define READER ((uint64_t)1 << 16)
#define READERS (READER * 0xff)
#define READ ((uint64_t)1 << 24)
#define READS (READ * 0xffff)
#define EDIT ((uint64_t)1 << 40)
#define EDITS (EDIT * 0xffff)
#define FILL ((uint64_t)1 << 56)
#define WAITING ((uint64_t)1 << 57)
#define SEALED ((uint64_t)1 << 58)
#define LATER ((uint64_t)1 << 59)
#define CLOSED ((uint64_t)1 << 60)
#define MOVING ((uint64_t)1 << 61)
#define GONE ((uint64_t)1 << 62) /* its slot went back */

#define NEVER_GOOD UINT64_MAX /* no count of wipes gets there */

static inline struct slot arena_slot(struct sa_arena *a)
{
    return (struct slot){atomic_load_explicit(&a->region, memory_order_acquire),
                         atomic_load_explicit(&a->slot, memory_order_acquire)};
}

static inline void arena_set_slot(struct sa_arena *a, struct slot s)
{
    atomic_store(&a->region, s.region);
    atomic_store(&a->slot, s.index);
}

/* First byte. The arena must be counted in, or moving, or not yet shared. */
static inline uint8_t *arena_bytes(struct sa_arena *a)
{
    struct slot s = arena_slot(a);
    return slot_data(s) + s.region->data - a->tail - a->size;
}

/* Where it lies, or is to lie from now on. The arena is moving. */
static inline struct cell arena_place(struct sa_arena *a)
{
    return (struct cell){a->slab, a->cell, arena_slot(a), a->tail};
}

static inline void arena_set_place(struct sa_arena *a, struct cell place)
{
    arena_set_slot(a, place.slot);
    if (place.slab) { /* else none of it changes, and a census may be reading */
        a->slab = place.slab;
        a->cell = place.index;
        a->tail = place.tail;
    }
}

/* What someone who counts in is about to do. */
enum arena_need {
    NEED_PAGES, /* nothing with the content */
    NEED_READ,
    NEED_WRITE, /* in the fill, or over usable content */
    NEED_FILL
};

/* The access that the pages of an arena of its own should have. */
static inline enum os_access arena_wants(uint64_t use)
{
    if (use & (FILL | EDITS))
        return OS_WRITE;
    return use & READS ? OS_READ : use & SEALED ? OS_NONE : OS_WRITE;
}

/* Put a new arena, counted in by nobody, on a live slot: its bytes zero, inside a fill that began
 * when the slot's stamp was `stamp`. [any] */
void arena_settle(struct sa_arena *a, struct slot s, uint64_t stamp, size_t size, size_t tail,
                  bool zeroed);

/* Around a slab_take for a new arena: until the second, whoever closes the pool waits for it.
 * `taken`: where it lies, or NULL; `use`: its word from then on, with FILL in it, or what the
 * first returned, if nothing was taken. [any] */
uint64_t arena_begin_cell(struct sa_arena *a);
void arena_end_cell(struct sa_arena *a, const struct cell *taken, size_t size, uint64_t use);

/* As sa_arena_make on pages of its own, `tail` bytes behind the content, with the protections
 * in `least` or not at all. [any] */
SA_MUST_USE enum sa_code arena_make_plain(struct sa_arena *a, size_t size, size_t tail,
                                          unsigned least, struct sa_why *why);

/* Close under the pool's feet; false: it moves just now, try again. [any] */
bool arena_close_cell(struct sa_arena *a);

/* Wipes of the arena that have begun or ended so far. Moving it does not change the sum. As
 * a reader, or moving. */
static inline uint64_t arena_stamp(struct sa_arena *a)
{
    return slot_stamp(arena_slot(a)) + atomic_load(&a->wipes);
}

/* No wipe passed since the content was complete, or since the fill under way began. As above. */
static inline bool arena_whole(struct sa_arena *a)
{
    return arena_stamp(a) == atomic_load(&a->good);
}

/* SA_FORKED where the process that this one was forked from made it, SA_CLOSED
 * where it never was made. Every call on an arena comes by here first, so that its
 * thread has a signal stack. [any] */
SA_MUST_USE enum sa_code arena_elsewhere(struct sa_arena *a);
SA_MUST_USE static inline enum sa_code arena_alive(struct sa_arena *a)
{
    if (!atomic_load_explicit(&a->region, memory_order_acquire) || vault_here() != a->epoch)
        return arena_elsewhere(a);
    alt_stack_ensure();
    return SA_OK; /* or closed, which arena_enter tells */
}

/* Add `what`, a reader or an export, to the word, once nobody moves the arena;
 * SA_CLOSED, SA_BUSY where there are too many, SA_WIPED, SA_SEALED or SA_READ_ONLY where
 * its state does not allow what is needed. Whether the content is whole is not looked at.
 * The caller made sure that the arena is not forked. [any] */
SA_MUST_USE enum sa_code arena_enter(struct sa_arena *a, uint64_t what, enum arena_need need);

/* Take `what` from the word; the last to leave a closed arena gives its slot back. [any] */
void arena_leave(struct sa_arena *a, uint64_t what);

/* Become the one that moves the arena, to end with arena_leave(a, MOVING); waits for
 * readers. SA_FILLING, SA_BUSY: `against` names the fill, blocks or exports that last. [any] */
SA_MUST_USE enum sa_code arena_begin_moving(struct sa_arena *a, uint64_t against);

/* Give the pages the access that the word asks for, at once or, while exports need
 * more, LATER. The arena is moving and has pages of its own. SA_BUSY: later; else it
 * failed, and they are as they were. [any] */
SA_MUST_USE enum sa_code arena_settle_access(struct sa_arena *a, struct sa_why *why);

/* Change the access of pages that are an arena's own. [any] */
SA_MUST_USE enum sa_code arena_set_access(struct slot s, enum os_access access,
                                          struct sa_why *why);

/* Make the pages of a sealed arena accessible to our own code, and give them back the
 * access they should have. The arena is moving or closed, or lies in a pool. [any] */
SA_MUST_USE enum sa_code arena_lift(struct sa_arena *a, struct sa_why *why);
void arena_unlift(struct sa_arena *a);

/* Count for its pool a wipe of usable content that others hold buffers of. As a reader, or
 * moving, or closed. [any] */
void arena_tell_pool(struct sa_arena *a);

/* Leave noise and move the stamp, so that nothing reads as whole. The arena is
 * counted in, or moving. [any] */
void arena_wipe(struct sa_arena *a);

/* Fill the slack / die where the slack of whole content was written to. [any] */
void arena_lay_canary(struct sa_arena *a);
void arena_check_canary(struct sa_arena *a);

/* Of the calling thread: whether it has a block of the arena open. [any] */
bool block_is_open_here(struct sa_arena *a);

#endif
