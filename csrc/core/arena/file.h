/* Arenas whose pages others read by a descriptor. */
#ifndef SECALLOC_ARENA_FILE_H
#define SECALLOC_ARENA_FILE_H

#include "arena/place.h"

/* As sa_arena_make, of a file in memory, whose descriptor `lent` gets. Of size 0 no arena is made:
 * `a` is closed. It is neither rotated nor replaced: its pages are the file's. [any] */
SA_MUST_USE enum sa_code arena_make_file(struct sa_arena *a, size_t size, struct sa_lent *lent,
                                         struct sa_why *why);

#endif
