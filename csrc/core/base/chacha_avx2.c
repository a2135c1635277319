/* Eight blocks at a time in the vectors of AVX2: half the time of four. */
#if defined(__x86_64__)
#include "base/chacha_wide.h"

#define LANES 8
#define LANED __attribute__((target("avx2")))
#include "base/chacha_lanes.h"
#include "base/registers.h"

LANED size_t chacha_avx2(uint8_t *out, size_t blocks, const uint8_t key[32], const uint8_t nonce[8],
                         uint64_t counter, int double_rounds)
{
    size_t done = whole_groups(out, blocks, key, nonce, counter, double_rounds);
    registers_forget(); /* wide registers keep what they hold longer than others */
    return done;
}
#endif
