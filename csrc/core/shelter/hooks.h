/* What stands before Python's allocators once the first sheltered call has begun. */
#ifndef SECALLOC_SHELTER_HOOKS_H
#define SECALLOC_SHELTER_HOOKS_H

#include "secalloc.h"

/* Put them there, once for the process. False: Python's functions cannot be reached. With the
 * GIL. [any] */
SA_MUST_USE bool hooks_install(void);

/* Whether Python has the functions for that. [any] */
bool hooks_possible(void);

/* The calling thread enters a call, leaves it, and how many it is in; a forked child has but
 * the one thread. [any] */
void hooks_enter(void);
unsigned hooks_leave(void);
unsigned hooks_depth(void);
void hooks_forked(void); /* [atfork child] */

/* How many threads are in one. [any] */
const _Atomic unsigned *hooks_threads(void);

#endif
