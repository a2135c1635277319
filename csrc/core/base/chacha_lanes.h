/* The cipher's stream, computed LANES blocks at a time, one in each lane of a vector: for the
 * files that say how many, 4 or 8, and with which instructions (LANED). The compiler's own vector
 * types make it SSE2 or AVX on x86-64 and NEON on AArch64 with no code for any. */
#include "base/chacha.h"

#include "base/wipe.h"

#include <string.h>

enum { WORDS = 16, BLOCK = 64 };

typedef uint32_t lanes __attribute__((vector_size(4 * LANES)));

static uint32_t load32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

#define ROTATE(v, n) ((v) << (n) | (v) >> (32 - (n)))

// clang-format off
#define QUARTER(a, b, c, d)          \
    do {                             \
        a += b; d ^= a; d = ROTATE(d, 16); \
        c += d; b ^= c; b = ROTATE(b, 12); \
        a += b; d ^= a; d = ROTATE(d, 8);  \
        c += d; b ^= c; b = ROTATE(b, 7);  \
    } while (0)
// clang-format on

LANED static inline void rounds(lanes x[WORDS], int double_rounds)
{
    for (int i = 0; i < double_rounds; i++) {
        QUARTER(x[0], x[4], x[8], x[12]);
        QUARTER(x[1], x[5], x[9], x[13]);
        QUARTER(x[2], x[6], x[10], x[14]);
        QUARTER(x[3], x[7], x[11], x[15]);
        QUARTER(x[0], x[5], x[10], x[15]);
        QUARTER(x[1], x[6], x[11], x[12]);
        QUARTER(x[2], x[7], x[8], x[13]);
        QUARTER(x[3], x[4], x[9], x[14]);
    }
}

/* Little-endian on every platform we build for. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "little-endian only");

#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (lanes){__VA_ARGS__})
#endif

/* Of two vectors, in each run of four lanes: the words of its lower half by turns, and of its
 * upper half; and its lower pairs together, and its upper ones. */
#if LANES == 4
#define LOW_WORDS(a, b) SHUFFLE(a, b, 0, 4, 1, 5)
#define HIGH_WORDS(a, b) SHUFFLE(a, b, 2, 6, 3, 7)
#define LOW_PAIRS(a, b) SHUFFLE(a, b, 0, 1, 4, 5)
#define HIGH_PAIRS(a, b) SHUFFLE(a, b, 2, 3, 6, 7)
#else
#define LOW_WORDS(a, b) SHUFFLE(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define HIGH_WORDS(a, b) SHUFFLE(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define LOW_PAIRS(a, b) SHUFFLE(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define HIGH_PAIRS(a, b) SHUFFLE(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#endif

/* Turn four rows, a word of all blocks each, into four words of each block. */
LANED static inline void store_rows(uint8_t *out, lanes a, lanes b, lanes c, lanes d)
{
    lanes ab_low = LOW_WORDS(a, b), ab_high = HIGH_WORDS(a, b);
    lanes cd_low = LOW_WORDS(c, d), cd_high = HIGH_WORDS(c, d);
    lanes block[4] = {LOW_PAIRS(ab_low, cd_low), HIGH_PAIRS(ab_low, cd_low),
                      LOW_PAIRS(ab_high, cd_high), HIGH_PAIRS(ab_high, cd_high)};
    for (size_t i = 0; i < LANES; i++)
        memcpy(out + BLOCK * i, (const uint8_t *)&block[i % 4] + i / 4 * 16, 16);
}

/* All that a run keeps in memory; wiped once at its end. */
struct scratch {
    lanes start[WORDS], x[WORDS];
    uint8_t rest[LANES * BLOCK];
};

LANED static inline void some_blocks(struct scratch *s, uint8_t *out, uint64_t counter,
                                     int double_rounds)
{
    for (uint64_t i = 0; i < LANES; i++) {
        s->start[12][i] = (uint32_t)(counter + i);
        s->start[13][i] = (uint32_t)((counter + i) >> 32);
    }
    memcpy(s->x, s->start, sizeof s->x);
    rounds(s->x, double_rounds);
    for (int i = 0; i < WORDS; i++)
        s->x[i] += s->start[i];
    for (int i = 0; i < WORDS; i += 4)
        store_rows(out + 4 * i, s->x[i], s->x[i + 1], s->x[i + 2], s->x[i + 3]);
}

LANED static inline lanes all(uint32_t word) { return word - (lanes){0}; }

LANED static inline void begin(struct scratch *s, const uint8_t key[32], const uint8_t nonce[8])
{
    s->start[0] = all(0x61707865);
    s->start[1] = all(0x3320646e);
    s->start[2] = all(0x79622d32);
    s->start[3] = all(0x6b206574);
    for (size_t i = 0; i < 8; i++)
        s->start[4 + i] = all(load32(key + 4 * i));
    s->start[14] = all(load32(nonce));
    s->start[15] = all(load32(nonce + 4));
}

/* Write whole groups of blocks, and return how many blocks they are. */
LANED static inline size_t whole_groups(uint8_t *out, size_t blocks, const uint8_t key[32],
                                        const uint8_t nonce[8], uint64_t counter, int double_rounds)
{
    struct scratch s;
    size_t done = 0;
    begin(&s, key, nonce);
    for (; blocks - done >= LANES; done += LANES)
        some_blocks(&s, out + done * BLOCK, counter + done, double_rounds);
    wipe_scratch(&s, sizeof s);
    return done;
}
