/* Which process the vault belongs to, and what becomes of it in a child. */
#include "vault/budget.h"
#include "vault/canary.h"
#include "vault/forks.h"
#include "vault/mapping.h"
#include "vault/noise.h"
#include "vault/prekey.h"
#include "vault/scratch.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* The epoch in which a start was completed; 0: none was, FORGETTING: a child that
 * ran no atfork handler is getting rid of its parent's. */
enum { FORGETTING = UINT32_MAX };
static _Atomic uint32_t ran;

SA_HOT bool vault_is_ours(void)
{
    return vault_started() && os_is_process(atomic_load(&vault.process));
}

uint32_t vault_epoch(void) { return atomic_load(&vault.epoch); }

/* Close the holes that the parent's pages left in this child, around what
 * was mapped there meanwhile. */
static void reserve_around(uint8_t *at, size_t bytes, unsigned *budget)
{
    if (!bytes || !*budget)
        return;
    --*budget;
    if (os_reserve_at(at, bytes) != EEXIST || bytes <= vault.page)
        return;
    size_t half = bytes / vault.page / 2 * vault.page;
    reserve_around(at, half, budget);
    reserve_around(at + half, bytes - half, budget);
}

/* In a child: its parent's arenas are gone here and their addresses stay taken. */
static void forget_parent(void)
{
    if (atomic_load(&vault_token))
        atomic_store(atomic_load(&vault_token), 0); /* where fork does not do it by itself */
    forks_forked();
    locks_forked();
    unsigned budget = 4096;
    uint32_t count = atomic_exchange(&vault.segment_count, 0);
    for (uint32_t i = 0; i < count; i++) {
        reserve_around(atomic_load(&segments[i].base), segments[i].bytes, &budget);
        (void)os_release((void *)segments[i].words,
                         (SLOT_TABLE_BYTES(segments[i].slots) + vault.page - 1) / vault.page *
                             vault.page); /* a table that nobody reads any more */
    }
    count = atomic_exchange(&vault.large_count, 0);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *base = atomic_exchange(&larges[i].base, NULL);
        if (base)
            reserve_around(base, larges[i].bytes, &budget);
    }
    if (count || vault.page) /* never started, it is all zeros: not a page of it is touched */
        memset(vault.classes, 0, sizeof vault.classes);
    vault.maps = vault.live = vault.live_bytes = vault.locked_bytes = 0;
    vault.secretmem_bytes = vault.may_unlock = 0;
    vault.missing &= ~atomic_exchange(&vault.untold, 0); /* that is the parent's to tell */
    noise_forked();
    wipers_forked();
    scratch_forked();
    prekey_forked();
    atomic_fetch_add(&vault.epoch, 1);
    atomic_store(&ran, 0);
}

static void at_exit(void)
{
    if (!vault_is_ours())
        return;
    wipers_enter();
    (void)vault_wipe_all(false); /* the count is of no use any more */
    wipers_leave();
}

static int hooks_refused;

/* When the library is loaded: a child forked while any lock of ours is held, by a call that
 * comes before the first arena too, must reset it. Not by pthread_once, which hangs in a
 * child forked meanwhile, but for glibc's. */
__attribute__((constructor)) static void set_hooks(void)
{
    hooks_refused = pthread_atfork(forks_before, forks_after, forget_parent);
}

/* With the lock held. What it made stays for the next try where a step fails. */
static enum sa_code start(struct sa_why *why)
{
    static bool exits;
    void *at;
    enum sa_code code;
    if (!exits && atexit(at_exit)) {
        *why = (struct sa_why){.call = "atexit", .error = ENOMEM};
        return SA_NO_MEMORY;
    }
    exits = true;
    vault.page = os_page_size();
    if (!vault.large_words) {
        if ((code = mapping_table(&at, SLOT_TABLE_BYTES(LARGES), why)))
            return code;
        vault.large_words = at;
    }
    if ((code = noise_rekey(why)) || (code = canary_start(why)) ||
        (code = os_draw(&vault.random, sizeof vault.random, why)))
        return code;
    os_raise_lock_limit();
    budget_learn_limits();
    vault.map_limit = os_map_limit();
    if (!atomic_load(&vault_token)) {
        if ((code = mapping_table(&at, sizeof(uint64_t), why)))
            return code;
        atomic_store(&vault_token, at);
    }
    atomic_store(&vault.process, os_process());
    atomic_store(atomic_load(&vault_token), vault_epoch());
    atomic_store(&ran, vault_epoch());
    return SA_OK;
}

void vault_notice_fork(void)
{
    /* A start was completed here, but the token reads 0: a child by raw clone. One
     * thread cleans up, the others wait. */
    uint32_t epoch = atomic_load(&ran);
    if (epoch != 0 && epoch != FORGETTING && !vault_started() &&
        atomic_compare_exchange_strong(&ran, &epoch, FORGETTING))
        forget_parent();
    for (unsigned turn = 0; atomic_load(&ran) == FORGETTING; turn++)
        os_wait(turn);
}

enum sa_code vault_enter(struct sa_why *why)
{
    if (vault_started())
        return SA_OK;
    vault_notice_fork();
    if (hooks_refused) {
        *why = (struct sa_why){.call = "pthread_atfork", .error = hooks_refused};
        return SA_NO_MEMORY;
    }
    os_probe();
    lock_take(LOCK_VAULT);
    enum sa_code code = vault_started() ? SA_OK : start(why);
    lock_give(LOCK_VAULT);
    return code;
}
