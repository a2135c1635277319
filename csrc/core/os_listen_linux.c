/* Linux: an epoll set. */
#include "os.h"
#include "os_syscall_linux.h"

#include <errno.h>
#include <sys/epoll.h>

SA_HOT int os_listen(int set, int ms, int *fd)
{
    struct epoll_event event;
    int count = epoll_wait(set, &event, 1, ms);
    *fd = count == 1 ? event.data.fd : -1;
    return count < 0 ? errno : 0;
}

SA_HOT int os_read_byte(int fd, char *byte, bool *end)
{
    long got;
    do
        got = os_syscall(SYS_read, fd, (long)byte, 1, 0, 0, 0);
    while (got == -EINTR);
    *end = got == 0;
    return got < 0 ? (int)-got : 0;
}
