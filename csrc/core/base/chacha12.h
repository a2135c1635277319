/* ChaCha12 keystream in djb's layout: 64-bit block counter, 64-bit nonce. */
#ifndef SECALLOC_CHACHA12_H
#define SECALLOC_CHACHA12_H

#include <stddef.h>
#include <stdint.h>

/* Write `blocks` blocks of 64 bytes to `out`, from block `counter` on; the
 * counter wraps at 2^64. The key leaves no copy behind. [signal] */
void chacha12(uint8_t *out, size_t blocks, const uint8_t key[32], const uint8_t nonce[8],
              uint64_t counter);

#endif
