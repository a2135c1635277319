/* Making an arena: what comes before, and what pools make and close. */
#ifndef SECALLOC_ARENA_MAKE_H
#define SECALLOC_ARENA_MAKE_H

#include "arena/place.h"

/* To be called before a place is taken: the vault is started, the thread has a signal stack,
 * the fatal signals are armed, no wiper passes. sa_require's protections are added to *required;
 * SA_UNPROTECTED where those cannot be had. `again`: the signal stack is put back where another
 * library took it away, which costs a system call. [any] */
SA_MUST_USE enum sa_code arena_prepare(unsigned *required, bool again, struct sa_why *why);

/* Make an arena in a cell of these slabs, with the protections in `least` or not at all; content as
 * for sa_pool_alloc_of. [any] */
SA_MUST_USE enum sa_code arena_make_in(struct slab_set *set, struct sa_arena *a, size_t size,
                                       struct sa_content content, unsigned least,
                                       struct sa_why *why);

/* Close it for its pool, which has the slab locked. False: it moves just now, try again. [any] */
SA_MUST_USE bool arena_close_cell(struct sa_arena *a);

#endif
