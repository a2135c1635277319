/* This file encrypts and decrypts an arena's content in place. It does so under the busy bit of
 * its slot, with all signals masked: no handler and no lockdown sees a half of it, a key, or a
 * frame with one. */
#include "arena/cipher.h"

#include "base/aead.h"
#include "base/registers.h"
#include "base/wipe.h"
#include "fatal/fatal.h"
#include "vault/prekey.h"
#include "vault/relock.h"

#include <string.h>

_Static_assert((int)PREKEY_KEY == (int)AEAD_KEY, "one is the other's");

/* With the slot held. False: the key's bytes were wiped just now. */
static bool encrypt_held(struct sa_arena *a, struct slot_cipher *c, uint64_t era)
{
    uint8_t key[AEAD_KEY], nonce[AEAD_NONCE];
    if (!prekey_key(era, key))
        return false;
    uint64_t count = prekey_nonce();
    aead_spell(nonce, count);
    aead_seal(arena_bytes(a), arena_bytes(a), a->size, NULL, key, nonce, c->tag);
    wipe_scratch(key, sizeof key);
    c->era = era;
    atomic_store(&c->nonce, count);
    return true;
}

static enum sa_code encrypt(struct sa_arena *a, struct sa_why *why)
{
    struct slot s = arena_slot(a);
    struct slot_cipher *c = slot_cipher(s);
    uint64_t era;
    sigset_t mask;
    for (unsigned turn = 0; arena_whole(a); slot_wait_clear(turn++)) {
        enum sa_code code = prekey_have(&era, why);
        if (code)
            return code;
        if (!slot_lock_pair(s, s, &mask))
            continue;
        bool done = arena_whole(a) && encrypt_held(a, c, era);
        slot_unlock_pair(s, s, true, &mask);
        if (done)
            break;
    }
    return SA_OK;
}

enum turned { TURNED, OVERTAKEN, FORGED };

/* With the slot held. Where the bytes that the key came of were wiped, a wiper is about to come
 * here, too, and waits for us. */
static enum turned decrypt_held(struct sa_arena *a, struct slot_cipher *c)
{
    uint8_t key[AEAD_KEY], nonce[AEAD_NONCE];
    if (!prekey_key(c->era, key))
        return OVERTAKEN;
    aead_spell(nonce, atomic_load(&c->nonce));
    bool same = aead_open(arena_bytes(a), a->size, NULL, key, nonce, c->tag);
    wipe_scratch(key, sizeof key);
    if (!same)
        return FORGED;
    atomic_store(&c->nonce, 0);
    return TURNED;
}

/* Wiped content is not turned back, and stays wiped. */
static void decrypt(struct sa_arena *a)
{
    struct slot s = arena_slot(a);
    struct slot_cipher *c = slot_cipher(s);
    sigset_t mask;
    for (unsigned turn = 0; arena_whole(a); slot_wait_clear(turn++)) {
        if (!slot_lock_pair(s, s, &mask))
            continue;
        enum turned turned = arena_whole(a) ? decrypt_held(a, c) : OVERTAKEN;
        slot_unlock_pair(s, s, true, &mask);
        if (turned == FORGED)
            fatal_tampered(FATAL_CIPHERTEXT); /* no wipe came: the slot was held */
        if (turned == TURNED)
            break;
    }
}

static enum sa_code set_access(struct slot s, enum os_access access, struct sa_why *why)
{
    int error = slot_set_access(s, access);
    if (!error)
        return SA_OK;
    *why = slot_refused(error);
    return SA_NO_MEMORY;
}

/* Make pages accessible that hold ciphertext, so that it can be turned back into content. */
static enum sa_code unlock_content(struct sa_arena *a, struct slot s, struct sa_why *why)
{
    struct sa_why unused;
    enum sa_code code = set_access(s, OS_WRITE, why);
    if (!code && (code = relock(s, a->required | sa_required(), why)) &&
        set_access(s, OS_NONE, &unused)) {
        /* refused: ciphertext stays open */
    }
    return code;
}

enum sa_code cipher_apply(struct sa_arena *a, enum os_access access, bool anew, struct sa_why *why)
{
    struct slot s = arena_slot(a);
    bool is = atomic_load(&slot_cipher(s)->nonce), should = access == OS_NONE && a->encrypts;
    enum sa_code code = SA_OK;
    if (is && !should) {
        if (!(code = unlock_content(a, s, why)) && !anew)
            decrypt(a);
    } else if (!is && should) {
        if (!(code = set_access(s, OS_WRITE, why)))
            code = encrypt(a, why);
    }
    if (!code)
        code = set_access(s, access, why);
    if (!code && access == OS_NONE && atomic_load(&slot_cipher(s)->nonce))
        relock_may_give(s);
    return code;
}

void cipher_drop(struct sa_arena *a) { atomic_store(&slot_cipher(arena_slot(a))->nonce, 0); }

void cipher_move(struct slot from, struct slot to)
{
    struct slot_cipher *was = slot_cipher(from), *is = slot_cipher(to);
    is->era = was->era;
    memcpy(is->tag, was->tag, sizeof is->tag);
    atomic_store(&is->nonce, atomic_exchange(&was->nonce, 0));
}
