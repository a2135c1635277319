/* Finding bytes among bytes, and what is made of it: stripping and splitting. The time depends on
 * the sizes and on where the bytes are that are found or left off; no other copy of either is
 * made. Positions and sizes are bytes. */
#ifndef SECALLOC_SEARCH_H
#define SECALLOC_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEARCH_NONE SIZE_MAX

/* Bytes that somebody else owns, for as long as a call lasts. */
struct search_text {
    const uint8_t *at;
    size_t size;
};

/* Where `what` begins in `text`, the first or the last time; SEARCH_NONE. What is empty is found
 * at once. In a time that grows as both sizes together. [any] */
size_t search_first(struct search_text text, struct search_text what);
size_t search_last(struct search_text text, struct search_text what);

/* How often it is there, without an overlap; what is empty, once around each byte. [any] */
size_t search_count(struct search_text text, struct search_text what);

struct search_part {
    size_t start, end;
};

/* What is left of `text` without the bytes at its ends that are one of `set`; of all of them each
 * is compared with. [any] */
struct search_part search_strip(struct search_text text, struct search_text set, bool left,
                                bool right);

/* Cut `text` at each `separator`, which is not empty, or at each run of bytes that are one of
 * `blanks`, `most` times at most, from the end with `backwards`. Returns how many parts there
 * are, and puts the first `room` of them into `parts`. [any] */
size_t search_split(struct search_text text, struct search_text separator, size_t most,
                    bool backwards, struct search_part *parts, size_t room);
size_t search_split_blanks(struct search_text text, struct search_text blanks, size_t most,
                           bool backwards, struct search_part *parts, size_t room);

#endif
