/* ChaCha20-Poly1305, the authenticated encryption of RFC 8439, section 2.8. */
#ifndef SECALLOC_AEAD_H
#define SECALLOC_AEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { AEAD_KEY = 32, AEAD_NONCE = 12, AEAD_TAG = 16 };

/* What is authenticated beside the content; NULL: nothing. */
struct aead_more {
    const uint8_t *bytes;
    size_t size;
};

/* A count as a nonce. [signal] */
static inline void aead_spell(uint8_t nonce[AEAD_NONCE], uint64_t count)
{
    memset(nonce, 0, AEAD_NONCE);
    memcpy(nonce, &count, sizeof count);
}

/* Write the ciphertext of `n` bytes at `from`, fewer than 2^38 - 63, to `to`, which may be the same
 * place, and give its tag. No pair of key and nonce may come twice. Nothing of key or content stays
 * behind, and none of it is in `to` before it is ciphertext. [signal] */
void aead_seal(uint8_t *to, const uint8_t *from, size_t n, const struct aead_more *more,
               const uint8_t key[AEAD_KEY], const uint8_t nonce[AEAD_NONCE], uint8_t tag[AEAD_TAG]);

/* Turn it back, in place. False: the tag is another's, and the bytes were left as they are.
 * [signal] */
bool aead_open(uint8_t *p, size_t n, const struct aead_more *more, const uint8_t key[AEAD_KEY],
               const uint8_t nonce[AEAD_NONCE], const uint8_t tag[AEAD_TAG]);

#endif
