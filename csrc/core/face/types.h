/* What every call of the core speaks of: how it ended and why, what an arena is. */
#ifndef SECALLOC_FACE_TYPES_H
#define SECALLOC_FACE_TYPES_H

#if !defined(__STDC_VERSION__) || __STDC_VERSION__ < 201112L || defined(__STDC_NO_ATOMICS__)
#error secalloc needs a C11 compiler with atomics: gcc 4.9, clang 3.6, or later.
#endif

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SA_MUST_USE __attribute__((warn_unused_result))

/* What runs between a fault and the event in the parent: compilers put it side by side.
 * It runs once, after a sleep, and each page of code entered then costs about a
 * microsecond. */
#define SA_HOT __attribute__((hot))

/* What runs after a system call, when every return is mispredicted on some processors; and what is
 * most often called of all. */
#define SA_INLINE static inline __attribute__((always_inline))

/* What hardly ever runs: compilers lay it, and the branches to it, out of the way. */
#define SA_COLD __attribute__((cold))

/* What looks at memory that is not its own: nothing of that may be told to the sanitizers. */
#define SA_BARE __attribute__((no_sanitize_address, no_sanitize_thread))

/* What a call came to. Everything but SA_OK left things as they were. */
enum sa_code {
    SA_OK = 0,
    SA_NO_MEMORY,    /* address space, memory maps or memory ran out */
    SA_OS_ERROR,     /* a system call failed: struct sa_why tells which */
    SA_BAD_ALIGN,    /* not a power of two up to the page size */
    SA_BAD_RANGE,    /* offset or length outside the arena */
    SA_WIPED,        /* the content is noise until it is written again */
    SA_SEALED,       /* the pages are inaccessible */
    SA_READ_ONLY,    /* open for reading alone */
    SA_TOO_LARGE,    /* more than is encrypted */
    SA_POOLED,       /* shares its pages: its pool is sealed and opened instead */
    SA_CLOSED,       /* the arena was closed */
    SA_FORKED,       /* the arena belongs to the process this one came from */
    SA_BUSY,         /* exported buffers forbid it */
    SA_FILLING,      /* a fill or an open block is under way */
    SA_CROWDED,      /* a counter is full: too many buffers or blocks at once */
    SA_UNPROTECTED,  /* new pages would protect less than is required, or than the old ones
                        do: struct sa_why tells */
    SA_BAD_SIGNAL,   /* its default action does not end the process */
    SA_WRONG_PROCESS /* memory shared with the parent (vfork): nothing is done */
};

/* Filled in where a system call or a limit is to blame; otherwise untouched. */
struct sa_why {
    const char *call; /* name of what failed, static; NULL: no system call did */
    int error;        /* its errno, 0 if none */
    const char *hint; /* what would help, static; NULL: nothing known */
    const char *limit; /* name of the limit that refused, static; NULL: none did */
    size_t allowed;    /* what that limit allows: bytes, or maps */
    const char *whose; /* use counts against it, static; NULL: this process's */
    unsigned missing;  /* sa_protection bits that SA_UNPROTECTED is about */
};

/* What the kernel granted an arena. */
enum sa_protection {
    SA_GUARD = 1,     /* inaccessible pages on both sides */
    SA_LOCK = 2,      /* never written to swap */
    SA_SECRETMEM = 4, /* unmapped from the kernel's own address space */
    SA_NODUMP = 8,    /* left out of core files */
    SA_NOFORK = 16    /* not inherited by a child process */
};

/* An arena as its owner holds it. Everything is private to the core. Zeroed
 * memory is a closed arena. It must stay where it is while the arena lives. */
struct sa_region;
struct sa_slab;
struct sa_arena {
    _Atomic uint64_t use;              /* exports, readers, blocks, state */
    _Atomic uint64_t good;             /* wipe count at which the content is whole, or is to be
                                          when the fill under way ends */
    _Atomic(struct sa_region *) region;
    _Atomic uint32_t slot;
    uint32_t epoch;                    /* process identity that made it */
    size_t size;
    _Atomic uint64_t wipes;            /* added to its slot's count: moving changes neither sum */
    _Atomic(struct sa_slab *) slab;    /* of a pooled arena; else NULL */
    uint32_t tail;                     /* from the last byte to the end of the slot's data */
    uint16_t cell;                     /* its place in the slab */
    uint8_t required;                  /* sa_protection bits that it was made with */
    _Atomic bool encrypts;             /* while it is sealed its content is encrypted */
    _Atomic int64_t used;              /* when it was used last, where that is noted */
    _Atomic(char *) name;              /* what sa_set_name put there, or NULL */
};
_Static_assert(sizeof(struct sa_arena) == 80, "a million of them are to be had cheaply");

/* What a name has room for, its end included. */
#define SA_NAME_ROOM 64

#endif
