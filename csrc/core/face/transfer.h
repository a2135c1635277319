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

/* The same by a question and its answer, in one round trip: words that the two sides agreed on,
 * with the pages in the one direction, and when the content is in them in the other. */
enum { SA_WORDS = 512 }; /* so many bytes of words at most */
struct sa_said {
    void *words; /* the caller's */
    size_t n;
    int fd;         /* a descriptor that goes along, or came, the caller's; -1: none */
    int32_t sender; /* of a question, as the kernel says, where the socket asks it to: a process;
                       -1: it said nothing; -2: several processes */
};

/* Ask for an arena of `size` bytes, with the sa_protection bits in `required`, and those of
 * sa_require(), or not at all: SA_UNPROTECTED, before anything was said to the other end. With a
 * `key`, 32 random bytes that came from there by way of secretmem, up to SA_ONE_MESSAGE bytes
 * come through the socket, encrypted under it; NULL: there is none. The answer's words are there with
 * came->heard; without came->given there is no arena, as the words say why. SA_WIPED: it was wiped on
 * its way. With came->unread its content is in the socket still, which is to be closed. The answer's
 * descriptor may be there in any case. [any] */
struct sa_came {
    bool heard, given, shared, unread; /* shared: by way of secretmem */
};
enum { SA_ONE_MESSAGE = 4096 }; /* more is quicker by pages */
SA_MUST_USE enum sa_code sa_ask(struct sa_arena *a, struct sa_arena *key, size_t size,
                                unsigned required, int sock, const struct sa_said *question,
                                struct sa_said *answer, uint32_t timeout_ms, struct sa_came *came,
                                struct sa_why *why);

/* Hear a question of question->n bytes, and map the pages that may come with it, if they are not
 * many more than `most` bytes need. They are the caller's until sa_answer() or sa_asked_drop(). A
 * question that came without pages, or with such as cannot be mapped, is one. [any] */
struct sa_asked {
    char kind;
    void *at;
    uint64_t offset, bytes;
};
SA_MUST_USE enum sa_code sa_hear_question(int sock, struct sa_said *question, size_t most,
                                          uint32_t timeout_ms, struct sa_asked *asked,
                                          struct sa_why *why);
void sa_asked_drop(struct sa_asked *asked);

/* Give a copy, and say these words. As sa_hand_over(); the pages are unmapped in any case. `key` is
 * what the other end has, too, or NULL: EPROTO where it wants what is encrypted then. To give
 * nothing, drop them, and send the words and one byte, SA_NOT_GIVEN. [any] */
SA_MUST_USE enum sa_code sa_answer(struct sa_arena *a, struct sa_arena *key, int sock,
                                   struct sa_asked *asked, const struct sa_said *words,
                                   uint32_t timeout_ms, struct sa_why *why);
enum { SA_NOT_GIVEN = 'N' };

/* ---- markers of other processes --------------------------------------------- */

/* Wait until a member of an epoll set, on macOS of a kqueue, can be read or is at its end,
 * for `ms` milliseconds, -1: without a limit. *fd: which, -1: none in time. Returns an
 * errno, EINTR where a signal came. [any] */
SA_MUST_USE int sa_listen(int set, int ms, int *fd);

/* Read one byte from a descriptor that does not wait, or learn that it is at its end.
 * Returns an errno: EAGAIN, there is none. [any] */
SA_MUST_USE int sa_hear(int fd, char *byte, bool *end);

#endif
