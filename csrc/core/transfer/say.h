/* What both sides of a hand-over say to each other, and sending and receiving it in time. */
#ifndef SECALLOC_TRANSFER_SAY_H
#define SECALLOC_TRANSFER_SAY_H

#include "os/os.h"
#include "secalloc.h"

/* What the receiver says. Both run on one machine, so as they are in memory. */
struct offer {
    char kind; /* PAGES: with their descriptor; STREAM: through the socket; ENCRYPTED: the same,
                  under the key that both have; 0: nothing */
    char spare[7];
    uint64_t offset; /* where in the pages the content belongs */
    uint64_t bytes;  /* of all pages */
};
enum { PAGES = 'P', STREAM = 'S', ENCRYPTED = 'E' };
/* What the giver says, one byte: PAGES could not be mapped; STREAM bytes follow; an envelope and
 * ENCRYPTED bytes do; the content is there; there is none; it was asked for, and is not given. */
enum { REFUSED = 'R', GO = 'G', SEALED = 'E', DONE = 'D', GONE_BY = 'W', NOT_GIVEN = SA_NOT_GIVEN };

/* All of these return an errno: ETIMEDOUT at `end`, by os_now_ms(). */

/* Before trying again what gave `error`. 0: do. [any] */
SA_MUST_USE int say_wait(int sock, bool writing, int64_t end, int error);

/* Send bytes, with a descriptor unless that is -1; receive so many. [any] */
SA_MUST_USE int say_all(int sock, const void *bytes, size_t n, int fd, int64_t end);
SA_MUST_USE int say_hear(int sock, void *bytes, size_t n, int64_t end);

/* Send words that others agreed on, and after them, in the same message, the bytes of a step.
 * EINVAL: they are too many. [any] */
SA_MUST_USE int say_with(int sock, const struct sa_said *said, const void *step, size_t n,
                         int64_t end);

/* As SA_OS_ERROR, by the name of the call that failed. [any] */
SA_MUST_USE enum sa_code say_failed(const char *call, int error, struct sa_why *why);

#endif
