/* The bytes that keys come of, which are drawn and wiped in place. */
#include "vault/prekey.h"

#include "base/blake2b.h"
#include "base/registers.h"
#include "base/wipe.h"
#include "vault/noise.h"
#include "os/os.h"

/* A wiper may be in them at any time, so that they are never unmapped. */
static _Atomic(uint8_t *) bytes;
static _Atomic uint64_t stamp;          /* wipes begun and ended */
static _Atomic uint64_t good = UINT64_MAX; /* the stamp at which they are random; names their era */
static _Atomic uint64_t nonces;

SA_HOT void prekey_wipe(void)
{
    uint8_t *p = atomic_load(&bytes);
    if (!p)
        return;
    atomic_fetch_add(&stamp, 1);
    atomic_thread_fence(memory_order_release); /* the stamp before the first byte */
    noise_wipe(p, PREKEY_BYTES);
    atomic_fetch_add(&stamp, 1);
}

void prekey_forked(void)
{
    atomic_store(&bytes, NULL);
    atomic_store(&good, UINT64_MAX);
}

bool prekey_has_pages(void) { return atomic_load(&bytes); }

void prekey_set_pages(uint8_t *pages) { atomic_store(&bytes, pages); }

bool prekey_is_good(uint64_t *era)
{
    *era = atomic_load(&good);
    return atomic_load(&stamp) == *era;
}

enum sa_code prekey_draw(struct sa_why *why)
{
    uint64_t before = atomic_load(&stamp);
    enum sa_code code = os_draw(atomic_load(&bytes), PREKEY_BYTES, why);
    if (!code)
        atomic_store(&good, before); /* a wipe since has moved the stamp */
    return code;
}

bool prekey_key(uint64_t era, uint8_t key[PREKEY_KEY])
{
    const uint8_t *p = atomic_load(&bytes);
    if (!p || atomic_load(&stamp) != era || atomic_load(&good) != era)
        return false;
    blake2b_256(key, p, PREKEY_BYTES);
    registers_forget();
    atomic_thread_fence(memory_order_acquire); /* what was read before the stamp */
    if (atomic_load(&stamp) == era)
        return true;
    wipe_scratch(key, PREKEY_KEY);
    return false;
}

uint64_t prekey_nonce(void) { return atomic_fetch_add(&nonces, 1) + 1; }
