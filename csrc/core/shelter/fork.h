/* What a fork does about blocks that live: its child gets a copy of each. */
#ifndef SECALLOC_SHELTER_FORK_H
#define SECALLOC_SHELTER_FORK_H

#include "secalloc.h"

/* Have every fork from here on do so. Again harmless. 0 or an errno. [any] */
SA_MUST_USE int shelter_watch_forks(void);

#endif
