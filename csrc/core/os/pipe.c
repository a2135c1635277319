/* Pipes that others read from, without ever waiting. */
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

int os_duplicate(int fd, int *copy)
{
    *copy = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    return *copy < 0 ? errno : 0;
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
