/* Many descriptors behind one, on Linux: an epoll set. */
#include "os/os.h"

#include <errno.h>
#include <sys/epoll.h>

SA_HOT int os_listen(int set, int ms, int *fd)
{
    struct epoll_event event;
    int count = epoll_wait(set, &event, 1, ms);
    *fd = count == 1 ? event.data.fd : -1;
    return count < 0 ? errno : 0;
}
