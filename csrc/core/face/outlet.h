/* Ways out of the process: a descriptor from which another program reads a secret. */
#ifndef SECALLOC_FACE_OUTLET_H
#define SECALLOC_FACE_OUTLET_H

#include "face/arena.h"

#include <pthread.h>

/* A descriptor of ours that no forked child is to keep. Private to the core. */
struct sa_lent {
    int fd; /* -1: closed, or none yet */
    uint64_t device, file; /* what is behind it: its number may be another file's by now */
    struct sa_lent *next, **from;
};

/* One way out. Its memory is the caller's and stays where it is from a successful open to the
 * close; so does the arena that the content comes from. Zeroed, it is closed. All in it is private
 * to the core. */
struct sa_outlet {
    struct sa_lent out;        /* what others read */
    struct sa_lent feed, keep; /* of a pipe: what we write to, and read back from */
    struct sa_arena *source;
    struct sa_block block; /* of the source, while `open` */
    struct sa_arena copy;  /* of a file: what it holds */
    size_t start, size, sent;
    uint32_t epoch;
    bool live, is_file, open, feeding;
    pthread_t feeder;
    _Atomic bool stop;
};

/* Open a pipe from which `size` bytes of an arena, from `start` on, can be read once. *fd: for
 * reading, close-on-exec; its end comes after the last byte. What the pipe does not take at once is
 * fed by a thread, until when the arena is open for reading as by sa_open. A sealed one is opened
 * for as long as it takes. SA_WIPED and others as for sa_open; failing, nothing is left open. */
SA_MUST_USE enum sa_code sa_pipe_open(struct sa_outlet *o, struct sa_arena *source, size_t start,
                                      size_t size, int *fd, struct sa_why *why); /* [any] */

/* Open a file in memory of our own, with a copy of the same. *fd: for reading, close-on-exec,
 * seekable, and nobody can write to it (before Linux 5.1 its owner can). Its pages are those of an
 * arena, locked if that can be had; all that wipes every arena overwrites it, even while others have
 * it open. SA_OS_ERROR, ENOTSUP: the system has no such thing. SA_UNPROTECTED: SECRETMEM is required,
 * which no file is. Failing, nothing is left open. [any] */
SA_MUST_USE enum sa_code sa_file_open(struct sa_outlet *o, struct sa_arena *source, size_t start,
                                      size_t size, int *fd, struct sa_why *why);

/* End it, on any thread; waits for nobody who reads. *unread: bytes of a pipe that nobody had read,
 * which are read back and wiped. A file is overwritten. SA_WIPED, SA_CLOSED: a wipe overtook what
 * was being given out, so that a reader may have had noise. SA_FORKED: in a child, where the
 * descriptors are closed and nothing else is done. It is closed in any case; harmless when
 * repeated. [any] */
SA_MUST_USE enum sa_code sa_outlet_close(struct sa_outlet *o, size_t *unread);

/* In a forked child: close all of these descriptors, which are its parent's. [atfork child] */
void sa_outlets_forked(void);

#endif
