/* Runs of the vault's pages that hold objects of other code: found by any address in them, and
 * overwritten with zeros by a process that is bound to die.
 *
 * No wiper of arenas touches them: their owner would go on with noise for pointers. */
#ifndef SECALLOC_SPANS_H
#define SECALLOC_SPANS_H

#include "vault/slot.h"

enum { SPAN_WORDS = 16, SPAN_CELLS = SPAN_WORDS * 64 };

struct span {
    _Atomic(uint8_t *) at;      /* first byte; NULL: the record is free */
    size_t bytes;               /* all of it, whole pages */
    struct slot slot;           /* region NULL: it came over a fork, and is no slot here */
    unsigned granted;           /* then: what its pages have, and are counted with */
    uint32_t kind, cell;        /* its heap's class of cells and their bytes; cell 0: one block */
    uint32_t cells, used;
    uint32_t inverse;           /* of `cell`, by 2^32, rounded up */
    uint32_t lowest;            /* word below which no cell is free */
    size_t block;               /* bytes asked for, of one block */
    struct span *before, *next; /* of its kind, with free cells */
    uint64_t free[SPAN_WORDS];  /* a bit for each cell that is */
};

/* The three levels by which an address finds its span: 16 GiB, 1 MiB, 4 KiB. */
enum { SPANS_TOP = 1 << 14, SPANS_MIDDLE = 1 << 14, SPANS_LEAF = 256 };
typedef _Atomic(struct span *) spans_leaf[SPANS_LEAF];
typedef _Atomic(spans_leaf *) spans_middle[SPANS_MIDDLE];
extern _Atomic(spans_middle *) spans_top[SPANS_TOP];

/* No span lies below, nor this much above: most addresses that are asked for are told by that, in
 * one comparison. Never narrowed, and the room is told first, so that a thread that sees half of a
 * change is told of no span less. Not to be reached by way of a table of the linker's. */
extern __attribute__((visibility("hidden"))) _Atomic uintptr_t spans_low, spans_room;

static inline bool spans_enclose(const void *p)
{
    uintptr_t above = (uintptr_t)p - atomic_load_explicit(&spans_low, memory_order_acquire);
    return above < atomic_load_explicit(&spans_room, memory_order_relaxed);
}

/* The span that holds `p`; NULL: none does. Of an address that somebody owns, so that the span
 * stays. [any] */
static inline struct span *spans_find(const void *p)
{
    uintptr_t at = (uintptr_t)p;
    if (!spans_enclose(p))
        return NULL;
    spans_middle *middle = atomic_load_explicit(&spans_top[at >> 34], memory_order_acquire);
    spans_leaf *leaf = middle ? atomic_load_explicit(&(*middle)[at >> 20 & (SPANS_MIDDLE - 1)],
                                                     memory_order_acquire)
                              : NULL;
    return leaf ? atomic_load_explicit(&(*leaf)[at >> 12 & (SPANS_LEAF - 1)], memory_order_acquire)
                : NULL;
}

/* The calls below but the last two are for one thread at a time. */

/* A record for [at, at + bytes), zeroed but for these two and found from here on. NULL: no memory
 * for it. [any] */
struct span *spans_add(uint8_t *at, size_t bytes);
void spans_remove(struct span *s);

/* The next record in use after `s`, from NULL on; NULL: that was the last. [any] */
struct span *spans_next(const struct span *s);

/* In a child to which they came: they are this process's. [atfork child] */
void spans_forked(void);

/* The protections that its pages have. [any] */
unsigned spans_granted(const struct span *s);

/* Zero a span's one block. Pages of a large one that nobody ever touched are left so: to touch one
 * of secretmem costs 21 us, and an encoder takes 90 MiB of which it uses little. [any] */
void spans_clear(struct span *s);

/* How many slots of the vault they are. [any] */
size_t spans_slots(void);

/* Overwrite all of them with zeros, if they are this process's. Other threads crash by it: the
 * process is bound to die. [signal] */
void spans_zero(void);

/* Whether another thread has begun that. [signal] */
bool spans_others_zeroed(void);

#endif
