/* Who uses an arena: counting in and out of its word, and being the one that moves it. */
#ifndef SECALLOC_ARENA_USE_H
#define SECALLOC_ARENA_USE_H

#include "fatal/alt_stack.h"
#include "arena/place.h"
#include "vault/vault.h"

/* SA_FORKED where the process that this one was forked from made it, SA_CLOSED
 * where it never was made. Every call on an arena comes by here first, so that its
 * thread has a signal stack. [any] */
SA_COLD SA_MUST_USE enum sa_code arena_elsewhere(struct sa_arena *a);
SA_MUST_USE static inline enum sa_code arena_alive(struct sa_arena *a)
{
    if (!atomic_load_explicit(&a->region, memory_order_acquire) || vault_here() != a->epoch)
        return arena_elsewhere(a);
    alt_stack_ensure();
    return SA_OK; /* or closed, which arena_enter tells */
}

/* Where the word says that it is watched, note a use. The arena is counted in, or moving. [any] */
static inline void use_note(struct sa_arena *a, uint64_t word)
{
    if (word & USE_WATCHED)
        atomic_store_explicit(&a->used, os_since_boot_ms(), memory_order_relaxed);
}

/* The last step of arena_enter, `use` being the word before: the pool is asked, and if it does not
 * permit it `what` is taken from the word again. [any] */
SA_MUST_USE enum sa_code arena_stay(struct sa_arena *a, uint64_t use, uint64_t what,
                                    enum arena_need need);

/* Add `what`, a reader or an export, to the word, once nobody moves the arena;
 * SA_CLOSED, SA_CROWDED where there are too many, SA_WIPED, SA_SEALED or SA_READ_ONLY where
 * its state does not allow what is needed. Whether the content is whole is not looked at.
 * The caller made sure that the arena is not forked. [any] */
SA_MUST_USE enum sa_code arena_enter_slowly(struct sa_arena *a, uint64_t what,
                                            enum arena_need need);
SA_MUST_USE static inline enum sa_code arena_enter(struct sa_arena *a, uint64_t what,
                                                   enum arena_need need)
{
    uint64_t u = atomic_load_explicit(&a->use, memory_order_relaxed);
    if (!use_is_plain(u) || need == NEED_FILL ||
        !atomic_compare_exchange_strong(&a->use, &u, u + what))
        return arena_enter_slowly(a, what, need);
    return arena_pool_access(a) == OS_WRITE ? SA_OK : arena_stay(a, u, what, need);
}

/* Take `what` from the word; the last to leave a closed arena gives its slot back. [any] */
void arena_leave_slowly(struct sa_arena *a, uint64_t what);
static inline void arena_leave(struct sa_arena *a, uint64_t what)
{
    uint64_t u = atomic_load_explicit(&a->use, memory_order_relaxed);
    if (u & (USE_LATER | USE_CLOSED | USE_WATCHED) ||
        !atomic_compare_exchange_strong(&a->use, &u, u - what))
        arena_leave_slowly(a, what);
}

/* The first half of arena_leave. True: the caller was the last and is to wipe the arena again and
 * to give it back. False: if it is closed, its owner may free it from now on. [any] */
bool arena_is_last_out(struct sa_arena *a, uint64_t what);

/* Become the one that moves the arena, to end with arena_leave(a, USE_MOVING); waits for
 * readers. SA_FILLING, SA_BUSY: `against` names the fill, blocks or exports that last. [any] */
SA_MUST_USE enum sa_code arena_begin_moving(struct sa_arena *a, uint64_t against);

/* The same, and add to the word in the same step, which saves a locked instruction; SA_CROWDED
 * where all the bits of `full`, unless that is 0, are set already. *use: the word from then on, but
 * that exports may end. [any] */
SA_MUST_USE enum sa_code arena_begin_moving_slowly(struct sa_arena *a, uint64_t against,
                                                   uint64_t added, uint64_t full, uint64_t *use);
SA_MUST_USE static inline enum sa_code arena_begin_moving_with(struct sa_arena *a, uint64_t against,
                                                               uint64_t added, uint64_t full,
                                                               uint64_t *use)
{
    uint64_t u = atomic_load_explicit(&a->use, memory_order_relaxed);
    *use = (u | USE_MOVING) + added;
    if (!(u & (USE_CLOSED | USE_MOVING | USE_READERS | against)) && (!full || (u & full) != full) &&
        atomic_compare_exchange_strong(&a->use, &u, *use))
        return SA_OK;
    return arena_begin_moving_slowly(a, against, added, full, use);
}

/* Whether the content may be replaced. While it is usable, exports forbid it: SA_BUSY; and open
 * blocks: SA_FILLING. Of a wiped arena there is nothing to read, and a buffer that is held for life
 * must not keep it wiped. The arena is moving. [any] */
SA_MUST_USE enum sa_code arena_may_replace(struct sa_arena *a);

/* Whether the calling thread has a block of the arena open: see block.c. [any] */
bool block_is_open_here(struct sa_arena *a);

#endif
