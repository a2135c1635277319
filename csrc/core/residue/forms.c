#include "residue/forms.h"

#include <string.h>

#define NONE SIZE_MAX
#define PLACE_BITS 56

/* Multiplication by the golden ratio, of which the upper bits are mixed best. */
static inline uint64_t hash_of(uint64_t word) { return word * 0x9E3779B97F4A7C15u; }
static inline size_t bloom_bit(uint64_t hash) { return (size_t)(hash >> (64 - 15)); }

/* ---- bytes of forms ------------------------------------------------------------------ */

/* Without a table, which would be indexed by what is secret. */
static uint8_t hex_digit(unsigned v, uint8_t ten)
{
    unsigned letter = 0u - ((9u - v) >> 31); /* all ones from 10 on */
    return (uint8_t)('0' + v + (letter & (unsigned)(ten - 10 - '0')));
}

static uint8_t base64_digit(unsigned v, bool url)
{
    unsigned from26 = 0u - ((25u - v) >> 31), from52 = 0u - ((51u - v) >> 31);
    unsigned from62 = 0u - ((61u - v) >> 31), from63 = 0u - ((62u - v) >> 31);
    unsigned plus = url ? '-' : '+', slash = url ? '_' : '/';
    unsigned c = 'A' + v;
    c += from26 & ('a' - 'A' - 26u);
    c += from52 & ('0' - 52u - ('a' - 26u));
    c += from62 & (plus - 62u - ('0' - 52u));
    c += from63 & (slash - 63u - (plus - 62u));
    return (uint8_t)c;
}

static uint8_t base64_byte(const struct needles *n, size_t bit, bool url)
{
    size_t at = bit / 8;
    unsigned two = (unsigned)n->secret[at] << 8;
    if (at + 1 < n->size)
        two |= n->secret[at + 1];
    return base64_digit(two >> (10 - bit % 8) & 63, url);
}

uint8_t needle_byte(const struct needles *n, const struct form *form, size_t at)
{
    switch (form->name) {
    case SA_PLAIN: break;
    case SA_HEX:
    case SA_HEX_UPPER:
        return hex_digit(n->secret[at / 2] >> (at % 2 ? 0 : 4) & 15u,
                         form->name == SA_HEX ? 'a' : 'A');
    case SA_BASE64:
    case SA_BASE64_URL: return base64_byte(n, form->shift + 6 * at, form->name == SA_BASE64_URL);
    case SA_UTF16:
    case SA_UTF32:
    case SA_LATIN1: {
        volatile const uint32_t *text = n->text;
        uint32_t c = form->text ? text[at / form->shift] : n->secret[at / form->shift];
        return (uint8_t)(c >> 8 * (at % form->shift));
    }
    case SA_IPAD: return n->secret[at] ^ 0x36;
    case SA_OPAD: return n->secret[at] ^ 0x5c;
    }
    return n->secret[at];
}

/* ---- text ------------------------------------------------------------------------------ */

/* The character of UTF-8 at *at, which moves on; NONE: there is none. */
static size_t next_character(const volatile uint8_t *text, size_t size, size_t *at)
{
    uint32_t c = text[(*at)++];
    unsigned more = c < 0x80 ? 0 : c >= 0xc2 && c < 0xe0 ? 1 : c >> 4 == 14 ? 2 : 3;
    if (!more)
        return c;
    if (c < 0xc2 || c > 0xf4 || size - *at < more)
        return NONE;
    uint32_t least = more == 1 ? 0x80 : more == 2 ? 0x800 : 0x10000;
    c &= 0x3fu >> more;
    for (; more; more--) {
        uint32_t next = text[(*at)++];
        if (next >> 6 != 2)
            return NONE;
        c = c << 6 | (next & 0x3f);
    }
    return c < least || c > 0x10ffff || c >> 11 == 0x1b ? NONE : c;
}

/* How many characters the secret has as text, and the largest; with `out` they go there.
 * 0: it is ASCII alone, has a NUL, or is no text. */
