/* What a search looks for: the bytes of each form of a secret, and the words that tell it. */
#include "residue/forms.h"
#include "base/digits.h"

#include <string.h>

#define NONE SIZE_MAX
#define PLACE_BITS 56

enum { AHEAD = 2048 }; /* bytes */

/* Multiplication by the golden ratio mixes the upper bits best. */
static inline uint64_t hash_of(uint64_t word) { return word * 0x9E3779B97F4A7C15u; }
static inline size_t place_in_filter(uint64_t word)
{
    return (size_t)(hash_of(word) >> (64 - FILTER_BITS));
}

/* The filters of each width that is looked for, the wide one first. */
static inline size_t filters_room(const struct forms *f)
{
    return ((size_t)f->wide + f->narrow) * FILTER_BYTES;
}
static inline size_t filter_at(const struct forms *f, size_t width)
{
    return width == 4 && f->wide ? FILTER_BYTES : 0;
}

/* ---- bytes of forms ------------------------------------------------------------------ */

static uint8_t base64_byte(const struct forms *f, size_t bit, bool url)
{
    size_t at = bit / 8;
    unsigned two = (unsigned)f->secret[at] << 8;
    if (at + 1 < f->size)
        two |= f->secret[at + 1];
    return digits_base64(two >> (10 - bit % 8) & 63, url);
}

