/* Encryption of an arena's content while it is sealed. */
#ifndef SECALLOC_ARENA_CIPHER_H
#define SECALLOC_ARENA_CIPHER_H

#include "arena/place.h"

/* Whether content is ciphertext, or is to be at times. Nothing here is of use to another. */
static inline bool cipher_concerns(struct sa_arena *a)
{
    return atomic_load_explicit(&a->encrypts, memory_order_relaxed) ||
           atomic_load_explicit(&slot_cipher(arena_slot(a))->nonce, memory_order_relaxed);
}

/* Give pages that are the arena's own that access, and content the form that goes with it:
 * ciphertext behind none, plaintext, on locked pages, behind any; `anew`: the content is going
 * to be overwritten, and stays as it is. Wiped content is left alone. Failing, SA_UNPROTECTED
 * among others, it is as it was. The arena is moving. [any] */
SA_MUST_USE enum sa_code cipher_apply(struct sa_arena *a, enum os_access access, bool anew,
                                      struct sa_why *why);

/* The content was overwritten as it was: it is not ciphertext any more. The arena is moving. [any] */
void cipher_drop(struct sa_arena *a);

/* Ciphertext was copied from slot to slot, and what it is goes along; the slots are held busy. [any] */
void cipher_move(struct slot from, struct slot to);

#endif
