/* BLAKE2b as RFC 7693 has it. The round alone tells which word of a block comes next. */
#include "base/blake2b.h"

#include "base/below.h"
#include "base/wipe.h"

enum { WORDS = 16, BLOCK = 128, ROUNDS = 12, DIGEST = 32 };

static const uint64_t blake2b_start[8] = {
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
    0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179};

static const uint8_t order[10][WORDS] = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
                                         {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
                                         {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
                                         {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
                                         {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
                                         {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
                                         {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
                                         {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
                                         {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
                                         {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0}};

/* All that a hash keeps in memory; wiped once at its end. */
struct scratch {
    uint64_t state[8], v[WORDS], words[WORDS];
};

#define TURN(x, n) ((x) >> (n) | (x) << (64 - (n)))

static inline void mix(uint64_t *v, int a, int b, int c, int d, uint64_t x, uint64_t y)
{
    v[a] += v[b] + x;
    v[d] = TURN(v[d] ^ v[a], 32);
    v[c] += v[d];
    v[b] = TURN(v[b] ^ v[c], 24);
    v[a] += v[b] + y;
    v[d] = TURN(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = TURN(v[b] ^ v[c], 63);
}

/* Take in the block that lies in the scratch; `so_far`: bytes with this one. */
static void compress(struct scratch *s, uint64_t so_far, uint64_t last)
{
    uint64_t *v = s->v;
    const uint64_t *m = s->words;
    memcpy(v, s->state, sizeof s->state);
    memcpy(v + 8, blake2b_start, sizeof blake2b_start);
    v[12] ^= so_far;
    v[14] ^= last;
    for (int round = 0; round < ROUNDS; round++) {
        const uint8_t *o = order[round % 10];
        mix(v, 0, 4, 8, 12, m[o[0]], m[o[1]]);
        mix(v, 1, 5, 9, 13, m[o[2]], m[o[3]]);
        mix(v, 2, 6, 10, 14, m[o[4]], m[o[5]]);
        mix(v, 3, 7, 11, 15, m[o[6]], m[o[7]]);
        mix(v, 0, 5, 10, 15, m[o[8]], m[o[9]]);
        mix(v, 1, 6, 11, 12, m[o[10]], m[o[11]]);
        mix(v, 2, 7, 8, 13, m[o[12]], m[o[13]]);
        mix(v, 3, 4, 9, 14, m[o[14]], m[o[15]]);
    }
    for (int i = 0; i < 8; i++)
        s->state[i] ^= v[i] ^ v[8 + i];
}

static OWN_FRAME void hash(uint8_t digest[DIGEST], const uint8_t *p, size_t n)
{
    struct scratch s;
    memcpy(s.state, blake2b_start, sizeof s.state);
    s.state[0] ^= 0x01010000 ^ DIGEST;
    size_t done = 0;
    while (n - done > BLOCK) {
        memcpy(s.words, p + done, BLOCK); /* little-endian: see chacha.c */
        done += BLOCK;
        compress(&s, done, 0);
    }
    memset(s.words, 0, BLOCK);
    if (n)
        memcpy(s.words, p + done, n - done);
    compress(&s, n, UINT64_MAX);
    memcpy(digest, s.state, DIGEST);
    wipe_scratch(&s, sizeof s);
}

void blake2b_256(uint8_t digest[32], const uint8_t *p, size_t n)
{
    hash(digest, p, n);
    wipe_below();
}