static size_t read_text(const struct needles *n, uint32_t *out, size_t *largest)
{
    size_t count = 0;
    *largest = 0;
    for (size_t at = 0; at < n->size; count++) {
        size_t c = next_character(n->secret, n->size, &at);
        if (c == NONE || !c)
            return 0;
        if (out && count < n->characters)
            out[count] = (uint32_t)c;
        *largest = c > *largest ? c : *largest;
    }
    return *largest < 0x80 ? 0 : count;
}

/* ---- choosing words ---------------------------------------------------------------------- */

static void insert(struct needles *n, uint64_t word, uint64_t where, size_t width)
{
    uint64_t hash = hash_of(word);
    size_t bit = bloom_bit(hash);
    n->bloom[(width == 8 ? 0 : BLOOM_BYTES) + bit / 8] |= (uint8_t)(1u << bit % 8);
    size_t slot = (size_t)(hash >> 20);
    for (size_t tried = 0; n->table[slot & n->mask].where && tried <= n->mask; tried++)
        slot++;
    n->table[slot & n->mask] = (struct needle_word){word, where};
}

/* Choose a form's words, into the table once there is one; how many they are. For each
 * run, from the first on, the last block of words that it holds and none of which is zero
 * is taken, unless the one before it still serves. */
static size_t choose(struct needles *n, const struct form *form, size_t index)
{
    size_t w = form->word, span = form->least - (2 * w - 1);
    size_t zeros = 0, streak = 0, run = 0, best = NONE, next = 0, chosen = 0;
    for (size_t end = 1; end <= form->length; end++) { /* of the word */
        zeros = needle_byte(n, form, end - 1) ? 0 : zeros + 1;
        if (end < w)
            continue;
        streak = zeros < w ? streak + 1 : 0;
        if (streak >= w)
            best = end - w + 1 - w;
        if (end + 1 < 2 * w || end + 1 - 2 * w != run + span)
            continue;
        if (best == NONE || best < run) {
            run++; /* nothing but zeros inside: not looked for */
            continue;
        }
        size_t at = next > best ? next : best;
        for (; at < best + w; at++, chosen++) {
            uint64_t word = 0;
            for (size_t i = 0; n->table && i < w; i++)
                word |= (uint64_t)needle_byte(n, form, at + i) << 8 * i;
            if (n->table)
                insert(n, word, (uint64_t)(index + 1) << PLACE_BITS | at, w);
        }
        next = at;
        run = best + 1;
    }
    return chosen;
}

/* ---- measuring and building ---------------------------------------------------------------- */

/* Add a form of `length` bytes, of which a part of `least` counts: never less than what
 * stands everywhere by chance. */
static void add(struct needles *n, struct form form, bool partial)
{
    if (form.length < SA_SECRET_LEAST || n->count == FORMS)
        return;
    form.least = !partial || form.least > form.length ? form.length : form.least;
    form.least = form.least < SA_SECRET_LEAST ? SA_SECRET_LEAST : form.least;
    form.word = form.least >= 15 ? 8 : 4;
    /* Text is not at hand yet: without a NUL, no block of its words has a zero one. */
    size_t runs = form.length - form.least, apart = form.least - (2 * form.word - 1) + 1;
    n->words += form.text ? (runs / apart + 1) * form.word : choose(n, &form, n->count);
    n->forms[n->count++] = form;
    n->wide |= form.word == 8;
    n->narrow |= form.word == 4;
}

static void add_other_forms(struct needles *n, size_t part)
{
    size_t size = n->size, largest;
    static const unsigned shifts[] = {0, 4, 2}; /* behind none, one and two other bytes */
    for (unsigned i = 0; i < 3; i++)
        for (unsigned url = 0; url < 2; url++)
            add(n,
                (struct form){.name = url ? SA_BASE64_URL : SA_BASE64,
                              .shift = shifts[i],
                              .length = (8 * size - shifts[i]) / 6,
                              .least = 8 * part / 6},
                true);
    add(n, (struct form){.name = SA_HEX, .length = 2 * size, .least = 2 * part}, true);
    add(n, (struct form){.name = SA_HEX_UPPER, .length = 2 * size, .least = 2 * part}, true);
    add(n, (struct form){.name = SA_IPAD, .length = size, .least = part}, true);
    add(n, (struct form){.name = SA_OPAD, .length = size, .least = part}, true);
    for (unsigned bytes = 2; bytes <= 4; bytes += 2)
        add(n,
            (struct form){.name = bytes == 2 ? SA_UTF16 : SA_UTF32,
                          .shift = bytes,
                          .length = bytes * size,
                          .least = bytes * part},
            true);
    size_t characters = read_text(n, NULL, &largest);
    if (!characters)
        return;
    n->characters = characters;
    size_t half = characters / 2 + characters % 2, few = half < 8 ? 8 : half;
    for (unsigned bytes = largest < 0x100 ? 1 : largest < 0x10000 ? 2 : 4; bytes <= 4; bytes *= 2)
        add(n,
            (struct form){.name = bytes == 1   ? SA_LATIN1
                                  : bytes == 2 ? SA_UTF16
                                               : SA_UTF32,
                          .shift = bytes,
                          .text = true,
                          .length = bytes * characters,
                          .least = bytes * few},
            true);
}

