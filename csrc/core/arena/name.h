/* The name of an arena, for what has the lock of the vault already. */
#ifndef SECALLOC_ARENA_NAME_H
#define SECALLOC_ARENA_NAME_H

#include "secalloc.h"

/* sa_name, with LOCK_VAULT held. [any] */
void arena_name_locked(struct sa_arena *a, char out[SA_NAME_ROOM]);

#endif
