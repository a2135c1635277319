/* Keystreams, against published and generated vectors and a plain scalar
 * implementation written here, which has to pass them too. */
#include "base/chacha.h"
#include "base/chacha_wide.h"
#include "check.h"

static uint32_t turn(uint32_t v, int n) { return v << n | v >> (32 - n); }

static void quarter(uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d)
{
    *a += *b, *d = turn(*d ^ *a, 16);
    *c += *d, *b = turn(*b ^ *c, 12);
    *a += *b, *d = turn(*d ^ *a, 8);
    *c += *d, *b = turn(*b ^ *c, 7);
}

static uint32_t word(const uint8_t *p)
{
    uint32_t v = 0;
    for (int i = 3; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

static void plain_block(uint8_t out[64], const uint8_t key[32], const uint8_t nonce[8],
                        uint64_t counter)
{
    uint32_t in[16], x[16];
    for (int i = 0; i < 4; i++)
        in[i] = word((const uint8_t *)"expand 32-byte k" + 4 * i);
    for (int i = 0; i < 8; i++)
        in[4 + i] = word(key + 4 * i);
    in[12] = (uint32_t)counter;
    in[13] = (uint32_t)(counter >> 32);
    in[14] = word(nonce);
    in[15] = word(nonce + 4);
    memcpy(x, in, sizeof x);
    for (int round = 0; round < 12; round++)
        for (int i = 0; i < 4; i++) {
            int shift = round % 2; /* a column, or a diagonal */
            quarter(&x[i], &x[4 + (i + shift) % 4], &x[8 + (i + 2 * shift) % 4],
                    &x[12 + (i + 3 * shift) % 4]);
        }
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 4; k++)
            out[4 * i + k] = (uint8_t)((x[i] + in[i]) >> 8 * k);
}

static void plain(uint8_t *out, size_t blocks, const uint8_t key[32], const uint8_t nonce[8],
                  uint64_t counter)
{
    for (; blocks--; out += 64)
        plain_block(out, key, nonce, counter++);
}

/* ---- SHA-256, for the long vector (FIPS 180-4) ------------------------------------------ */

static void sha256_block(uint32_t state[8], const uint8_t *p)
{
    static const uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
        0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
        0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
        0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
        0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
        0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
        0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
        0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
        0xc67178f2};
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 |
               (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + w[i - 7] + (turn(w[i - 15], 25) ^ turn(w[i - 15], 14) ^ w[i - 15] >> 3) +
               (turn(w[i - 2], 15) ^ turn(w[i - 2], 13) ^ w[i - 2] >> 10);
    memcpy(v, state, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t one = v[7] + (turn(v[4], 26) ^ turn(v[4], 21) ^ turn(v[4], 7)) +
                       ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[i];
        uint32_t two = (turn(v[0], 30) ^ turn(v[0], 19) ^ turn(v[0], 10)) +
                       ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += one;
        v[0] = one + two;
    }
    for (int i = 0; i < 8; i++)
        state[i] += v[i];
}

/* Of whole blocks of 64 bytes, as keystream is. */
static void sha256(const uint8_t *p, size_t bytes, char hex[65])
{
    uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    uint8_t last[64] = {0x80};
    for (size_t i = 0; i < 8; i++)
        last[63 - i] = (uint8_t)((uint64_t)bytes * 8 >> 8 * i);
    for (size_t at = 0; at < bytes; at += 64)
        sha256_block(state, p + at);
    sha256_block(state, last);
    for (int i = 0; i < 8; i++)
        snprintf(hex + 8 * i, 9, "%08x", (unsigned)state[i]);
}

/* ---- the vectors ------------------------------------------------------------------------- */

static const struct {
    uint8_t key[32], nonce[8];
    size_t length;
    const char *keystream, *sha256;
} vectors[] = {
    /* zero key, zero nonce; first 32 bytes equal the first output of Rust rand's StdRng (ChaCha12) from a zero seed */
    {{0},
     {0},
     128,
     "9bf49a6a0755f953811fce125f2683d50429c3bb49e074147e0089a52eae155f0564f879d27ae3c0"
     "2ce82834acfa8c793a629f2ca0de6919610be82f411326be0bd58841203e74fe86fc71338ce0173d"
     "c628ebb719bdcbcc151585214cc089b442258dcda14cf111c602b8971b8cc843e91e46ca905151c0"
     "2744a6b017e69316",
     "1a6778cb8834c9ed3f546a76dfdd8961b5804957cf9ad2a1f1a571197320c938"},
    /* key 01 00.. */
    {{1},
     {0},
     128,
     "12056e595d56b0f6eef090f0cd25a20949248c2790525d0f930218ff0b4ddd10a6002239d9a454e2"
     "9e107a7d06fefdfef0210feba044f9f29b1772c960dc29c00c7366c5cbc604240e665eb02a69372a"
     "7af979b26fbb78092ac7c4b88029a7c854513bc217bbfc7d90432e308eba15afc65aeb48ef100d56"
     "01e6afba257117a9",
     "7276730bec390277d2e973d4e3a521181295eb8c2d8d6439fa0847bfad5596c6"},
    /* nonce 01 00.. */
    {{0},
     {1},
     128,
     "64b8bdf87b828c4b6dbaf7ef698de03df8b33f635714418f9836ade59be1296946c953a0f38ecffc"
     "9ecb98e81d5d99a5edfc8f9a0a45b9e41ef3b31f028f1d0f559db4a7f222c442fe23b9a2596a8828"
     "5122ee4f1363896ea77ca150912ac723bff04b026a2f807e03b29c02077d7b06fc1ab9827c13c801"
     "3a6d83bd3b52a26f",
     "07cf96b085fec2620c3da7d19012d55e419e4416058b8bb8b3f3cd854e629abc"},
    /* all ones */
    {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
     {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
     128,
     "04bf88dae8e47a228fa47b7e6379434ba664a7d28f4dab84e5f8b464add20c3acaa69c5ab221a23a"
     "57eb5f345c96f4d1322d0a2ff7a9cd43401cd536639a615a5c9429b55ca3c1b55354559669a154ac"
     "a46cd761c41ab8ace385363b95675f068e18db5a673c11291bd4187892a9a3a33514f3712b26c130"
     "26103298ed76bc9a",
     "06de158347766e8dd82b8e28ffaefa306f825497c22ab7244531acb32864cd56"},
    /* key 00..1f, a whole noise buffer */
    {{0,    1,    2,    3,    4,    5,    6,    7,    8,    9,    0x0a,
      0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15,
      0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f},
     {0},
     4096,
     NULL,
     "f56ae5423ec46fd385fbaebb7af02049c64fb6a7cc8d204d7d9b1febca90fcad"},
};
enum { VECTORS = sizeof vectors / sizeof vectors[0] };

typedef void stream(uint8_t *, size_t, const uint8_t[32], const uint8_t[8], uint64_t);

static void passes_vectors(stream *make)
{
    static uint8_t out[4096];
    for (size_t v = 0; v < VECTORS; v++) {
        char hex[65];
        memset(out, 0, sizeof out);
        make(out, vectors[v].length / 64, vectors[v].key, vectors[v].nonce, 0);
        for (size_t i = 0; vectors[v].keystream && i < vectors[v].length; i++) {
            snprintf(hex, sizeof hex, "%02x", out[i]);
            CHECK(!memcmp(hex, vectors[v].keystream + 2 * i, 2));
        }
        sha256(out, vectors[v].length, hex);
        CHECK(!strcmp(hex, vectors[v].sha256));
    }
}

TEST(vectors) { passes_vectors(chacha12); }
TEST(plain_one_passes_vectors) { passes_vectors(plain); }

/* ---- against the plain one ------------------------------------------------------------------ */

static void random_bytes(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(rand() >> 7);
}

/* Every number of blocks around the four and the eight that are made together, at every
 * alignment, and not a byte beside them. */
TEST(any_count_any_alignment)
{
    static uint8_t have[64 * 21 + 32], want[64 * 21];
    uint8_t key[32], nonce[8];
    for (size_t blocks = 0; blocks <= 21; blocks++)
        for (size_t shift = 0; shift < 16; shift++) {
            random_bytes(key, sizeof key);
            random_bytes(nonce, sizeof nonce);
            memset(have, 0xa5, sizeof have);
            chacha12(have + shift, blocks, key, nonce, shift * 1000);
            plain(want, blocks, key, nonce, shift * 1000);
            CHECK(!memcmp(have + shift, want, blocks * 64));
            for (size_t i = 0; i < sizeof have; i++)
                if (i < shift || i >= shift + blocks * 64)
                    SAME(have[i], 0xa5);
        }
}

/* The counter carries into its upper word and wraps at 2^64, also within a group of blocks. */
TEST(counters)
{
    static const uint64_t starts[] = {
        0,          1,           0xfffffffb,  0xfffffffc,     0xfffffffd,     0xfffffffe,
        0xffffffff, 0x100000000, 0x1fffffffe, UINT64_MAX - 9, UINT64_MAX - 2, UINT64_MAX - 1,
        UINT64_MAX};
    uint8_t have[64 * 17], want[64 * 17], key[32], nonce[8];
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++)
        for (size_t blocks = 1; blocks <= 17; blocks++) {
            random_bytes(key, sizeof key);
            random_bytes(nonce, sizeof nonce);
            chacha12(have, blocks, key, nonce, starts[i]);
            plain(want, blocks, key, nonce, starts[i]);
            CHECK(!memcmp(have, want, blocks * 64));
        }
}

/* A stream made in pieces is the stream. */
TEST(pieces)
{
    static uint8_t have[4096], want[4096];
    const uint8_t key[32] = {7}, nonce[8] = {9};
    chacha12(want, 64, key, nonce, UINT64_MAX - 20);
    for (size_t at = 0, piece = 0; at < 64; at += piece) {
        piece = (piece + 3) % 7 + 1;
        piece = piece < 64 - at ? piece : 64 - at;
        chacha12(have + 64 * at, piece, key, nonce, UINT64_MAX - 20 + at);
    }
    CHECK(!memcmp(have, want, sizeof want));
}

/* ---- wider vectors ---------------------------------------------------------------------- */

#if defined(__x86_64__)
/* Whole groups of eight, across a carry of the counter, and not a byte beside them. */
typedef size_t wide(uint8_t *, size_t, const uint8_t[32], const uint8_t[8], uint64_t, int);

static void writes_groups(wide *make)
{
    static uint8_t have[64 * 20 + 1], want[64 * 20];
    uint8_t key[32], nonce[8];
    for (size_t blocks = 0; blocks <= 20; blocks++) {
        size_t groups = blocks / 8 * 8;
        random_bytes(key, sizeof key);
        random_bytes(nonce, sizeof nonce);
        memset(have, 0xa5, sizeof have);
        SAME(make(have + 1, blocks, key, nonce, UINT32_MAX - 3 - blocks, 6), groups);
        plain(want, groups, key, nonce, UINT32_MAX - 3 - blocks);
        CHECK(!memcmp(have + 1, want, groups * 64));
        SAME(have[0], 0xa5);
        for (size_t i = 1 + groups * 64; i < sizeof have; i++)
            SAME(have[i], 0xa5);
    }
}
#endif

TEST(avx2)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        writes_groups(chacha_avx2);
#endif
}

TEST(avx512)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512vl"))
        writes_groups(chacha_avx512);
#endif
}

int main(int argc, char **argv)
{
    check_begin("test_chacha", argc, argv);
    RUN(vectors);
    RUN(plain_one_passes_vectors);
    RUN(any_count_any_alignment);
    RUN(counters);
    RUN(pieces);
    RUN(avx2);
    RUN(avx512);
    return check_end();
}
