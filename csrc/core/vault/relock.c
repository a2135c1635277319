/* This file gives locks of encrypted content to slots that need them, and gets them back. A flag
 * beside the slot, under LOCK_VAULT, tells which lock may go. */
#include "vault/relock.h"

#include "vault/budget.h"
#include "vault/parked.h"

static bool has_plain_lock(struct slot s)
{
    unsigned granted = word_granted(atomic_load(slot_word(s)));
    return granted & SA_LOCK && !(granted & SA_SECRETMEM);
}

/* With the lock held, as the next two. */
static void set_may_unlock(struct slot s, bool may)
{
    struct slot_cipher *c = slot_cipher(s);
    if (atomic_load(&c->may_unlock) == may || (may && !has_plain_lock(s)))
        return;
    atomic_store(&c->may_unlock, may);
    if (may)
        vault.may_unlock += s.region->data;
    else
        vault.may_unlock -= s.region->data;
}

void relock_forget(struct slot s)
{
    set_may_unlock(s, false);
    if (atomic_load(&slot_cipher(s)->nonce))
        atomic_store(&slot_cipher(s)->nonce, 0);
}

static bool unlock(struct slot s)
{
    if (!atomic_load(&slot_cipher(s)->may_unlock) || os_unlock(slot_data(s), s.region->data))
        return false;
    set_may_unlock(s, false);
    if (!slot_set_locked(s, false))
        return false;
    vault.locked_bytes -= s.region->data;
    return true;
}

bool relock_give_some(void)
{
    size_t bytes = 0;
    struct slot s = {0};
    while (vault.may_unlock && bytes < BATCH_PAGES * vault.page && vault_next(&s))
        if (unlock(s))
            bytes += s.region->data;
    return bytes;
}

void relock_may_give(struct slot s)
{
    lock_take(LOCK_VAULT);
    set_may_unlock(s, true);
    lock_give(LOCK_VAULT);
}

/* With the lock held. */
static int get_lock(struct slot s)
{
    int error;
    while ((error = os_lock(slot_data(s), s.region->data)))
        if (!parked_give_some_back() && !relock_give_some())
            return error;
    if (slot_set_locked(s, true))
        vault.locked_bytes += s.region->data;
    return 0;
}

enum sa_code relock(struct slot s, unsigned required, struct sa_why *why)
{
    enum sa_code code = SA_OK;
    lock_take(LOCK_VAULT);
    set_may_unlock(s, false);
    int error = word_granted(atomic_load(slot_word(s))) & SA_LOCK ? 0 : get_lock(s);
    if (error) {
        budget_learn_limits();
        struct sa_why refused = {.call = "mlock",
                                 .error = error,
                                 .hint = "raise it with ulimit -l or LimitMEMLOCK=",
                                 .limit = "RLIMIT_MEMLOCK",
                                 .allowed = vault.lock_limit,
                                 .missing = SA_LOCK};
        if (required & SA_LOCK) {
            *why = refused;
            code = SA_UNPROTECTED;
        } else {
            budget_note_shortfall(SA_LOCK, &refused);
        }
    }
    lock_give(LOCK_VAULT);
    return code;
}
