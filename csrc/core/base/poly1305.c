/* Poly1305 in limbs of 44, 44 and 42 bits, whose products fit into 128. Nothing branches on a
 * limb, and nothing is indexed by one. */
#include "base/poly1305.h"

#include "base/wipe.h"

__extension__ typedef unsigned __int128 wide;

#define LIMB_44 (((uint64_t)1 << 44) - 1)
#define LIMB_42 (((uint64_t)1 << 42) - 1)

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v); /* little-endian on every platform we build for: see chacha.c */
    return v;
}

void poly1305_begin(struct poly1305 *s, const uint8_t key[32])
{
    uint64_t low = load64(key) & 0x0ffffffc0fffffff, high = load64(key + 8) & 0x0ffffffc0ffffffc;
    *s = (struct poly1305){
        .r = {low & LIMB_44, (low >> 44 | high << 20) & LIMB_44, high >> 24},
        .last = {load64(key + 16), load64(key + 24)},
    };
}

/* sum = (sum + blocks) * r modulo 2^130 - 5, block by block; `high`: the bit above each. What
 * passes 2^130 comes back at the low end times 5, and as limbs 1 and 2 begin at bits 44 and 88, a
 * product of theirs that begins at 132 does so times 20. */
static void add_blocks(struct poly1305 *s, const uint8_t *p, size_t blocks, uint64_t high)
{
    const uint64_t r0 = s->r[0], r1 = s->r[1], r2 = s->r[2], r1_20 = r1 * 20, r2_20 = r2 * 20;
    uint64_t a = s->sum[0], b = s->sum[1], c = s->sum[2];
    for (; blocks; blocks--, p += 16) {
        uint64_t low = load64(p), up = load64(p + 8);
        a += low & LIMB_44;
        b += (low >> 44 | up << 20) & LIMB_44;
        c += up >> 24 | high << 40;
        wide x = (wide)a * r0 + (wide)b * r2_20 + (wide)c * r1_20;
        wide y = (wide)a * r1 + (wide)b * r0 + (wide)c * r2_20;
        wide z = (wide)a * r2 + (wide)b * r1 + (wide)c * r0;
        y += (uint64_t)(x >> 44);
        z += (uint64_t)(y >> 44);
        a = ((uint64_t)x & LIMB_44) + (uint64_t)(z >> 42) * 5;
        b = ((uint64_t)y & LIMB_44) + (a >> 44);
        a &= LIMB_44;
        c = (uint64_t)z & LIMB_42;
    }
    s->sum[0] = a;
    s->sum[1] = b;
    s->sum[2] = c;
}

void poly1305_add(struct poly1305 *s, const uint8_t *p, size_t n)
{
    add_blocks(s, p, n / 16, 1);
    size_t rest = n % 16;
    if (!rest)
        return;
    uint8_t block[16] = {0};
    memcpy(block, p + n - rest, rest);
    block[rest] = 1;
    add_blocks(s, block, 1, 0);
    wipe_scratch(block, sizeof block);
}

/* Carry from limb to limb, all the way round. */
static void carry(uint64_t v[3])
{
    v[1] += v[0] >> 44;
    v[0] &= LIMB_44;
    v[2] += v[1] >> 44;
    v[1] &= LIMB_44;
    v[0] += (v[2] >> 42) * 5;
    v[2] &= LIMB_42;
}

void poly1305_end(struct poly1305 *s, uint8_t tag[16])
{
    uint64_t *v = s->sum, less[3];
    carry(v);
    carry(v);
    carry(v);
    /* The sum less 2^130 - 5: if that is not negative, it is the one that counts. */
    less[0] = v[0] + 5;
    less[1] = v[1] + (less[0] >> 44);
    less[2] = v[2] + (less[1] >> 44) - ((uint64_t)1 << 42);
    uint64_t keep = (less[2] >> 63) - 1; /* all ones: it is not */
    for (int i = 0; i < 3; i++)
        v[i] ^= (v[i] ^ (less[i] & LIMB_44)) & keep;
    uint64_t words[2] = {v[0] | v[1] << 44, v[1] >> 20 | v[2] << 24};
    wide low = (wide)words[0] + s->last[0];
    words[0] = (uint64_t)low;
    words[1] += s->last[1] + (uint64_t)(low >> 64);
    memcpy(tag, words, sizeof words);
    wipe_scratch(less, sizeof less);
    wipe_scratch(words, sizeof words);
    wipe_scratch(s, sizeof *s);
}
