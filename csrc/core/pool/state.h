/* What the pool's own files share: pool.c makes and ends pools and their arenas, seal.c seals and
 * opens their pages. */
#ifndef SECALLOC_POOL_STATE_H
#define SECALLOC_POOL_STATE_H

#include "slab/slab.h"

#include <pthread.h>

struct sa_pool {
    struct slab_set *set;
    uint32_t epoch;
    pthread_mutex_t sealing; /* over what follows, and the set's access; the outermost lock */
    bool sealed;
    unsigned reads, edits; /* open blocks */
};

/* SA_CLOSED, SA_FORKED, or why this process cannot start. [any] */
SA_MUST_USE enum sa_code pool_alive(struct sa_pool *p, struct sa_why *why);

#endif
