/* Pages that two processes share, which macOS has not in a form that nobody else can read. So
 * secrets go through the socket there. */
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

int os_share_open(size_t bytes, int *fd, void **at)
{
    (void)bytes;
    (void)fd;
    (void)at;
    return ENOTSUP;
}

int os_share_map(int fd, size_t bytes, void **at)
{
    (void)fd;
    (void)bytes;
    (void)at;
    return ENOTSUP;
}

/* Messages say nothing of who sent them there. */
int32_t os_socket_sender(const void *control)
{
    (void)control;
    return -1;
}

/* MSG_DONTWAIT is for receiving: a send waits on all sockets but those with O_NONBLOCK
 * (sosendcheck in XNU's uipc_socket.c), which is for all that share the socket, too. What a
 * blocking one takes at once is SO_SNDLOWAT, if poll calls it writable. */
int os_socket_room(int sock, size_t *bytes)
{
    *bytes = SIZE_MAX;
    int flags = fcntl(sock, F_GETFL), least;
    if (flags < 0 || flags & O_NONBLOCK)
        return flags < 0 ? errno : 0;
    struct pollfd ready = {.fd = sock, .events = POLLOUT};
    int count = poll(&ready, 1, 0);
    if (count <= 0)
        return count == 0 || errno == EINTR ? EAGAIN : errno;
    if (!(ready.revents & POLLOUT))
        return 0; /* broken or at its end: the send says so at once */
    socklen_t length = sizeof least;
    if (getsockopt(sock, SOL_SOCKET, SO_SNDLOWAT, &least, &length))
        return errno;
    *bytes = least > 0 ? (size_t)least : 1;
    return 0;
}
