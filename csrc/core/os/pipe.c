/* Pipes that others read from, without ever waiting. */
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

int os_pipe(int ends[2])
{
    int first[2], error = os_pipe_raw(first);
    if (error)
        return error;
    ends[0] = ends[1] = -1;
    if (!(error = os_duplicate(first[0], &ends[0])))
        error = os_duplicate(first[1], &ends[1]);
    (void)close(first[0]); /* nothing is in it */
    (void)close(first[1]);
    if (!error && fcntl(ends[1], F_SETFL, O_NONBLOCK))
        error = errno;
    for (int i = 0; error && i < 2; i++)
        if (ends[i] >= 0)
            (void)close(ends[i]); /* as above */
    return error;
}

int os_pipe_write(int fd, const void *bytes, size_t n, size_t *sent)
{
    ssize_t done = write(fd, bytes, n);
    *sent = done > 0 ? (size_t)done : 0;
    return done >= 0 ? 0 : errno == EINTR || errno == EWOULDBLOCK ? EAGAIN : errno;
}

int os_pipe_read(int fd, void *bytes, size_t n, size_t *got)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    *got = 0;
    if (poll(&ready, 1, 0) != 1) /* the flag that makes it not wait is the other readers', too */
        return 0;
    ssize_t done = read(fd, bytes, n);
    if (done < 0)
        return errno;
    *got = (size_t)done;
    return 0;
}
