/* What the vault's own files share; nobody else includes it. vault.c takes, puts
 * and finds slots; pages.c maps, parks and gives back their pages; identity.c
 * knows which process they belong to. */
#ifndef SECALLOC_VAULT_STATE_H
#define SECALLOC_VAULT_STATE_H

#include "locks.h"
#include "vault.h"

enum {
    CLASSES = 5,       /* 1, 2, 4, 8 and 16 data pages */
    SEGMENTS = 512,
    LARGES = 32768,    /* above what the default map limit allows */
    PARKED = 4096,     /* pages a class keeps parked at most */
    BATCH_PAGES = 16,
};

/* Slots of one size. */
struct class {
    uint32_t ring[PARKED]; /* parked slots, oldest at head */
    uint32_t head, parked;
    uint32_t latest;       /* name + 1 of the slot that a close parked last; 0: none */
    uint32_t free;         /* name + 1 of the first slot given back; 0: none. The hold
                              word of each names the next, above HOLD_NEXT_SHIFT. */
    uint32_t mapped;       /* slots that have pages */
};

struct vault {
    _Atomic long process;
    _Atomic uint32_t epoch;
    _Atomic uint32_t segment_count, large_count;
    struct class classes[CLASSES];
    struct slot_words *large_words;
    size_t page;
    size_t maps, map_limit;         /* memory maps used, and allowed to the process */
    size_t lock_limit, locked_bytes;
    size_t secretmem_limit, secretmem_bytes; /* of the locked ones */
    size_t live, live_bytes;
    _Atomic uint64_t returns;       /* slots put back so far */
    int64_t emptied_ms;             /* when the last arena went */
    uint64_t random;
    _Atomic bool no_secretmem;      /* not to be had here */
    struct sa_why never_why;        /* and why */
    _Atomic bool shun_secretmem;    /* not wanted */
    bool got_secretmem;             /* the last time that pages were mapped */
    unsigned missing;               /* protections of the first shortfall */
    struct sa_why missing_why;
    _Atomic bool untold;            /* of which nobody was told yet */
};
extern struct vault vault;
extern struct sa_region segments[SEGMENTS];
extern struct sa_region larges[LARGES];

/* Zeroed memory that a child sees zeroed. [any] */
SA_MUST_USE enum sa_code vault_map_table(void **out, size_t bytes, struct sa_why *why);

/* Around calls that open or map what a child must not have: after the second, it is closed
 * or marked. No handler runs on the thread in between, to which a fork in it would be no
 * reason to wait. False, as the third tells beforehand: a fork came in between, and what was
 * made is to be given up. With the lock held, for which fork waits, but not for ever. [any] */
struct alone {
    sigset_t mask;
    uint64_t passed;
    bool crowded;
};
void alone_begin(struct alone *alone);
SA_MUST_USE bool alone_end(const struct alone *alone);
bool alone_still(const struct alone *alone);

/* os_map_pages, so that no child has any of them. With the lock held. [any] */
SA_MUST_USE int vault_map_pages(size_t bytes, bool secretmem, unsigned least,
                                struct os_pages *out);

/* ---- pages.c, all with the lock held ---------------------------------------- */

/* Pages for up to *count slots of `data` bytes: fewer where limits bite, and, if `giving`,
 * parked ones are given back before less than one slot with all protections is accepted; but
 * none without those in `least`: SA_UNPROTECTED. The caller owns the pages. */
SA_MUST_USE enum sa_code pages_map(size_t data, size_t *count, unsigned least, bool giving,
                                   struct os_pages *pages, struct sa_why *why);

/* Whether secretmem is to be had and wanted, and whether it then comes out of a budget that all
 * processes of the user share. */
bool pages_want_secretmem(void);
bool pages_share_budget(void);

/* Ask for the limits anew. */
void pages_learn_limits(void);

/* Count pages with what they were granted, or no more. */
void pages_count(unsigned granted, size_t data);
void pages_uncount(struct slot s);

/* Bytes that may still be locked, or taken of secretmem where that is another budget; SIZE_MAX:
 * no limit. An estimate: others of the user may have some of it. */
size_t pages_lock_room(void);

/* Whether the process may have that many more maps, parked slots being given back
 * for it; the program around us keeps a sixteenth of them. */
SA_MUST_USE enum sa_code pages_allow_maps(size_t wanted, struct sa_why *why);

/* Take a parked slot, mapping more where there is none; it is SLOT_OWNED and
 * inaccessible, and has the protections in `least`: else SA_UNPROTECTED. */
SA_MUST_USE enum sa_code pages_take(unsigned class, unsigned least, struct slot *out,
                                    struct sa_why *why);

/* Whether that many more maps may be had without giving any back. */
bool pages_maps_left(size_t wanted);

/* Give back some parked slots, oldest first; false: none was left. */
bool pages_give_some_back(void);

/* Give all parked slots back: what is mapped from now on is to be of another kind. */
void pages_give_all_back(void);

/* Park an inaccessible slot, or give its pages back where parking is of no use or
 * they are not `whole`. */
void pages_put(struct slot s, bool whole);

#endif
