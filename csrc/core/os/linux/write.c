/* Writing one byte in a way that neither waits nor raises a signal, on Linux. */
#include "os/os.h"
#include "os/linux/probe.h"
#include "os/linux/syscall.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

/* The C library's headers may be older than the kernel. */
#ifndef RWF_NOWAIT /* 4.14; pipes heed it from 6.4 on */
#define RWF_NOWAIT 8
#endif

/* Write through a description of our own, so that neither waiting nor a flag of
 * the shared one is touched. -1 where it cannot be had. */
static ssize_t write_reopened(int fd, const char *byte)
{
    char path[32] = "/proc/self/fd/", digits[12];
    size_t at = 14, n = 0;
    do
        digits[n++] = (char)('0' + fd % 10);
    while (fd /= 10);
    while (n)
        path[at++] = digits[--n];
    path[at] = 0;
    int own = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (own < 0)
        return -1;
    ssize_t wrote = write(own, byte, 1);
    int error = errno;
    (void)close(own); /* the byte is through, or never will be */
    errno = error;
    return wrote < 0 ? -2 : wrote;
}

/* Where everything else is refused: wait-free by the shared description's flag. */
static ssize_t write_with_flag(int fd, const char *byte)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return -1;
    if (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK))
        return -1;
    ssize_t wrote = write(fd, byte, 1);
    int error = errno;
    if (!(flags & O_NONBLOCK))
        (void)fcntl(fd, F_SETFL, flags); /* it just took the opposite */
    errno = error;
    return wrote;
}

/* 1, or an errno, negated. */
SA_HOT static int write_as_one(int fd, const char *byte, int flags)
{
    struct iovec one = {.iov_base = (void *)(uintptr_t)byte, .iov_len = 1};
    if (!os_may_call_now(OS_PWRITEV2))
        return -ENOSYS;
    return (int)os_syscall(SYS_pwritev2, fd, (long)&one, 1, -1, -1, flags);
}

static ssize_t write_now(int fd, const struct stat *what, const char *byte)
{
    if (S_ISSOCK(what->st_mode))
        return send(fd, byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (!S_ISFIFO(what->st_mode) && !S_ISCHR(what->st_mode))
        return write(fd, byte, 1); /* a file never makes us wait for a reader */
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    if (poll(&ready, 1, 0) != 1 || !(ready.revents & (POLLOUT | POLLERR))) {
        errno = EAGAIN;
        return -1;
    }
    /* Room now may be gone by the time we write. */
    ssize_t wrote = write_as_one(fd, byte, RWF_NOWAIT);
    if (wrote == 1)
        return wrote;
    errno = (int)-wrote;
    if (errno == EAGAIN || errno == EPIPE)
        return -1;
    /* To reopen the master of a terminal would make another terminal. */
    bool master = S_ISCHR(what->st_mode) && what->st_rdev == makedev(5, 2);
    wrote = master ? -1 : write_reopened(fd, byte);
    return wrote == -1 ? write_with_flag(fd, byte) : wrote;
}

SA_HOT int os_look_at_pipe(int fd, struct stat *file)
{
    long result = os_syscall(SYS_fstat, fd, (long)file, 0, 0, 0, 0);
    return result ? os_look_at(fd, file) : 0; /* a sandbox may know only newfstatat */
}

SA_HOT int os_write_quietly(int fd, const struct stat *what, char byte)
{
    enum { NOSIGNAL = 0x100 }; /* RWF_NOSIGNAL, since 6.18 */
    long wrote;
    if (S_ISSOCK(what->st_mode))
        wrote = os_syscall(SYS_sendto, fd, (long)&byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
    else if (S_ISFIFO(what->st_mode))
        wrote = write_as_one(fd, &byte, RWF_NOWAIT | NOSIGNAL);
    else
        return EOPNOTSUPP;
    if (wrote == 1)
        return 0;
    /* Whatever else an older kernel, a sandbox or an emulator says, it wrote nothing. */
    return wrote == -EAGAIN || wrote == -EPIPE ? (int)-wrote : EOPNOTSUPP;
}

int os_write_byte(int fd, const struct stat *what, char byte)
{
    int before = errno;
    ssize_t wrote;
    do
        wrote = write_now(fd, what, &byte);
    while (wrote < 0 && errno == EINTR);
    int error = wrote == 1 ? 0 : errno;
    errno = before;
    return error;
}
