/* This file encrypts content out of an arena, and decrypts it into one. It does so with both slots held
 * busy and all signals masked: no wipe falls in between, and no frame of a signal has the key. */
#include "transfer/session.h"

#include "arena/place.h"
#include "vault/prekey.h"

#include <errno.h>

/* Both in use, as two that were borrowed or exported. */
struct both {
    struct sa_arena *a, *key;
    uint8_t *bytes;
    const uint8_t *key_bytes;
};

static bool both_whole(const struct both *b) { return arena_whole(b->a) && arena_whole(b->key); }

/* Hold both slots, with the one that is only read from first. False: either was wiped. */
static bool hold(const struct both *b, struct slot from, struct slot to, sigset_t *mask)
{
    for (unsigned turn = 0; both_whole(b); slot_wait_clear(turn++)) {
        if (!slot_lock_pair(from, to, mask))
            continue;
        if (both_whole(b))
            return true;
        slot_unlock_pair(from, to, true, mask);
    }
    return false;
}

enum sa_code session_encrypt(struct sa_arena *a, struct sa_arena *key, struct envelope *envelope,
                             uint8_t *to)
{
    struct both b = {.a = a, .key = key};
    const uint8_t *bytes;
    sigset_t mask;
    bool done = false;
    enum sa_code code = sa_borrow(a, &bytes), after;
    if (code)
        return code;
    if (!(code = sa_borrow(key, &b.key_bytes))) {
        struct slot from = arena_slot(a), with = arena_slot(key);
        if ((done = hold(&b, from, with, &mask))) {
            uint8_t nonce[AEAD_NONCE];
            envelope->count = prekey_nonce();
            aead_spell(nonce, envelope->count);
            aead_seal(to, bytes, a->size, NULL, b.key_bytes, nonce, envelope->tag);
            slot_unlock_pair(from, with, true, &mask);
        }
        code = sa_return(key);
    }
    after = sa_return(a);
    return done ? SA_OK : code ? code : after ? after : SA_WIPED; /* wiped since: it was before */
}

/* With both in use. */
static int decrypt(const struct both *b, const struct envelope *envelope, const uint8_t *ciphertext)
{
    struct slot from = arena_slot(b->key), to = arena_slot(b->a);
    uint8_t nonce[AEAD_NONCE];
    sigset_t mask;
    if (!hold(b, from, to, &mask))
        return ECANCELED;
    aead_spell(nonce, envelope->count);
    if (b->a->size)
        memcpy(b->bytes, ciphertext, b->a->size);
    bool same = aead_open(b->bytes, b->a->size, NULL, b->key_bytes, nonce, envelope->tag);
    slot_unlock_pair(from, to, true, &mask);
    return same ? 0 : EPROTO;
}

int session_decrypt(struct sa_arena *a, struct sa_arena *key, const struct envelope *envelope,
                    const uint8_t *ciphertext)
{
    struct both b = {.a = a, .key = key};
    int error = ECANCELED;
    if (sa_borrow(key, &b.key_bytes))
        return error;
    if (sa_export(a, true, &b.bytes) == SA_OK) {
        error = decrypt(&b, envelope, ciphertext);
        sa_unexport(a);
    }
    if (sa_return(key)) {
        /* wiped since: it was before */
    }
    return error;
}
