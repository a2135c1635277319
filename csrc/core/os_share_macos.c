/* macOS: has no memory that two processes share and nobody else can read, so that
 * secrets go through the socket. */
#include "os.h"

#include <errno.h>

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
