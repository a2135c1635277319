/* ChaCha: twelve rounds for noise, twenty for what is to be read again. */
#ifndef SECALLOC_CHACHA_H
#define SECALLOC_CHACHA_H

#include <stddef.h>
#include <stdint.h>

/* Write `blocks` blocks of 64 bytes of ChaCha12's keystream to `out`, from block `counter` on, in
 * djb's layout: a 64-bit nonce, and a counter that wraps at 2^64. The key is wiped,
 * but for what a compiler keeps of it on the stack: a caller whose key is to stay secret calls
 * wipe_below() afterwards. [signal] */
void chacha12(uint8_t *out, size_t blocks, const uint8_t key[32], const uint8_t nonce[8],
              uint64_t counter);

/* Write `n` bytes at `from`, exclusive-or ChaCha20's keystream from block `block` on, to `to`, which
 * may be the same place. The layout is that of RFC 8439: a 96-bit nonce, and a 32-bit counter. No
 * call may go past its end. Key and keystream are wiped likewise. [signal] */
void chacha20_xor(uint8_t *to, const uint8_t *from, size_t n, const uint8_t key[32],
                  const uint8_t nonce[12], uint32_t block);

#endif
