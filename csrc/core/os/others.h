/* What the operating system has for other processes: pages that are shared, sockets, pipes, files in
 * memory. A part of os.h, which includes it. */
#ifndef SECALLOC_OTHERS_H
#define SECALLOC_OTHERS_H

#include "secalloc.h"

struct os_pages; /* see os.h */

/* ---- pages and bytes for another process ------------------------------------ */

/* Map fresh secretmem, accessible, never inherited by fork, all its pages fetched, and give its
 * descriptor, which the caller closes soon: any process that has it can map the pages.
 * ENOTSUP where there is no such thing. [any] */
int os_share_open(size_t bytes, int *fd, void **at);

/* Map the pages behind a descriptor that came from elsewhere, as above. EINVAL: it is
 * not secretmem of just that size. [any] */
int os_share_map(int fd, size_t bytes, void **at);

/* Wait until a socket can be read from or written to, or is at its end, for `ms`
 * milliseconds or less. [any] */
int os_socket_wait(int sock, bool writing, int64_t ms);

/* How many bytes a send with MSG_DONTWAIT takes without waiting; SIZE_MAX: it never waits.
 * Of a stream that nobody else sends to. EAGAIN: none. [any] */
int os_socket_room(int sock, size_t *bytes);

/* Send what can be sent at once, with a descriptor unless that is -1. EAGAIN: nothing
 * can. Raises no SIGPIPE. [any] */
int os_socket_send(int sock, const void *bytes, size_t n, int fd, size_t *sent);

/* Receive what is there. EAGAIN: nothing is; ECONNRESET: the other end is closed. Where
 * `fd` is not NULL it gets a descriptor that came along, close-on-exec, or -1; where `sender` is
 * not NULL, the process that sent it, where the socket asks for that, or -1. [any] */
int os_socket_receive(int sock, void *bytes, size_t n, int *fd, int32_t *sender, size_t *got);

/* The process that a control message, a struct cmsghdr, tells of; -1: it tells of none. [any] */
int32_t os_socket_sender(const void *control);

/* As sa_listen() and sa_hear(). [any] */
int os_listen(int set, int ms, int *fd);
int os_read_byte(int fd, char *byte, bool *end);

/* Read up to `n` bytes into a page. Where a file gives whole blocks alone, by way of more,
 * which the file's position then goes back over. [any] */
int os_read_page(int fd, void *page, size_t n, size_t *got);

void os_close(int fd); /* [any] */

/* ---- what other programs read from ------------------------------------------- */

/* A pipe: its end for reading, and the one for writing, which does not wait. Both are
 * close-on-exec, and none is a standard stream's. [any] */
int os_pipe(int ends[2]);

/* What that is made of: a pipe as the system gives it, close-on-exec where it can be at once. [any] */
int os_pipe_raw(int ends[2]);

/* A descriptor more of the same, likewise. [any] */
int os_duplicate(int fd, int *copy);

/* Write what a pipe takes at once. EAGAIN: nothing. The caller blocks SIGPIPE, or reads from it
 * itself. [any] */
int os_pipe_write(int fd, const void *bytes, size_t n, size_t *sent);

/* Read what there is in it now, up to `n` bytes. 0 bytes: nothing is, or its end. [any] */
int os_pipe_read(int fd, void *bytes, size_t n, size_t *got);

/* Map a file in memory of `size` bytes and as many pages as `bytes` are, as os_map_pages does, but
 * fetched, and give a descriptor of it for reading. Its size never changes, and only through these
 * pages can it be written (before Linux 5.1 by its owner, too). Both sizes 0: nothing is mapped.
 * ENOTSUP: there is no such thing. Failing, nothing is left open. [any] */
int os_map_file(size_t size, size_t bytes, unsigned least, struct os_pages *out, int *fd);

#endif
