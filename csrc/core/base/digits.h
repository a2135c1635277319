/* The digits of hexadecimal and base64 text, computed: a table would be indexed by a secret. */
#ifndef SECALLOC_DIGITS_H
#define SECALLOC_DIGITS_H

#include "base/ct.h"

/* All ones if lo <= c <= hi, else 0, without a branch; all are below 1 << 16. [signal] */
static inline uint32_t digits_within(uint32_t c, uint32_t lo, uint32_t hi)
{
    uint32_t outside = ((c - lo) | (hi - c)) >> 31;
    return (uint32_t)ct_opaque(outside) - 1u;
}

/* The digit of `v`, below 16; `ten` is the letter for 10, 'a' or 'A'. [signal] */
static inline uint8_t digits_hex(uint32_t v, uint8_t ten)
{
    return (uint8_t)('0' + v + (digits_within(v, 10, 15) & (ten - '0' - 10u)));
}

/* The digit of `v`, below 64 (RFC 4648); `url`: - and _ stand for + and /. [signal] */
static inline uint8_t digits_base64(uint32_t v, bool url)
{
    uint32_t c = 'A' + v;
    c += digits_within(v, 26, 63) & ('a' - 'Z' - 1u);
    c -= digits_within(v, 52, 63) & ('z' + 1u - '0');
    c -= digits_within(v, 62, 63) & (url ? '9' + 1u - '-' : '9' + 1u - '+');
    c += digits_within(v, 63, 63) & (url ? '_' - '-' - 1u : '/' - '+' - 1u);
    return (uint8_t)c;
}

#endif
