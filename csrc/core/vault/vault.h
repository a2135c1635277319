/* Who owns which pages. Address space is reserved in segments, each cut into slots of one size;
 * pages are mapped aside in batches and moved over their slots (pages.c, mapping.c); closed
 * slots are parked and used again (parked.c). Larger arenas have a reservation each (large.c).
 * */
#ifndef SECALLOC_VAULT_H
#define SECALLOC_VAULT_H

#include "vault/slot.h"

/* To be called at every entry that needs the vault: starts it in this process,
 * anew in a child that no atfork handler ran in. [any] */
SA_MUST_USE enum sa_code vault_enter(struct sa_why *why);

/* To be called before a lock of the library's is taken where vault_enter is not: in a child
 * that no atfork handler ran in, its parent's may be held for ever. [any] */
void vault_notice_fork(void);

/* Whether the vault was started by the very process that runs: not in a child by
 * fork, clone or vfork. [signal] */
bool vault_is_ours(void);

/* The epoch in which the vault was started; reads 0 in a child by fork or clone
 * until it is started there. NULL: never started. */
extern _Atomic(_Atomic uint64_t *) vault_token;

/* The epoch that runs in this memory, a vfork child's included; 0: none. [signal] */
static inline uint64_t vault_here(void)
{
    _Atomic uint64_t *token = atomic_load_explicit(&vault_token, memory_order_acquire);
    return __builtin_expect(!token, 0) ? 0 : atomic_load_explicit(token, memory_order_acquire);
}

/* Whether the vault was started in this memory. [signal] */
static inline bool vault_started(void) { return vault_here() != 0; }

/* Names the process identity that an arena belongs to. [any] */
uint32_t vault_epoch(void);

/* Get a slot with at least `bytes` of data, inaccessible, SLOT_OWNED; *holds tells what is there.
 * `size` is what its arena counts for in the status. It has as many protections as are to be had,
 * and at least those of LOCK, SECRETMEM and NODUMP that are in `least`; else SA_UNPROTECTED, and
 * nobody is told of a shortfall. It goes back with vault_put, retired or never published. [any] */
SA_MUST_USE enum sa_code vault_take_closed(size_t bytes, size_t size, unsigned least,
                                           struct slot *out, enum slot_holds *holds,
                                           struct sa_why *why);

/* Give back a slot whose pages could not be made accessible. SA_NO_MEMORY. [any] */
SA_COLD enum sa_code vault_not_opened(struct slot s, size_t size, int error, struct sa_why *why);

/* Make the pages of a slot that is owned, and was just taken, accessible. 0 or an errno. [any] */
SA_MUST_USE SA_INLINE int vault_open_owned(struct slot s)
{
    int error = os_protect(slot_data(s), s.region->data, OS_WRITE);
    if (!error)
        slot_set_owned(s, OS_WRITE, false);
    return error;
}

/* vault_take_closed, and make it accessible. [any] */
SA_MUST_USE SA_INLINE enum sa_code vault_take(size_t bytes, size_t size, unsigned least,
                                              struct slot *out, enum slot_holds *holds,
                                              struct sa_why *why)
{
    enum sa_code code = vault_take_closed(bytes, size, least, out, holds, why);
    int error = code ? 0 : vault_open_owned(*out);
    return error ? vault_not_opened(*out, size, error, why) : code;
}

/* Of LOCK, SECRETMEM and NODUMP those that new pages have as long as no limit is met, and
 * what to ask for after `ask` was refused, on the way down to `least`. [any] */
unsigned vault_wanted(void);
unsigned pages_ask_less(unsigned ask, unsigned least);

/* As SA_UNPROTECTED where arenas cannot have the protections in `required` for another reason
 * than a limit: the platform or the program's own choice. [any] */
SA_MUST_USE enum sa_code vault_may_have(unsigned required, struct sa_why *why);

/* Put back a slot that is owned. `whole`: its pages are as they were given; they hold noise or
 * nothing. [any] */
void vault_put(struct slot s, size_t size, bool whole);

/* What is left of that once the pages are inaccessible, or the slot is a large one. [any] */
void vault_put_closed(struct slot s, size_t size, bool whole);

/* The same of a slot that is not large, and that holds canary where `canary` says so. [any] */
SA_INLINE void vault_put_canary(struct slot s, size_t size, bool whole, bool canary)
{
    if (whole) {
        if (word_access(atomic_load(slot_word(s))) != OS_NONE)
            whole = os_protect(slot_data(s), s.region->data, OS_NONE) == 0;
        slot_set_owned(s, OS_NONE, canary);
    }
    vault_put_closed(s, size, whole);
}

/* Give up a slot in whose place somebody else has mapped something. [any] */
void vault_lose(struct slot s, size_t size);

/* Another process has the pages, too, which nobody protects from now on: they are not to be used
 * again. [any] */
void vault_note_shared(struct slot s);

/* The slot whose data pages hold [p, p + n), also for n = 0 and p at their end.
 * False: none does. [signal] */
bool vault_find(const void *p, size_t n, struct slot *out);

/* The next slot that was ever handed out, by size and address, large ones last; from {NULL} on.
 * With LOCK_VAULT held, under which each stays what it is. False: that was the last. [any] */
bool vault_next(struct slot *s);

/* The lowest of our reservations that ends above `at`, with all pages in it, in use or
 * not. False: there is none. [any] */
bool vault_reserved(uintptr_t at, uintptr_t *start, uintptr_t *end);

/* Wipe every live slot; returns how many. With `restore`, which may wait and is
 * not for signals, the access each had is put back. [signal] */
size_t vault_wipe_all(bool restore);

/* The same, with the access put back, of slots whose data take that many bytes. [any] */
size_t vault_wipe_sized(size_t least, size_t most);

/* Grows with each slot that this process puts back. [any] */
uint64_t vault_returns(void);

/* Bytes that may still be locked; SIZE_MAX: no limit. An estimate. [any] */
size_t vault_lock_room(void);

/* Give back the pages of all parked slots. [any] */
void vault_trim(void);

/* Fill in what the vault knows, each live slot counting as one arena, and a pool's as none of the
 * bytes. [any] */
void vault_status(struct sa_status *out);

#endif
