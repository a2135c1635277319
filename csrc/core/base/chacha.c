/* The cipher's stream: four blocks at a time, or eight where the processor has the vectors. */
#include "base/chacha.h"

#include "base/chacha_wide.h"

#define LANES 4
#define LANED
#include "base/chacha_lanes.h"

enum { TWELVE = 6, TWENTY = 10 };

/* As chacha_avx2, with the widest vectors that there are; 0: none. */
static size_t write_wide(uint8_t *out, size_t blocks, const uint8_t key[32], const uint8_t nonce[8],
                         uint64_t counter)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512vl"))
        return chacha_avx512(out, blocks, key, nonce, counter, TWELVE);
    if (__builtin_cpu_supports("avx2"))
        return chacha_avx2(out, blocks, key, nonce, counter, TWELVE);
#endif
    (void)out, (void)blocks, (void)key, (void)nonce, (void)counter;
    return 0;
}

void chacha12(uint8_t *out, size_t blocks, const uint8_t key[32], const uint8_t nonce[8],
              uint64_t counter)
{
    size_t done = write_wide(out, blocks, key, nonce, counter);
    if (done < blocks)
        done += whole_groups(out + done * BLOCK, blocks - done, key, nonce, counter + done, TWELVE);
    if (done == blocks)
        return;
    struct scratch s;
    begin(&s, key, nonce);
    some_blocks(&s, s.rest, counter + done, TWELVE);
    memcpy(out + done * BLOCK, s.rest, (blocks - done) * BLOCK);
    wipe_scratch(&s, sizeof s);
}

/* The first word of a 96-bit nonce takes the upper half of djb's counter, which nothing is
 * carried into. */
void chacha20_xor(uint8_t *to, const uint8_t *from, size_t n, const uint8_t key[32],
                  const uint8_t nonce[12], uint32_t block)
{
    struct scratch s;
    uint64_t counter = (uint64_t)load32(nonce) << 32 | block;
    begin(&s, key, nonce + 4);
    for (; n; counter += LANES) {
        size_t part = n < sizeof s.rest ? n : sizeof s.rest;
        some_blocks(&s, s.rest, counter, TWENTY);
        for (size_t i = 0; i < part; i++)
            to[i] = from[i] ^ s.rest[i];
        to += part;
        from += part;
        n -= part;
    }
    wipe_scratch(&s, sizeof s);
}
