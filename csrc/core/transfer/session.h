/* Content on its way between two processes that have a key of their own, which came by way of
 * secretmem: what the kernel holds of it meanwhile is ciphertext. */
#ifndef SECALLOC_TRANSFER_SESSION_H
#define SECALLOC_TRANSFER_SESSION_H

#include "base/aead.h"
#include "secalloc.h"

/* What goes before the ciphertext. */
struct envelope {
    uint64_t count; /* the nonce: no other of the giver's has it */
    uint8_t tag[AEAD_TAG];
};

/* Write the content's ciphertext to `to`, of its size. SA_WIPED, and others as for sa_borrow: the
 * content, or the key, cannot be read. [any] */
SA_MUST_USE enum sa_code session_encrypt(struct sa_arena *a, struct sa_arena *key,
                                         struct envelope *envelope, uint8_t *to);

/* Fill an arena, which is being filled, with the content of that ciphertext. Returns an errno:
 * ECANCELED, one of the two was wiped; EPROTO, it is none of the key's. [any] */
SA_MUST_USE int session_decrypt(struct sa_arena *a, struct sa_arena *key,
                                const struct envelope *envelope, const uint8_t *ciphertext);

#endif
