/* The word that says who uses an arena, and what it allows.
 *
 * It holds exports (16 bits), readers (8), blocks open for reading and for changing (16 each),
 * then flags. Exports are lent to others and make rotate and seal refuse; readers are our own
 * short looks, for which everybody waits. FILL is the one fill under way. WAITING says that
 * somebody has a turn: see turn.c. MOVING is held by the one thread that gives the arena other
 * pages or access, or starts or ends a fill. It is only taken where there are no readers: a
 * reader may count itself in once more, and would wait for a mover that waits for it. LATER says
 * that the pages are more open than they should be until the last export, and in a pool the fill,
 * has ended. */
#ifndef SECALLOC_ARENA_WORD_H
#define SECALLOC_ARENA_WORD_H

#include "os/os.h"

#define USE_EXPORT ((uint64_t)1)
#define USE_EXPORTS (USE_EXPORT * 0xffff)
#define USE_READER ((uint64_t)1 << 16)
#define USE_READERS (USE_READER * 0xff)
#define USE_READ ((uint64_t)1 << 24)
#define USE_READS (USE_READ * 0xffff)
#define USE_EDIT ((uint64_t)1 << 40)
#define USE_EDITS (USE_EDIT * 0xffff)
#define USE_FILL ((uint64_t)1 << 56)
#define USE_WAITING ((uint64_t)1 << 57)
#define USE_SEALED ((uint64_t)1 << 58)
#define USE_LATER ((uint64_t)1 << 59)
#define USE_CLOSED ((uint64_t)1 << 60)
#define USE_MOVING ((uint64_t)1 << 61)
#define USE_GONE ((uint64_t)1 << 62) /* its slot went back */
#define USE_WATCHED ((uint64_t)1 << 63) /* when it was used last is noted */
#define USE_BLOCKS (USE_READS | USE_EDITS)

/* What a user that counts in is about to do. */
enum arena_need {
    NEED_PAGES, /* nothing with the content */
    NEED_READ,
    NEED_WRITE, /* in the fill, or over usable content */
    NEED_FILL
};

/* Nothing but users, of whom more may come: no flag, no block, and no count near its end. */
static inline bool use_is_plain(uint64_t use)
{
    return !(use & ~(USE_EXPORTS >> 1 | (USE_READERS >> 1 & USE_READERS)));
}

/* The access that the pages of an arena of its own should have. */
static inline enum os_access use_wants(uint64_t use)
{
    if (use & (USE_FILL | USE_EDITS))
        return OS_WRITE;
    return use & USE_READS ? OS_READ : use & USE_SEALED ? OS_NONE : OS_WRITE;
}

/* SA_OK, or why the word does not permit what is needed, where the pool, if there is one, gives
 * its pages that access: SA_WIPED, SA_SEALED, SA_READ_ONLY. */
static inline enum sa_code use_permits(uint64_t use, enum os_access pool, enum arena_need need)
{
    if (need == NEED_PAGES || (use_is_plain(use) && pool == OS_WRITE && need != NEED_FILL))
        return SA_OK;
    if (use & USE_FILL)
        return need == NEED_READ ? SA_WIPED : SA_OK;
    if (need == NEED_FILL)
        return SA_WIPED;
    if (pool == OS_NONE || (use & USE_SEALED && !(use & USE_BLOCKS)))
        return SA_SEALED;
    if (need == NEED_WRITE && (pool == OS_READ || (use & USE_READS && !(use & USE_EDITS))))
        return SA_READ_ONLY;
    return SA_OK;
}

#endif
