/* The library's own locks in one table, so that a forked child gets all of them anew in one place. */
#include "vault/locks.h"

#include "os/os.h"

#include <pthread.h>
#include <string.h>

/* Each on a cache line of its own. */
static struct {
    _Alignas(64) pthread_mutex_t mutex;
} locks[LOCKS] = {{PTHREAD_MUTEX_INITIALIZER}, {PTHREAD_MUTEX_INITIALIZER},
                  {PTHREAD_MUTEX_INITIALIZER}, {PTHREAD_MUTEX_INITIALIZER},
                  {PTHREAD_MUTEX_INITIALIZER}, {PTHREAD_MUTEX_INITIALIZER}};
_Static_assert(LOCKS == 6, "each has to be set up");

void lock_take(enum lock which) { pthread_mutex_lock(&locks[which].mutex); }

void lock_give(enum lock which) { pthread_mutex_unlock(&locks[which].mutex); }

bool lock_try(enum lock which) { return pthread_mutex_trylock(&locks[which].mutex) == 0; }

void locks_forked(void)
{
    pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
    for (unsigned i = 0; i < LOCKS; i++)
        memcpy(&locks[i].mutex, &fresh, sizeof fresh); /* not destroyed: it may be held */
}

static bool take(brief_lock *lock, uint32_t from, uint32_t epoch)
{
    return atomic_compare_exchange_strong_explicit(lock, &from, epoch, memory_order_acquire,
                                                   memory_order_relaxed);
}

void brief_wait(brief_lock *lock, uint32_t epoch)
{
    for (unsigned turn = 0;; os_wait(turn++)) {
        uint32_t holder = atomic_load_explicit(lock, memory_order_relaxed);
        if (holder != epoch && take(lock, holder, epoch)) /* free, or a parent's */
            return;
    }
}
