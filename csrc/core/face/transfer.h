/* Handing a secret to another process, and hearing how other processes fare. */
#ifndef SECALLOC_FACE_TRANSFER_H
#define SECALLOC_FACE_TRANSFER_H

#include "face/types.h"

/* Both sides talk over a connected stream socket, which stays the caller's and is of no
 * use any more after a failure. Where both have secretmem the content is copied once,
 * straight from the one's arena into pages of the other's; else it goes through the
 * socket. Nothing stays mapped or open that is not an arena's. Wait `timeout_ms` at
 * most. SA_OS_ERROR: ETIMEDOUT, ECONNRESET where the other side gave up, EPROTO where it
 * talks nonsense. */

/* Give a copy to the process that calls sa_take_over at the other end. SA_WIPED and others as
 * for sa_borrow: it got nothing, and is told. [any] */
SA_MUST_USE enum sa_code sa_hand_over(struct sa_arena *a, int sock, uint32_t timeout_ms,
                                      struct sa_why *why);

/* Make an arena of `size` bytes of what the other end hands over. *shared: it came by
 * way of secretmem. Failing, nothing stays mapped. [any] */
SA_MUST_USE enum sa_code sa_take_over(struct sa_arena *a, size_t size, int sock,
                                      uint32_t timeout_ms, bool *shared, struct sa_why *why);

/* The same with the sa_protection bits in `required`, and those of sa_require(), or not at
 * all: SA_UNPROTECTED, before anything was said to the other end. [any] */
SA_MUST_USE enum sa_code sa_take_over_with(struct sa_arena *a, size_t size, unsigned required,
                                           int sock, uint32_t timeout_ms, bool *shared,
                                           struct sa_why *why);

/* ---- markers of other processes --------------------------------------------- */

/* Wait until a member of an epoll set, on macOS of a kqueue, can be read or is at its end,
 * for `ms` milliseconds, -1: without a limit. *fd: which, -1: none in time. Returns an
 * errno, EINTR where a signal came. [any] */
SA_MUST_USE int sa_listen(int set, int ms, int *fd);

/* Read one byte from a descriptor that does not wait, or learn that it is at its end.
 * Returns an errno: EAGAIN, there is none. [any] */
SA_MUST_USE int sa_hear(int fd, char *byte, bool *end);

#endif
