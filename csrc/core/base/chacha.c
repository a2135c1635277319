/* The cipher's stream, computed four blocks at a time, one in each lane of a vector. The
 * compiler's own vector types make it SSE2 on x86-64 and NEON on AArch64 with no code for
 * either. */
#include "base/chacha.h"

#include "base/wipe.h"

#include <string.h>

enum { LANES = 4, WORDS = 16, BLOCK = 64, TWELVE = 6, TWENTY = 10 };

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

static inline void rounds(lanes x[WORDS], int double_rounds)
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
#define SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define SHUFFLE(a, b, i, j, k, l) __builtin_shuffle(a, b, (lanes){i, j, k, l})
#endif

/* Turn four rows, a word of four blocks each, into four words of one block each. */
static void store_rows(uint8_t *out, lanes a, lanes b, lanes c, lanes d)
{
    lanes ab_low = SHUFFLE(a, b, 0, 4, 1, 5), ab_high = SHUFFLE(a, b, 2, 6, 3, 7);
    lanes cd_low = SHUFFLE(c, d, 0, 4, 1, 5), cd_high = SHUFFLE(c, d, 2, 6, 3, 7);
    lanes block[LANES] = {
        SHUFFLE(ab_low, cd_low, 0, 1, 4, 5),
        SHUFFLE(ab_low, cd_low, 2, 3, 6, 7),
        SHUFFLE(ab_high, cd_high, 0, 1, 4, 5),
        SHUFFLE(ab_high, cd_high, 2, 3, 6, 7),
    };
    for (size_t i = 0; i < LANES; i++)
        memcpy(out + BLOCK * i, &block[i], sizeof block[i]);
}

/* All that a run keeps in memory; wiped once at its end. */
struct scratch {
    lanes start[WORDS], x[WORDS];
    uint8_t rest[LANES * BLOCK];
};

static inline void four_blocks(struct scratch *s, uint8_t *out, uint64_t counter, int double_rounds)
{
    for (uint64_t i = 0; i < LANES; i++) {
        s->start[12][i] = (uint32_t)(counter + i);
        s->start[13][i] = (uint32_t)((counter + i) >> 32);
    }
    memcpy(s->x, s->start, sizeof s->x);
    rounds(s->x, double_rounds);
    for (int i = 0; i < WORDS; i++)
        s->x[i] += s->start[i];
    for (int i = 0; i < WORDS; i += LANES)
        store_rows(out + 4 * i, s->x[i], s->x[i + 1], s->x[i + 2], s->x[i + 3]);
}

static lanes all(uint32_t word) { return (lanes){word, word, word, word}; }

static void begin(struct scratch *s, const uint8_t key[32], const uint8_t nonce[8])
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

void chacha12(uint8_t *out, size_t blocks, const uint8_t key[32], const uint8_t nonce[8],
              uint64_t counter)
{
    struct scratch s;
    begin(&s, key, nonce);
    for (; blocks >= LANES; blocks -= LANES, counter += LANES, out += LANES * BLOCK)
        four_blocks(&s, out, counter, TWELVE);
    if (blocks) {
        four_blocks(&s, s.rest, counter, TWELVE);
        memcpy(out, s.rest, blocks * BLOCK);
    }
    wipe_scratch(&s, sizeof s);
}

/* The first word of a 96-bit nonce takes the upper half of djb's counter, which nothing is
 * carried into. */
void chacha20_xor(uint8_t *p, size_t n, const uint8_t key[32], const uint8_t nonce[12],
                  uint32_t block)
{
    struct scratch s;
    uint64_t counter = (uint64_t)load32(nonce) << 32 | block;
    begin(&s, key, nonce + 4);
    for (; n; counter += LANES) {
        size_t part = n < sizeof s.rest ? n : sizeof s.rest;
        four_blocks(&s, s.rest, counter, TWENTY);
        for (size_t i = 0; i < part; i++)
            p[i] ^= s.rest[i];
        p += part;
        n -= part;
    }
    wipe_scratch(&s, sizeof s);
}
