/* What the program asks of encryption, and the pages of the bytes that its keys come of. */
#include "vault/prekey.h"
#include "vault/state.h"

static _Atomic bool encrypts;

/* Their pages are a slot that is not live, and no arena's: no pass counts it, and none needs to, as
 * it was wiped before. */
static enum sa_code take_pages(struct sa_why *why)
{
    struct slot s;
    enum slot_holds holds;
    enum sa_code code = vault_take(PREKEY_BYTES, 0, SA_LOCK | sa_required(), &s, &holds, why);
    if (code)
        return code;
    lock_take(LOCK_VAULT);
    vault.live--;
    lock_give(LOCK_VAULT);
    prekey_set_pages(slot_data(s));
    return SA_OK;
}

/* With the lock held. */
static enum sa_code have(uint64_t *era, struct sa_why *why)
{
    enum sa_code code = prekey_has_pages() ? SA_OK : take_pages(why);
    while (!code && !prekey_is_good(era)) {
        wipers_wait(); /* the bytes would be gone at once */
        code = prekey_draw(why);
    }
    return code;
}

enum sa_code prekey_have(uint64_t *era, struct sa_why *why)
{
    enum sa_code code = vault_enter(why);
    if (code)
        return code;
    lock_take(LOCK_PREKEY);
    code = have(era, why);
    lock_give(LOCK_PREKEY);
    return code;
}

enum sa_code sa_encrypt_by_default(bool encrypt, bool *before, struct sa_why *why)
{
    uint64_t era;
    enum sa_code code = encrypt ? prekey_have(&era, why) : SA_OK;
    if (!code)
        *before = atomic_exchange(&encrypts, encrypt);
    return code;
}

bool sa_encrypts(void) { return atomic_load_explicit(&encrypts, memory_order_relaxed); }
