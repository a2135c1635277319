/* This file compares bytes in time that depends on their lengths alone. */
#include "base/ct.h"

#include "base/registers.h"

#include <string.h>

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Four independent sums keep the loads in flight; compilers make vectors of them. */
static uint64_t difference(const uint8_t *a, const uint8_t *b, size_t n)
{
    uint64_t sum[4] = {0};
    for (; n >= 32; n -= 32, a += 32, b += 32)
        for (size_t i = 0; i < 4; i++)
            sum[i] |= load64(a + 8 * i) ^ load64(b + 8 * i);
    for (; n >= 8; n -= 8, a += 8, b += 8)
        sum[0] |= load64(a) ^ load64(b);
    for (; n; n--, a++, b++)
        sum[0] |= (uint64_t)(*a ^ *b);
    return ct_opaque(sum[0] | sum[1] | sum[2] | sum[3]);
}

bool ct_equal(const void *a, size_t an, const void *b, size_t bn)
{
    if (an != bn)
        return false;
    uint64_t d = difference(a, b, an);
    registers_forget();
    return !((d | (0 - d)) >> 63);
}

/* 1 if x < y, else 0, without a branch. */
static inline uint64_t below(uint64_t x, uint64_t y)
{
    return ct_opaque((x ^ ((x ^ y) | ((x - y) ^ y))) >> 63);
}

int ct_order(const void *a, size_t an, const void *b, size_t bn)
{
    const uint8_t *x = a, *y = b;
    size_t n = an < bn ? an : bn;
    uint64_t less = 0, more = 0; /* the first difference decides: once set, they stay */
    size_t i = 0;
    for (; n - i >= 8; i += 8) {
        uint64_t u = __builtin_bswap64(load64(x + i)), v = __builtin_bswap64(load64(y + i));
        uint64_t open = ~(less | more) & 1;
        less |= below(u, v) & open;
        more |= below(v, u) & open;
    }
    for (; i < n; i++) {
        uint64_t open = ~(less | more) & 1;
        less |= below(x[i], y[i]) & open;
        more |= below(y[i], x[i]) & open;
    }
    int by_content = (int)ct_opaque(more) - (int)ct_opaque(less);
    int by_length = (an > bn) - (an < bn);
    registers_forget();
    return by_content * 2 + by_length;
}
