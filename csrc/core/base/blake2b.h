/* BLAKE2b, the hash of RFC 7693, with digests of 32 bytes and no key. */
#ifndef SECALLOC_BLAKE2B_H
#define SECALLOC_BLAKE2B_H

#include <stddef.h>
#include <stdint.h>

/* The digest of `n` bytes, which leave no copy behind. [signal] */
void blake2b_256(uint8_t digest[32], const uint8_t *p, size_t n);

#endif
