/* This file takes and puts back slots, and tells what they come to. */
#include "vault/budget.h"
#include "vault/large.h"
#include "vault/pages.h"
#include "vault/parked.h"
#include "vault/relock.h"

#include <errno.h>

enum sa_code vault_take_closed(size_t bytes, size_t size, unsigned least, struct slot *out,
                               enum slot_holds *holds, struct sa_why *why)
{
    size_t pages = bytes / vault.page + (bytes % vault.page != 0);
    size_t data, all;
    pages = pages ? pages : 1;
    if (__builtin_mul_overflow(pages, vault.page, &data) ||
        __builtin_add_overflow(data, 2 * vault.page, &all) || all > PTRDIFF_MAX) {
        *why = (struct sa_why){.call = "mmap", .error = ENOMEM};
        return SA_NO_MEMORY;
    }
    least &= SA_LOCK | SA_SECRETMEM | SA_NODUMP; /* the others every slot has */
    bool large = pages > (size_t)1 << (CLASSES - 1);
    unsigned class = 0;
    while (!large && (size_t)1 << class < pages)
        class ++;
    lock_take(LOCK_VAULT);
    enum sa_code code = large ? large_take(data, least, NULL, out, why)
                              : pages_take(class, least, out, why);
    if (!code) {
        vault.live++;
        vault.live_bytes += size;
    }
    lock_give(LOCK_VAULT);
    if (code)
        return code;
    uint64_t h = atomic_load_explicit(slot_word(*out), memory_order_relaxed);
    *holds = large ? HOLDS_ZEROS : h & WORD_CANARY ? HOLDS_CANARY : HOLDS_NOISE;
    return SA_OK;
}

SA_COLD enum sa_code vault_not_opened(struct slot s, size_t size, int error, struct sa_why *why)
{
    *why = slot_refused(error);
    vault_put(s, size, true);
    return SA_NO_MEMORY;
}

/* Whether the last arena went, and none is likely to come soon: the time before, too, it is a
 * while since the last one went. While secretmem is kept the machine does not hibernate. */
static bool stays_empty(void)
{
    enum { WHILE_MS = 1000 };
    int64_t now = os_about_now_ms(), before = vault.emptied_ms;
    vault.emptied_ms = now;
    return now - before >= WHILE_MS;
}

void vault_put(struct slot s, size_t size, bool whole)
{
    if (large_is(s))
        vault_put_closed(s, size, whole);
    else
        vault_put_canary(s, size, whole, false);
}

void vault_put_closed(struct slot s, size_t size, bool whole)
{
    bool large = large_is(s);
    lock_take(LOCK_VAULT);
    vault.live--;
    vault.live_bytes -= size;
    uint64_t returns = atomic_load_explicit(&vault.returns, memory_order_relaxed);
    atomic_store_explicit(&vault.returns, returns + 1, memory_order_relaxed); /* locked */
    slot_set_owner(s, NULL);
    relock_forget(s);
    if (large)
        large_put(s);
    else
        parked_put(s, whole);
    if (vault.live == 0 && vault.secretmem_bytes && stays_empty())
        parked_give_all_back();
    lock_give(LOCK_VAULT);
}

void vault_lose(struct slot s, size_t size)
{
    lock_take(LOCK_VAULT);
    budget_uncount(s);
    atomic_store(slot_word(s), SLOT_LOST);
    vault.live--;
    vault.live_bytes -= size;
    lock_give(LOCK_VAULT);
}

void vault_note_shared(struct slot s)
{
    lock_take(LOCK_VAULT);
    if (word_granted(atomic_load(slot_word(s))) & SA_SECRETMEM)
        vault.secretmem_bytes -= s.region->data; /* which nobody can tell any more */
    atomic_fetch_and(slot_word(s), ~((uint64_t)(SA_SECRETMEM | SA_NODUMP) << WORD_GRANTED_SHIFT));
    lock_give(LOCK_VAULT);
}

void vault_trim(void)
{
    lock_take(LOCK_VAULT);
    parked_give_all_back();
    lock_give(LOCK_VAULT);
}

uint64_t vault_returns(void) { return atomic_load_explicit(&vault.returns, memory_order_relaxed); }

size_t vault_lock_room(void)
{
    lock_take(LOCK_VAULT);
    size_t room = budget_lock_room(), parked = 0;
    for (unsigned i = 0; i < CLASSES; i++)
        parked += vault.classes[i].parked * (vault.page << i); /* given back on demand */
    lock_give(LOCK_VAULT);
    return room > SIZE_MAX - parked ? SIZE_MAX : room + parked;
}

void vault_status(struct sa_status *out)
{
    lock_take(LOCK_VAULT);
    out->started = vault_started();
    out->arenas = vault.live;
    out->bytes = vault.live_bytes;
    out->locked_bytes = vault.locked_bytes;
    out->lock_limit = os_lock_limit();
    out->secretmem_bytes = vault.secretmem_bytes;
    out->secretmem_limit = os_secretmem_limit();
    out->charges_users = os_charges_users();
    out->secretmem = vault.got_secretmem;
    lock_give(LOCK_VAULT);
}
