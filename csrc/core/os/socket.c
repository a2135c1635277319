/* Stream sockets between processes, without ever waiting in the call itself. */
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* Older headers lack it; the kernel has had it since macOS 11. */
#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0x80000
#endif
#ifndef MSG_CMSG_CLOEXEC
#define MSG_CMSG_CLOEXEC 0
#endif

/* Room for one descriptor, for the sender's credentials, which come where the socket
 * asks for them, and for what nobody asked for. */
union control {
    struct cmsghdr aligned;
    char bytes[256];
};

int os_socket_wait(int sock, bool writing, int64_t ms)
{
    struct pollfd ready = {.fd = sock, .events = writing ? POLLOUT : POLLIN};
    int count = poll(&ready, 1, ms < 0 ? 0 : ms > 1000 ? 1000 : (int)ms);
    return count < 0 && errno != EINTR ? errno : 0;
}

int os_socket_send(int sock, const void *bytes, size_t n, int fd, size_t *sent)
{
    union control control;
    struct iovec all = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
    struct msghdr message = {.msg_iov = &all, .msg_iovlen = 1};
    if (fd >= 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof fd);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }
    *sent = 0;
    size_t room;
    int error = os_socket_room(sock, &room);
    if (error)
        return error;
    if (room < n)
        all.iov_len = room;
    ssize_t count = sendmsg(sock, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    *sent = count > 0 ? (size_t)count : 0;
    return count >= 0 ? 0 : errno == EWOULDBLOCK || errno == EINTR ? EAGAIN : errno;
}

/* musl's macro compares signed with unsigned. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-compare"
static struct cmsghdr *next_in(struct msghdr *message, struct cmsghdr *header)
{
    return CMSG_NXTHDR(message, header);
}
#pragma GCC diagnostic pop

/* The first descriptor that came; all others are closed. And who sent it. */
static int descriptor_in(struct msghdr *message, int32_t *sender)
{
    int first = -1;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
         header = next_in(message, header)) {
        int32_t told = sender ? os_socket_sender(header) : -1;
        if (told >= 0)
            *sender = told;
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
            if (first < 0) {
                first = fd;
                (void)fcntl(fd, F_SETFD, FD_CLOEXEC); /* set already where the call can */
            } else {
                (void)close(fd); /* unasked for */
            }
        }
    }
    return first;
}

int os_socket_receive(int sock, void *bytes, size_t n, int *fd, int32_t *sender, size_t *got)
{
    union control control;
    struct iovec all = {.iov_base = bytes, .iov_len = n};
    struct msghdr message = {.msg_iov = &all, .msg_iovlen = 1};
    if (sender)
        *sender = -1;
    if (fd) {
        *fd = -1;
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control;
    }
    *got = 0;
    ssize_t count = recvmsg(sock, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (count < 0)
        return errno == EWOULDBLOCK || errno == EINTR ? EAGAIN : errno;
    if (fd)
        *fd = descriptor_in(&message, sender);
    *got = (size_t)count;
    return count == 0 && n ? ECONNRESET : 0;
}

void os_close(int fd) { (void)close(fd); /* never one whose writes matter */ }
