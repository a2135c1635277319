/* What a search looks for: every form of a secret, told by a few words of each.
 *
 * Any run of 2w - 1 bytes holds a word of w bytes at a multiple of w. So memory is only
 * looked at in aligned words, of 8 or 4 bytes, and each form gives, for each run of the
 * length that counts, w words that begin one after the other: one of them is aligned
 * wherever the run lies. Memory is full of zeros, so words of zeros are never chosen.
 *
 * Everything made from the secret lies in the work arena: a byte for each hash of a word,
 * which is all that most memory is held against, and a table of the words themselves. A
 * lockdown may turn both to noise at any time, so that nothing in them is trusted as an
 * index. Bytes of forms are computed when needed, one by one, and by volatile loads, so
 * that no compiler gathers them in vector registers. */
#ifndef SECALLOC_FORMS_H
#define SECALLOC_FORMS_H

#include "secalloc.h"

#include <string.h>

enum { FORMS = 16, FILTER_BITS = 15, FILTER_BYTES = 1 << FILTER_BITS };

struct form {
    enum sa_form name;
    unsigned shift;  /* base64: bits of the first character that are another's; UTF: bytes
                        of a character */
    bool text;       /* of characters rather than bytes */
    size_t word;     /* 4 or 8 */
    size_t length;   /* bytes of all of it */
    size_t least;    /* of a part that counts */
};

struct form_word {
    uint64_t word;
    uint64_t where; /* 1 + form, from bit 56 on, and its place there; 0: free */
};

struct forms {
    const volatile uint8_t *secret;
    size_t size;
    struct form forms[FORMS];
    size_t count;
    bool wide, narrow;            /* words of 8, of 4 bytes are looked for */
    size_t characters;            /* of text that is not ASCII; 0: it is none */
    size_t words;                 /* in the table, which has room for `mask` + 1 */
    size_t mask;
    /* in the work arena */
    volatile uint8_t *filter;     /* FILTER_BYTES for each width that is looked for */
    struct form_word *table;
    uint32_t *text;               /* characters */
};

/* Tell forms and sizes. SA_BAD_RANGE, SA_BAD_ALIGN as sa_find_room. [any] */
SA_MUST_USE enum sa_code forms_measure(struct forms *f, const uint8_t *secret, size_t size,
                                       bool partial);
/* Bytes that the tables take, a multiple of 8. [any] */
size_t forms_room(const struct forms *f);
/* Make them, in zeroed memory. [any] */
void forms_build(struct forms *f, uint8_t *room);

/* One byte of a form. [any] */
uint8_t form_byte(const struct forms *f, const struct form *form, size_t at);

/* The word of 8 or 4 bytes at a multiple of that. By constant sizes, which call nothing. [any] */
SA_BARE static inline uint64_t forms_word(const uint8_t *chunk, size_t width, size_t i)
{
    uint64_t wide;
    uint32_t narrow;
    if (width == 8) {
        memcpy(&wide, chunk + 8 * i, sizeof wide);
        return wide;
    }
    memcpy(&narrow, chunk + 4 * i, sizeof narrow);
    return narrow;
}

/* Where the words at `chunk`, `count` of `width` bytes, that may be of a form begin: the
 * first at or after `from`; `count`: none. [any] */
size_t forms_next(const struct forms *f, const uint8_t *chunk, size_t count, size_t width,
                  size_t from);

/* The next form that has this word, and its place there. *step starts as 0. [any] */
const struct form *forms_match(const struct forms *f, uint64_t word, size_t width, size_t *step,
                               size_t *at);

#endif
