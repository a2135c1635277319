/* Poly1305, the one-time authenticator of RFC 8439, section 2.5. */
#ifndef SECALLOC_POLY1305_H
#define SECALLOC_POLY1305_H

#include <stddef.h>
#include <stdint.h>

/* A sum under way: the number r, the sum and what is added at the end, in limbs of 44, 44 and 42
 * bits. poly1305_end wipes it. */
struct poly1305 {
    uint64_t r[3], sum[3], last[2];
};

/* Begin with a key that is used once. [signal] */
void poly1305_begin(struct poly1305 *s, const uint8_t key[32]);

/* Add `n` bytes, a multiple of 16 but for the last call. [signal] */
void poly1305_add(struct poly1305 *s, const uint8_t *p, size_t n);

/* The tag of all that was added. [signal] */
void poly1305_end(struct poly1305 *s, uint8_t tag[16]);

#endif
