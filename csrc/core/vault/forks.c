/* Forks, which wait while pages are on their way: between two calls that map them a child would
 * inherit them, readable. No fork waits for ever, as a crash reporter may fork inside a handler
 * that interrupted the lock's holder. Such a fork is counted, and the thread that maps begins
 * anew. */
#include "vault/forks.h"

#include "vault/locks.h"

#include <pthread.h>

static pthread_t forking;
static _Atomic bool held_for_fork;
static unsigned nested; /* forks of a handler that interrupted the one that holds the lock */
static _Atomic unsigned passing; /* forks under way without it */
static _Atomic uint64_t passed;  /* of those, how many began */

static bool holds_for_fork(void)
{
    return atomic_load(&held_for_fork) && pthread_equal(forking, pthread_self());
}

void forks_before(void)
{
    if (holds_for_fork()) {
        nested++;
        return;
    }
    for (unsigned turn = 0; turn < 64 + 1000; os_wait(turn++))
        if (lock_try(LOCK_VAULT)) {
            forking = pthread_self();
            atomic_store(&held_for_fork, true);
            return;
        }
    atomic_fetch_add(&passing, 1);
    atomic_fetch_add(&passed, 1);
}

/* Not below zero: where a handler that interrupted a fork forks and returns in its child as
 * well, that child ends a fork which it did not begin. */
static void count_out(void)
{
    unsigned n = atomic_load(&passing);
    while (n && !atomic_compare_exchange_weak(&passing, &n, n - 1)) {
    }
}

void forks_after(void)
{
    if (!holds_for_fork()) {
        count_out();
    } else if (nested) {
        nested--;
    } else {
        atomic_store(&held_for_fork, false);
        lock_give(LOCK_VAULT);
    }
}

void forks_forked(void)
{
    if (holds_for_fork())
        lock_give(LOCK_VAULT); /* where this very thread took it, as race detectors want it */
    atomic_store(&held_for_fork, false);
    atomic_store(&passing, 0);
    nested = 0;
}

void alone_begin(struct alone *alone)
{
    os_mask_sent(&alone->mask);
    alone->passed = atomic_load(&passed);
    for (unsigned turn = 0; turn < 64 + 1000 && atomic_load(&passing); turn++)
        os_wait(turn); /* not for ever: it may wait for what waits for our lock */
    alone->crowded = atomic_load(&passing) != 0;
}

bool alone_still(const struct alone *alone)
{
    return !alone->crowded && atomic_load(&passed) == alone->passed;
}

bool alone_end(const struct alone *alone)
{
    bool was = alone_still(alone);
    os_unmask(&alone->mask);
    return was;
}

void forks_hold_off(struct alone *alone)
{
    lock_take(LOCK_VAULT);
    alone_begin(alone);
}

bool forks_let_in(const struct alone *alone)
{
    bool was = alone_end(alone);
    lock_give(LOCK_VAULT);
    return was;
}