enum sa_code needles_measure(struct needles *n, const uint8_t *secret, size_t size, bool partial)
{
    *n = (struct needles){.secret = secret, .size = size};
    if (size < SA_SECRET_LEAST || size > SIZE_MAX >> 8)
        return SA_BAD_RANGE;
    uint8_t other = 0;
    for (size_t i = 1; i < size; i++)
        other |= n->secret[i] ^ n->secret[0];
    size_t half = size / 2 + size % 2, part = half < SA_SECRET_LEAST ? SA_SECRET_LEAST : half;
    add(n, (struct form){.name = SA_PLAIN, .length = size, .least = size}, false);
    if (!other || !n->words)
        return SA_BAD_ALIGN;
    *n = (struct needles){.secret = secret, .size = size};
    add(n, (struct form){.name = SA_PLAIN, .length = size, .least = part}, partial);
    if (partial)
        add_other_forms(n, part);
    n->mask = 64;
    while (n->mask < 2 * n->words)
        n->mask *= 2;
    n->mask--;
    return SA_OK;
}

size_t needles_room(const struct needles *n)
{
    return 2 * BLOOM_BYTES + (n->mask + 1) * sizeof n->table[0] +
           (n->characters + 1) / 2 * 2 * sizeof n->text[0];
}

void needles_build(struct needles *n, uint8_t *room)
{
    size_t largest;
    n->bloom = room;
    n->table = (struct needle_word *)(void *)(room + 2 * BLOOM_BYTES);
    n->text = (uint32_t *)(void *)(n->table + n->mask + 1);
    if (n->characters)
        (void)read_text(n, n->text, &largest); /* counted before */
    for (size_t i = 0; i < n->count; i++)
        (void)choose(n, &n->forms[i], i); /* counted before */
}

/* ---- looking ---------------------------------------------------------------------------------- */

size_t needles_next(const struct needles *n, const uint8_t *chunk, size_t count, size_t width,
                    size_t from)
{
    const uint8_t *bloom = (const uint8_t *)n->bloom + (width == 8 ? 0 : BLOOM_BYTES);
    if (width == 8) {
        for (uint64_t word; from < count; from++) {
            memcpy(&word, chunk + 8 * from, sizeof word);
            size_t bit = bloom_bit(hash_of(word));
            if (bloom[bit / 8] >> bit % 8 & 1 && word)
                break;
        }
    } else {
        for (uint32_t word; from < count; from++) {
            memcpy(&word, chunk + 4 * from, sizeof word);
            size_t bit = bloom_bit(hash_of(word));
            if (bloom[bit / 8] >> bit % 8 & 1 && word)
                break;
        }
    }
    return from;
}

const struct form *needles_match(const struct needles *n, uint64_t word, size_t width, size_t *step,
                                 size_t *at)
{
    size_t slot = (size_t)(hash_of(word) >> 20);
    while (*step <= n->mask) {
        struct needle_word found = n->table[(slot + (*step)++) & n->mask];
        size_t index = (size_t)(found.where >> PLACE_BITS);
        if (!index)
            return NULL;
        *at = (size_t)(found.where & (((uint64_t)1 << PLACE_BITS) - 1));
        if (found.word != word || index > n->count)
            continue;
        const struct form *form = &n->forms[index - 1];
        if (form->word == width && *at <= form->length - width)
            return form;
    }
    return NULL;
}
