/* ChaCha20-Poly1305 of RFC 8439: the tag is compared before a byte is turned back. */
#include "base/aead.h"

#include "base/below.h"
#include "base/chacha.h"
#include "base/ct.h"
#include "base/poly1305.h"
#include "base/registers.h"
#include "base/wipe.h"

/* As a multiple of 16, with zeros. */
static void add_padded(struct poly1305 *s, const uint8_t *p, size_t n)
{
    uint8_t last[16] = {0};
    size_t rest = n % sizeof last;
    poly1305_add(s, p, n - rest);
    if (!rest)
        return;
    memcpy(last, p + n - rest, rest);
    poly1305_add(s, last, sizeof last);
    wipe_scratch(last, sizeof last);
}

/* Of ciphertext. */
static void tag_of(const uint8_t *p, size_t n, const struct aead_more *more,
                   const uint8_t key[AEAD_KEY], const uint8_t nonce[AEAD_NONCE],
                   uint8_t tag[AEAD_TAG])
{
    uint8_t once[32] = {0};
    chacha20_xor(once, once, sizeof once, key, nonce, 0);
    struct poly1305 sum;
    poly1305_begin(&sum, once);
    wipe_scratch(once, sizeof once);
    uint64_t sizes[2] = {more ? more->size : 0, n};
    if (more)
        add_padded(&sum, more->bytes, more->size);
    add_padded(&sum, p, n);
    poly1305_add(&sum, (const uint8_t *)sizes, sizeof sizes);
    poly1305_end(&sum, tag);
}

static OWN_FRAME void seal(uint8_t *to, const uint8_t *from, size_t n, const struct aead_more *more,
                           const uint8_t key[AEAD_KEY], const uint8_t nonce[AEAD_NONCE],
                           uint8_t tag[AEAD_TAG])
{
    chacha20_xor(to, from, n, key, nonce, 1);
    tag_of(to, n, more, key, nonce, tag);
}

void aead_seal(uint8_t *to, const uint8_t *from, size_t n, const struct aead_more *more,
               const uint8_t key[AEAD_KEY], const uint8_t nonce[AEAD_NONCE], uint8_t tag[AEAD_TAG])
{
    seal(to, from, n, more, key, nonce, tag);
    wipe_below();
    registers_forget();
}

static OWN_FRAME bool open_if_same(uint8_t *p, size_t n, const struct aead_more *more,
                                   const uint8_t key[AEAD_KEY], const uint8_t nonce[AEAD_NONCE],
                                   const uint8_t tag[AEAD_TAG])
{
    uint8_t found[AEAD_TAG];
    tag_of(p, n, more, key, nonce, found);
    bool same = ct_public(ct_equal(found, sizeof found, tag, AEAD_TAG));
    wipe_scratch(found, sizeof found); /* else who forged would learn what it should have been */
    if (same)
        chacha20_xor(p, p, n, key, nonce, 1);
    return same;
}

bool aead_open(uint8_t *p, size_t n, const struct aead_more *more, const uint8_t key[AEAD_KEY],
               const uint8_t nonce[AEAD_NONCE], const uint8_t tag[AEAD_TAG])
{
    bool same = open_if_same(p, n, more, key, nonce, tag);
    wipe_below();
    registers_forget();
    return same;
}
