/* The library's own locks, in the order in which a thread takes them. */
#ifndef SECALLOC_LOCKS_H
#define SECALLOC_LOCKS_H

#include "secalloc.h"

/* A thread that holds one takes only those below it. What a pool, a slab or an open block locks
 * comes between POOLS and VAULT. A handler takes none. */
enum lock {
    LOCK_LOCKDOWN, /* one lockdown at a time: the second would take pages that the first
                      opened for open */
    LOCK_SIGNALS,  /* over what is armed */
    LOCK_POOLS,    /* over the list of pools */
    LOCK_PREKEY,   /* over the bytes that keys come of */
    LOCK_VAULT,    /* over all of the vault that is not atomic; fork waits for it */
    LOCK_NOISE,    /* one rekey at a time */
    LOCKS
};

/* Wait for a lock, and give it back on the same thread. [any] */
void lock_take(enum lock which);
void lock_give(enum lock which);

/* The first of the two without waiting; false: somebody has it. [any] */
SA_MUST_USE bool lock_try(enum lock which);

/* In a forked child: no thread is left that holds any. [atfork child] */
void locks_forked(void);

/* A lock that may be held for a few instructions by a thread that a child has no more: it holds
 * the epoch of who took it, and a child, whose epoch is another, passes over its parent's. 0 is
 * free. Never across a call that could wait. [any] */
typedef _Atomic uint32_t brief_lock;
SA_COLD void brief_wait(brief_lock *lock, uint32_t epoch); /* for the next alone */
static inline void brief_take(brief_lock *lock, uint32_t epoch)
{
    uint32_t holder = 0;
    if (!atomic_compare_exchange_strong_explicit(lock, &holder, epoch, memory_order_acquire,
                                                 memory_order_relaxed))
        brief_wait(lock, epoch);
}
static inline void brief_give(brief_lock *lock)
{
    atomic_store_explicit(lock, 0, memory_order_release);
}

#endif