uint8_t form_byte(const struct forms *f, const struct form *form, size_t at)
{
    switch (form->name) {
    case SA_PLAIN: break;
    case SA_HEX:
    case SA_HEX_UPPER:
        return digits_hex(f->secret[at / 2] >> (at % 2 ? 0 : 4) & 15u,
                          form->name == SA_HEX ? 'a' : 'A');
    case SA_BASE64:
    case SA_BASE64_URL: return base64_byte(f, form->shift + 6 * at, form->name == SA_BASE64_URL);
    case SA_UTF16:
    case SA_UTF32:
    case SA_LATIN1: {
        volatile const uint32_t *text = f->text;
        uint32_t c = form->text ? text[at / form->shift] : f->secret[at / form->shift];
        return (uint8_t)(c >> 8 * (at % form->shift));
    }
    case SA_IPAD: return f->secret[at] ^ 0x36;
    case SA_OPAD: return f->secret[at] ^ 0x5c;
    }
    return f->secret[at];
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
static size_t read_text(const struct forms *f, uint32_t *out, size_t *largest)
{
    size_t count = 0;
    *largest = 0;
    for (size_t at = 0; at < f->size; count++) {
        size_t c = next_character(f->secret, f->size, &at);
        if (c == NONE || !c)
            return 0;
        if (out && count < f->characters)
            out[count] = (uint32_t)c;
        *largest = c > *largest ? c : *largest;
    }
    return *largest < 0x80 ? 0 : count;
}

/* ---- choosing words ---------------------------------------------------------------------- */

static void insert(struct forms *f, uint64_t word, uint64_t where, size_t width)
{
    f->filter[filter_at(f, width) + place_in_filter(word)] = 1;
    size_t slot = (size_t)(hash_of(word) >> 20);
    for (size_t tried = 0; f->table[slot & f->mask].where && tried <= f->mask; tried++)
        slot++;
    f->table[slot & f->mask] = (struct form_word){word, where};
}

/* Put the words that begin in [from, to) into the table, if there is one; how many they are. */
static size_t take_words(struct forms *f, const struct form *form, size_t from, size_t to)
{
    for (size_t at = from; f->table && at < to; at++) {
        uint64_t word = 0;
        for (size_t i = 0; i < form->word; i++)
            word |= (uint64_t)form_byte(f, form, at + i) << 8 * i;
        uint64_t index = (uint64_t)(form - f->forms) + 1;
        insert(f, word, index << PLACE_BITS | at, form->word);
    }
    return to - from;
}

/* Choose a form's words; how many they are. A run is a part that counts, `least` bytes of the
 * form, wherever in it. A block is w words that begin one byte after the other; each run needs
 * one whose words are not zero. The last block of a run also serves the runs up to its own
 * first byte, so the next block is due for the run after those:
 *
 *      the form   |-------------------------------------------------------|
 *      a run      |------ least ------|
 *      blocks     |block|              2w - 1 bytes each
 *                  |block|
 *                    ...
 *                               |block|         taken
 *      served     |------ least ------|
 *                  |------ least ------|
 *                    ...
 *                               |------ least ------|
 *      the next run              |------ least ------|
 *
 * Blocks are looked at from first to last. A run of nothing but zeros has none. */
static size_t choose(struct forms *f, const struct form *form)
{
    const size_t w = form->word, block = 2 * w - 1, last = form->least - block;
    size_t zeros = 0;     /* bytes in a row, up to this one */
    size_t clear = 0;     /* no zero word begins at this place or later */
    size_t run = 0;       /* the first that no block was taken for */
    size_t served = 0;    /* runs before this one are served by the best block so far */
    size_t taken = 0;     /* words before this place are in the table, where they serve */
    size_t count = 0;
    for (size_t end = 1; end <= form->length; end++) { /* of a block */
        zeros = form_byte(f, form, end - 1) ? 0 : zeros + 1;
        if (zeros >= w)
            clear = end - w + 1;
        if (end < block)
            continue;
        size_t at = end - block;
        if (at >= clear)
            served = at + 1;
        if (at < run + last) /* the run holds a later block */
            continue;
        if (served <= run) {
            run++;
            continue;
        }
        size_t best = served - 1;
        count += take_words(f, form, taken > best ? taken : best, best + w);
        taken = best + w;
        run = served;
    }
    return count;
}

/* ---- measuring and building ---------------------------------------------------------------- */

/* Add a form of `length` bytes; a part of `least` counts, though never one so short that it
 * stands everywhere by chance. */
static void add(struct forms *f, struct form form, bool partial)
{
    if (form.length < SA_SECRET_LEAST || f->count == FORMS)
        return;
    form.least = !partial || form.least > form.length ? form.length : form.least;
    form.least = form.least < SA_SECRET_LEAST ? SA_SECRET_LEAST : form.least;
    form.word = form.least >= 15 ? 8 : 4;
    /* Text is not at hand yet: without a NUL, no block of its words has a zero one. */
    size_t runs = form.length - form.least, apart = form.least - (2 * form.word - 1) + 1;
    f->words += form.text ? (runs / apart + 1) * form.word : choose(f, &form);
    f->forms[f->count++] = form;
    f->wide |= form.word == 8;
    f->narrow |= form.word == 4;
}

static void add_other_forms(struct forms *f, size_t part)
{
    size_t size = f->size, largest;
    static const unsigned shifts[] = {0, 4, 2}; /* behind none, one and two other bytes */
    for (unsigned i = 0; i < 3; i++)
        for (unsigned url = 0; url < 2; url++)
            add(f,
                (struct form){.name = url ? SA_BASE64_URL : SA_BASE64,
                              .shift = shifts[i],
                              .length = (8 * size - shifts[i]) / 6,
                              .least = 8 * part / 6},
                true);
    add(f, (struct form){.name = SA_HEX, .length = 2 * size, .least = 2 * part}, true);
    add(f, (struct form){.name = SA_HEX_UPPER, .length = 2 * size, .least = 2 * part}, true);
    add(f, (struct form){.name = SA_IPAD, .length = size, .least = part}, true);
    add(f, (struct form){.name = SA_OPAD, .length = size, .least = part}, true);
    for (unsigned bytes = 2; bytes <= 4; bytes += 2)
        add(f,
            (struct form){.name = bytes == 2 ? SA_UTF16 : SA_UTF32,
                          .shift = bytes,
                          .length = bytes * size,
                          .least = bytes * part},
            true);
    size_t characters = read_text(f, NULL, &largest);
    if (!characters)
        return;
    f->characters = characters;
    size_t half = characters / 2 + characters % 2, few = half < 8 ? 8 : half;
    for (unsigned bytes = largest < 0x100 ? 1 : largest < 0x10000 ? 2 : 4; bytes <= 4; bytes *= 2)
        add(f,
            (struct form){.name = bytes == 1   ? SA_LATIN1
                                  : bytes == 2 ? SA_UTF16
                                               : SA_UTF32,
                          .shift = bytes,
                          .text = true,
                          .length = bytes * characters,
                          .least = bytes * few},
            true);
}

enum sa_code forms_measure(struct forms *f, const uint8_t *secret, size_t size, bool partial)
{
    *f = (struct forms){.secret = secret, .size = size};
    if (size < SA_SECRET_LEAST || size > SIZE_MAX >> 8)
        return SA_BAD_RANGE;
    uint8_t other = 0;
    for (size_t i = 1; i < size; i++)
        other |= f->secret[i] ^ f->secret[0];
    size_t half = size / 2 + size % 2, part = half < SA_SECRET_LEAST ? SA_SECRET_LEAST : half;
    add(f, (struct form){.name = SA_PLAIN, .length = size, .least = size}, false);
    if (!other || !f->words)
        return SA_BAD_ALIGN;
    *f = (struct forms){.secret = secret, .size = size};
    add(f, (struct form){.name = SA_PLAIN, .length = size, .least = part}, partial);
    if (partial)
        add_other_forms(f, part);
    f->mask = 64;
    while (f->mask < 2 * f->words)
        f->mask *= 2;
    f->mask--;
    return SA_OK;
}

size_t forms_room(const struct forms *f)
{
    return filters_room(f) + (f->mask + 1) * sizeof f->table[0] +
           (f->characters + 1) / 2 * 2 * sizeof f->text[0];
}

void forms_build(struct forms *f, uint8_t *room)
{
    size_t largest;
    f->filter = room;
    f->table = (struct form_word *)(void *)(room + filters_room(f));
    f->text = (uint32_t *)(void *)(f->table + f->mask + 1);
    if (f->characters)
        (void)read_text(f, f->text, &largest); /* counted before */
    for (size_t i = 0; i < f->count; i++)
        (void)choose(f, &f->forms[i]); /* counted before */
}

/* ---- looking ---------------------------------------------------------------------------------- */

/* 0: it is of no form. */
SA_BARE static inline unsigned may_be(const uint8_t *filter, const uint8_t *chunk, size_t width,
                                      size_t i)
{
    return filter[place_in_filter(forms_word(chunk, width, i))];
}

SA_BARE static inline unsigned four_may_be(const uint8_t *filter, const uint8_t *chunk,
                                           size_t width, size_t i)
{
    return may_be(filter, chunk, width, i) | may_be(filter, chunk, width, i + 1) |
           may_be(filter, chunk, width, i + 2) | may_be(filter, chunk, width, i + 3);
}

/* Eight words at a time, as nearly none of them passes the filter. Processors fetch ahead by
 * themselves, but not past a page's end. */
SA_BARE static inline size_t next(const uint8_t *filter, const uint8_t *chunk, size_t count,
                                  size_t width, size_t from)
{
    for (; from < count; from++) {
        while (count - from >= 8 && !(four_may_be(filter, chunk, width, from) |
                                      four_may_be(filter, chunk, width, from + 4))) {
            __builtin_prefetch((const void *)((uintptr_t)chunk + width * from + AHEAD));
            from += 8;
        }
        if (from == count || (may_be(filter, chunk, width, from) && forms_word(chunk, width, from)))
            break;
    }
    return from;
}

SA_BARE size_t forms_next(const struct forms *f, const uint8_t *chunk, size_t count, size_t width,
                          size_t from)
{
    const uint8_t *filter = (const uint8_t *)f->filter + filter_at(f, width);
    return width == 8 ? next(filter, chunk, count, 8, from) : next(filter, chunk, count, 4, from);
}

const struct form *forms_match(const struct forms *f, uint64_t word, size_t width, size_t *step,
                               size_t *at)
{
    size_t slot = (size_t)(hash_of(word) >> 20);
    while (*step <= f->mask) {
        struct form_word found = f->table[(slot + (*step)++) & f->mask];
        size_t index = (size_t)(found.where >> PLACE_BITS);
        if (!index)
            return NULL;
        *at = (size_t)(found.where & (((uint64_t)1 << PLACE_BITS) - 1));
        if (found.word != word || index > f->count)
            continue;
        const struct form *form = &f->forms[index - 1];
        if (form->word == width && *at <= form->length - width)
            return form;
    }
    return NULL;
}
