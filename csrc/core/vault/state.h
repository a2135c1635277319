/* The vault's variables, for its own files alone. All that is not atomic is under LOCK_VAULT. */
#ifndef SECALLOC_VAULT_STATE_H
#define SECALLOC_VAULT_STATE_H

#include "vault/locks.h"
#include "vault/vault.h"

enum {
    CLASSES = 5,       /* 1, 2, 4, 8 and 16 data pages */
    SEGMENTS = 512,
    LARGES = 32768,    /* above what the default map limit allows */
    PARKED = 4096,     /* pages a class keeps parked at most */
    BATCH_PAGES = 16,
};

/* Slots of one size. */
struct class
{
    uint32_t ring[PARKED]; /* parked slots, oldest at head */
    uint32_t head, parked;
    uint32_t latest;       /* name + 1 of the slot that a close parked last; 0: none */
    uint32_t free;         /* name + 1 of the first slot given back; 0: none. The slot
                              word of each names the next, above WORD_NEXT_SHIFT. */
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
    size_t may_unlock; /* bytes of encrypted content that need no lock, and have it */
    size_t live, live_bytes;
    _Atomic uint64_t returns; /* slots put back so far */
    int64_t emptied_ms; /* when the last arena went */
    uint64_t random;
    _Atomic bool no_secretmem; /* not to be had here */
    struct sa_why never_why; /* and why */
    _Atomic bool shun_secretmem; /* not wanted */
    bool got_secretmem; /* the last time that pages were mapped */
    unsigned missing; /* protections that pages ever fell short of */
    struct sa_why missing_why; /* the last of them */
    _Atomic unsigned untold; /* those that sa_shortfall has not told of yet */
};
extern struct vault vault;
extern struct sa_region segments[SEGMENTS];
extern struct sa_region larges[LARGES];

#endif
