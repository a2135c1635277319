/* Writing one byte in a way that neither waits nor raises a signal, on macOS. */
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Older headers lack it; the kernel has had it since macOS 11. */
#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0x80000
#endif

/* Whether a write past RLIMIT_FSIZE would follow. Here SIGXFSZ goes to the
 * process, where blocking it in the calling thread does not hold it back. */
static bool file_is_full(int fd, const struct stat *what)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) || limit.rlim_cur == RLIM_INFINITY)
        return false;
    int flags = fcntl(fd, F_GETFL);
    off_t at = flags >= 0 && flags & O_APPEND ? what->st_size : lseek(fd, 0, SEEK_CUR);
    return at >= 0 && (uint64_t)at >= limit.rlim_cur;
}

/* 0 where one byte can be written at once. poll knows pipes and terminals, but
 * not every device (/dev/tty), for which it says POLLNVAL and select must do. */
static int has_room(int fd)
{
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    if (poll(&ready, 1, 0) < 0)
        return errno;
    if (ready.revents & (POLLHUP | POLLERR))
        return EPIPE; /* not written to, as SIGPIPE too would go to the process */
    if (!(ready.revents & POLLNVAL))
        return ready.revents & POLLOUT ? 0 : EAGAIN;
    if (fd >= FD_SETSIZE)
        return EAGAIN;
    fd_set room;
    FD_ZERO(&room);
    FD_SET(fd, &room);
    struct timeval at_once = {0, 0};
    int count = select(fd + 1, NULL, &room, NULL, &at_once);
    return count > 0 ? 0 : count < 0 ? errno : EAGAIN;
}

/* A pipe, terminal or socket that others fill between the look and the write could
 * make us wait: its O_NONBLOCK is theirs too, and no call here writes without it,
 * nor a send with MSG_DONTWAIT. A channel of our own has one writer to each pipe. */
static int write_now(int fd, const struct stat *what, const char *byte)
{
    bool file = S_ISREG(what->st_mode);
    int error = file ? (file_is_full(fd, what) ? EFBIG : 0) : has_room(fd);
    if (error)
        return error;
    ssize_t wrote = S_ISSOCK(what->st_mode) ? send(fd, byte, 1, MSG_NOSIGNAL) : write(fd, byte, 1);
    return wrote == 1 ? 0 : wrote < 0 ? errno : EIO;
}

int os_look_at_pipe(int fd, struct stat *file) { return os_look_at(fd, file); }

int os_write_quietly(int fd, const struct stat *what, char byte)
{
    (void)fd, (void)what, (void)byte;
    return EOPNOTSUPP;
}

int os_write_byte(int fd, const struct stat *what, char byte)
{
    int before = errno, error;
    do
        error = write_now(fd, what, &byte);
    while (error == EINTR);
    errno = before;
    return error;
}
