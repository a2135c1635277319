/* Many descriptors behind one, on macOS: a kqueue. */
#include "os/os.h"

#include <errno.h>
#include <sys/event.h>

int os_listen(int set, int ms, int *fd)
{
    struct kevent event;
    struct timespec limit = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    int count = kevent(set, NULL, 0, &event, 1, ms < 0 ? NULL : &limit);
    *fd = count == 1 ? (int)event.ident : -1;
    return count < 0 ? errno : 0;
}
