/* Hex and base64, in time that depends on lengths alone. */
#include "base/codec.h"

#include "base/digits.h"
#include "base/registers.h"

#define NOWHERE SIZE_MAX

/* Keeps the first position whose character was not `good`. */
static inline size_t first_bad(size_t bad, size_t at, uint32_t good)
{
    size_t known = 0 - (size_t)ct_opaque((bad ^ NOWHERE) != 0);
    size_t take = ~(known | (0 - (size_t)(good & 1)));
    return (bad & ~take) | (at & take);
}

/* ASCII white space, which may be told. */
static inline bool is_blank(uint32_t c)
{
    return ct_public(digits_within(c, ' ', ' ') | digits_within(c, '\t', '\r'));
}

/* ---- hexadecimal ------------------------------------------------------------------- */

bool codec_hex_size(size_t n, size_t *size) { return !__builtin_mul_overflow(n, (size_t)2, size); }

void codec_hex_encode(uint8_t *text, size_t size, size_t n)
{
    const uint8_t *from = text + (size - n);
    for (size_t i = 0; i < n; i++) { /* never past what is still to be read */
        uint32_t byte = from[i];
        text[2 * i] = digits_hex(byte >> 4, 'a');
        text[2 * i + 1] = digits_hex(byte & 15, 'a');
    }
    registers_forget();
}

static inline uint32_t nibble_of(uint32_t c, uint32_t *good)
{
    uint32_t number = digits_within(c, '0', '9'), small = digits_within(c, 'a', 'f'),
             large = digits_within(c, 'A', 'F');
    *good = number | small | large;
    return (number & (c - '0')) | (small & (c - 'a' + 10)) | (large & (c - 'A' + 10));
}

size_t codec_hex_decode(uint8_t *text, size_t n, size_t *size)
{
    size_t bad = NOWHERE, at = 0, out = 0;
    *size = 0;
    while (at < n) {
        uint32_t c = text[at];
        if (is_blank(c)) {
            at++;
            continue;
        }
        uint32_t good;
        uint32_t high = nibble_of(c, &good);
        bad = first_bad(bad, at, good);
        if (++at == n) { /* half a pair */
            bad = first_bad(bad, n, 0);
            break;
        }
        uint32_t low = nibble_of(text[at], &good);
        bad = first_bad(bad, at++, good);
        text[out++] = (uint8_t)(high << 4 | low);
    }
    *size = out;
    registers_forget();
    return (size_t)ct_public(bad);
}

/* ---- base64 (RFC 4648) --------------------------------------------------------------- */

bool codec_base64_size(size_t n, size_t *size)
{
    return !__builtin_mul_overflow(n / 3 + (n % 3 != 0), (size_t)4, size);
}

void codec_base64_encode(uint8_t *text, size_t size, size_t n, bool url)
{
    const uint8_t *from = text + (size - n);
    uint8_t *to = text; /* never past what is still to be read */
    for (; n >= 3; n -= 3, from += 3, to += 4) {
        uint32_t bits = (uint32_t)from[0] << 16 | (uint32_t)from[1] << 8 | from[2];
        for (int i = 0; i < 4; i++)
            to[i] = digits_base64(bits >> (18 - 6 * i) & 63, url);
    }
    if (n) {
        uint32_t bits = (uint32_t)from[0] << 16 | (n > 1 ? (uint32_t)from[1] << 8 : 0);
        to[0] = digits_base64(bits >> 18, url);
        to[1] = digits_base64(bits >> 12 & 63, url);
        to[2] = n > 1 ? digits_base64(bits >> 6 & 63, url) : '=';
        to[3] = '=';
    }
    registers_forget();
}

static inline uint32_t six_of(uint32_t c, bool url, uint32_t *good)
{
    uint32_t c62 = url ? '-' : '+', c63 = url ? '_' : '/';
    uint32_t large = digits_within(c, 'A', 'Z'), small = digits_within(c, 'a', 'z'),
             number = digits_within(c, '0', '9'), is62 = digits_within(c, c62, c62),
             is63 = digits_within(c, c63, c63);
    *good = large | small | number | is62 | is63;
    return (large & (c - 'A')) | (small & (c - 'a' + 26)) | (number & (c - '0' + 52)) |
           (is62 & 62) | (is63 & 63);
}

/* Characters that are no white space, and how many of them at the end are padding. */
static size_t letters_of(const uint8_t *text, size_t n, size_t *padding)
{
    size_t letters = 0;
    for (size_t i = 0; i < n; i++)
        letters += !is_blank(text[i]);
    *padding = 0;
    if (letters % 4 == 0)
        for (size_t i = n; i > 0 && *padding < 2; i--) {
            if (is_blank(text[i - 1]))
                continue;
            if (!ct_public(digits_within(text[i - 1], '=', '=')))
                break;
            ++*padding;
        }
    return letters;
}

size_t codec_base64_decode(uint8_t *text, size_t n, bool url, size_t *size)
{
    size_t bad = NOWHERE, padding, out = 0, place = 0;
    size_t letters = letters_of(text, n, &padding);
    uint32_t bits = 0;
    for (size_t at = 0; place < letters - padding; at++) {
        if (is_blank(text[at]))
            continue;
        uint32_t good;
        bits = bits << 6 | six_of(text[at], url, &good);
        bad = first_bad(bad, at, good);
        if (place % 4) /* the second, third and fourth of a group complete a byte each */
            text[out++] = (uint8_t)(bits >> (6 - 2 * (place % 4)));
        place++;
    }
    if (letters % 4 && (!url || letters % 4 == 1))
        bad = first_bad(bad, n, 0);
    *size = out;
    registers_forget();
    return (size_t)ct_public(bad);
}
