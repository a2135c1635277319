/* Finding copies of a secret in the memory of the process. */
#ifndef SECALLOC_FACE_RESIDUE_H
#define SECALLOC_FACE_RESIDUE_H

#include "face/types.h"

/* How a copy is written. Text is the secret's, read as UTF-8, where that is not ASCII. */
enum sa_form {
    SA_PLAIN,
    SA_HEX,        /* small letters */
    SA_HEX_UPPER,
    SA_BASE64,     /* at any of the three places where it can begin in a longer text */
    SA_BASE64_URL,
    SA_UTF16,      /* two bytes, or four, for each byte or character, as a str holds them */
    SA_UTF32,
    SA_LATIN1,     /* text alone: one byte for each character */
    SA_IPAD,       /* each byte xor 0x36, as HMAC begins with (RFC 2104) */
    SA_OPAD        /* and 0x5c */
};

/* What kind of memory it lies in: a guess. */
enum sa_place { SA_IN_MEMORY, SA_ON_STACK, SA_IN_HEAP, SA_IN_FILE };

struct sa_copy {
    uintptr_t address;
    size_t length;     /* bytes in memory that are as the secret's form has them */
    size_t whole;      /* bytes that all of the form takes */
    enum sa_form form;
    enum sa_place place;
    uintptr_t mapping; /* where the mapping begins */
    char name[256];    /* its name, cut short; "": none */
};

#define SA_SECRET_LEAST 8 /* bytes: shorter ones stand everywhere by chance */

/* How far a search has come. `tell` is called every 64 MiB of address space and at the end, on
 * the searching thread with nothing held; it may wait, and false ends the search. `total` is 0
 * unless it is wanted: to tell it, mappings are gone through twice. */
struct sa_progress {
    bool (*tell)(void *context, size_t done, size_t total);
    void *context;
    bool wants_total;
};

/* Bytes of working memory for sa_find of this secret. SA_BAD_RANGE: fewer than
 * SA_SECRET_LEAST bytes; SA_BAD_ALIGN: it is of one byte, or nearly all zero bytes. [any] */
SA_MUST_USE enum sa_code sa_find_room(struct sa_arena *secret, bool partial, size_t *bytes);

/* Search all readable memory of the process, our own reservations left out, for copies
 * of a secret: with `partial` also for parts of half its length, but SA_SECRET_LEAST bytes
 * at least, and for other forms and their parts, unless a part hardly varies. Neither
 * arena may be known to others: `work`, zeroed, aligned to 64 and of the size that
 * sa_find_room told, gets copies of what is looked at. Fills in up to `room` copies by
 * address and tells how many; one that lies within another is left out. Ended by
 * `progress` (or NULL) it returns SA_OK too. Pages that vanish meanwhile or cannot be read
 * are passed over; those never touched stay so. SA_WIPED: a lockdown came. SA_OS_ERROR:
 * memory could not be read at all. [any] */
SA_MUST_USE enum sa_code sa_find(struct sa_arena *secret, struct sa_arena *work, bool partial,
                                 struct sa_copy *copies, size_t room, size_t *count,
                                 const struct sa_progress *progress, struct sa_why *why);

/* The last of `count` words that stands at a multiple of eight before `address`, at most
 * a work arena's size away: *which of them, at *at, and around it the words before (0:
 * there is none) and after. Memory is read by way of `work`, as above. False: none does. [any] */
bool sa_look_back(struct sa_arena *work, uintptr_t address, const uint64_t *words, size_t count,
                  size_t *which, uintptr_t *at, uint64_t around[2]);

/* Search as sa_find does for one word; `visit` gets its address, the two words before it,
 * itself and the four after. [any] */
typedef void (*sa_visit)(void *context, uintptr_t at, const uint64_t around[7]);
SA_MUST_USE enum sa_code sa_find_word(struct sa_arena *work, uint64_t word, sa_visit visit,
                                      void *context, const struct sa_progress *progress,
                                      struct sa_why *why);

#endif
