/* Pages that two processes map for a moment, on Linux. */
#include "os/os.h"
#include "os/linux/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { SECRETMEM_KIND = 0x5345434d }; /* SECRETMEM_MAGIC of linux/magic.h, since 5.14 */

/* Inaccessible until no child can inherit it any more. */
static int map_alone(int fd, size_t bytes, void **at)
{
    *at = mmap(NULL, bytes, PROT_NONE, MAP_SHARED, fd, 0);
    if (*at == MAP_FAILED)
        return errno;
    if (madvise(*at, bytes, MADV_DONTFORK) || madvise(*at, bytes, MADV_DONTDUMP) ||
        mprotect(*at, bytes, PROT_READ | PROT_WRITE)) {
        int error = errno;
        (void)munmap(*at, bytes); /* just made, whole: it cannot fail */
        return error;
    }
    return 0;
}

int os_share_open(size_t bytes, int *fd, void **at)
{
    struct rlimit files; /* past it ftruncate raises SIGXFSZ */
    if (getrlimit(RLIMIT_FSIZE, &files) == 0 && files.rlim_cur != RLIM_INFINITY &&
        bytes > files.rlim_cur)
        return EFBIG;
    *fd = os_open_secretmem();
    if (*fd < 0)
        return errno;
    int error = ftruncate(*fd, (off_t)bytes) ? errno : map_alone(*fd, bytes, at);
    if (!error && (error = os_fetch_pages(*at, bytes)))
        (void)munmap(*at, bytes); /* just made, whole: it cannot fail */
    if (error)
        (void)close(*fd); /* nothing is in it */
    return error;
}

/* A file of any other kind might lie on a disk, or be cut short while it is mapped. */
int os_share_map(int fd, size_t bytes, void **at)
{
    struct statfs kind;
    struct stat file;
    if (fstatfs(fd, &kind) || fstat(fd, &file))
        return errno;
    if (kind.f_type != SECRETMEM_KIND || file.st_size < 0 || (size_t)file.st_size != bytes)
        return EINVAL;
    return map_alone(fd, bytes, at);
}

int32_t os_socket_sender(const void *control)
{
    const struct cmsghdr *header = control;
    struct ucred who;
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_CREDENTIALS ||
        header->cmsg_len < CMSG_LEN(sizeof who))
        return -1;
    memcpy(&who, CMSG_DATA(header), sizeof who);
    return who.pid;
}

int os_socket_room(int sock, size_t *bytes)
{
    (void)sock;
    *bytes = SIZE_MAX; /* MSG_DONTWAIT is all that it takes */
    return 0;
}
