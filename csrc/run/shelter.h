/* Which blocks come from the heap of sheltered calls, once the extension has lent it. */
#ifndef SHELTER_H
#define SHELTER_H

#include "face/lend.h"

#include <stdint.h>

extern const struct lent *_Atomic shelter_lent; /* NULL: not yet */

/* Whether the code at that address takes its blocks from the C library also in a sheltered call. */
bool shelter_leaves_out(const void *code);

/* Whether a block that the calling thread takes now, by a call from `caller`, is the heap's. */
static inline bool shelter_takes(const void *caller)
{
    const struct lent *by = atomic_load_explicit(&shelter_lent, memory_order_acquire);
    return __builtin_expect(by && atomic_load_explicit(by->threads, memory_order_relaxed), 0) &&
           by->inside() && !shelter_leaves_out(caller);
}

/* The heap, if the block is one of it; else NULL. */
static inline const struct lent *shelter_of(const void *block)
{
    const struct lent *by = atomic_load_explicit(&shelter_lent, memory_order_acquire);
    return by && by->has(block) ? by : NULL;
}

#endif
