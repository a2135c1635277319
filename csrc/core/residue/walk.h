/* Passing over all readable memory of the process, for a search. */
#ifndef SECALLOC_WALK_H
#define SECALLOC_WALK_H

#include "secalloc.h"
#include "os/os.h"

enum {
    WALK_CHUNK = 65536, /* looked at in one go: less costs more calls, more leaves the cache */
    WALK_PEEK = 256,    /* around a chunk: never more than a page */
    WALK_ROOM = WALK_CHUNK + WALK_PEEK,
};

struct walk;

/* Looks at the chunk: `bytes` of memory, a multiple of 8, that stand at `at`. Signals but faults
 * are blocked meanwhile. Setting `ended` ends the walk. It may run in a process apart, on the memory
 * itself, and may fault there: it takes no lock, allocates nothing, and what it keeps is whole
 * whenever it looks at the chunk. */
typedef void walk_look(struct walk *w, uintptr_t at, size_t bytes);

/* The caller fills in the first three. */
struct walk {
    uint8_t *room; /* WALK_ROOM bytes of the work arena */
    walk_look *look;
    const struct sa_progress *progress; /* NULL: nobody to tell */
    const uint8_t *chunk; /* in the room, or where it stands */
    void *stack; /* of a process apart; NULL: there is none */
    struct os_maps maps;
    struct os_map map; /* that the chunk is of */
    uintptr_t chunk_at, peek_at;
    size_t chunk_bytes, peek_bytes;
    size_t done, total, told;
    bool ended;
};

/* Look at all that is held, our own reservations left out. SA_OS_ERROR: memory cannot be
 * read, or the list of mappings ended too early, which must not pass for one without
 * copies. [any] */
SA_MUST_USE enum sa_code walk_all(struct walk *w, struct sa_why *why);

/* A byte of the process's memory: of the chunk, or fetched. False: there is none. For a look
 * alone. [any] */
bool walk_byte(struct walk *w, uintptr_t at, uint8_t *out);

/* Wipe what a search left below its caller's frame, and in registers. [any] */
void walk_wipe_stack(void);

#endif
