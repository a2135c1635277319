/* ChaCha's stream in the wider vectors that some processors have. */
#ifndef SECALLOC_CHACHA_WIDE_H
#define SECALLOC_CHACHA_WIDE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)

/* Write as many of the `blocks` as eight at a time go into, and return how many; the rest is the
 * caller's. Key, nonce and counter as with chacha12. The processor has to have AVX2, or AVX-512 with
 * VL. The key is wiped as with chacha12, and registers keep none of it. [signal] */
size_t chacha_avx2(uint8_t *out, size_t blocks, const uint8_t key[32], const uint8_t nonce[8],
                   uint64_t counter, int double_rounds);

/* The same. [signal] */
size_t chacha_avx512(uint8_t *out, size_t blocks, const uint8_t key[32], const uint8_t nonce[8],
                     uint64_t counter, int double_rounds);

#endif

#endif
