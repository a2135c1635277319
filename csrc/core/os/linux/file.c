/* Pipes, and files in memory, that other programs read, on Linux. */
#include "os/linux/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The C library's headers may be older than the kernel. */
#ifndef MFD_CLOEXEC /* 3.17 */
#define MFD_CLOEXEC 1U
#define MFD_ALLOW_SEALING 2U
#endif
#ifndef MFD_NOEXEC_SEAL /* 6.3 */
#define MFD_NOEXEC_SEAL 8U
#endif
#ifndef F_ADD_SEALS /* 3.17 */
#define F_ADD_SEALS 1033
#define F_SEAL_SEAL 1
#define F_SEAL_SHRINK 2
#define F_SEAL_GROW 4
#endif
#ifndef F_SEAL_FUTURE_WRITE /* 5.1 */
#define F_SEAL_FUTURE_WRITE 16
#endif

int os_pipe_raw(int ends[2]) { return pipe2(ends, O_CLOEXEC) ? errno : 0; }

/* -1: errno tells. */
static int create(void)
{
    int fd = (int)syscall(SYS_memfd_create, "secalloc",
                          MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = (int)syscall(SYS_memfd_create, "secalloc", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

/* Its size is fixed, so that no page of it can go from under a mapping, and it is only written
 * through mappings that are there. */
static int seal(int fd)
{
    enum { SIZE = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW };
    if (fcntl(fd, F_ADD_SEALS, SIZE | F_SEAL_FUTURE_WRITE) == 0)
        return 0;
    return errno == EINVAL && fcntl(fd, F_ADD_SEALS, SIZE) == 0 ? 0 : errno;
}

static int map_pages(int fd, size_t bytes, struct os_pages *out)
{
    void *at = mmap(NULL, bytes, PROT_NONE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        out->why = (struct sa_why){.call = "mmap of a memfd", .error = errno};
        out->scarce = out->why.error == ENOMEM || out->why.error == EAGAIN;
        return out->why.error;
    }
    int error = os_keep_to_us(at, bytes, out);
    if (!error)
        error = os_lock_mapped(at, bytes, out);
    if (!error && mprotect(at, bytes, PROT_READ | PROT_WRITE))
        error = errno;
    if (!error)
        error = os_fetch_pages(at, bytes) ? ENOMEM : 0; /* our own store would be SIGBUS */
    if (!error && mprotect(at, bytes, PROT_NONE))
        error = errno;
    if (error && !out->why.call)
        out->why = (struct sa_why){.call = "first touch of a memfd", .error = error};
    out->at = at;
    if (error)
        (void)munmap(at, bytes); /* just made, whole: it cannot fail */
    return error;
}

/* The same file for reading alone. -1: errno tells. */
static int reopen(int fd)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int own = open(path, O_RDONLY | O_CLOEXEC);
    if (own < 0 || own > STDERR_FILENO)
        return own;
    int copy, error = os_duplicate(own, &copy);
    (void)close(own); /* opened for reading */
    errno = error;
    return error ? -1 : copy;
}

static int too_large(size_t size)
{
    struct rlimit files; /* past it ftruncate raises SIGXFSZ */
    return getrlimit(RLIMIT_FSIZE, &files) == 0 && files.rlim_cur != RLIM_INFINITY &&
           size > files.rlim_cur;
}

static int failed(struct os_pages *out, const char *call, int error)
{
    out->why = (struct sa_why){.call = call, .error = error};
    return error;
}

/* A file of that size, none of it mapped yet. */
static int make(size_t size, int *fd, struct os_pages *out)
{
    if (too_large(size))
        return failed(out, "ftruncate of a memfd", EFBIG);
    *fd = create();
    if (*fd < 0)
        return failed(out, "memfd_create", errno);
    if (ftruncate(*fd, (off_t)size))
        return failed(out, "ftruncate of a memfd", errno);
    if (fchmod(*fd, S_IRUSR)) /* programs refuse a key that others might read */
        return failed(out, "fchmod of a memfd", errno);
    return 0;
}

int os_map_file(size_t size, size_t bytes, unsigned least, struct os_pages *out, int *fd)
{
    int own = -1;
    *out = (struct os_pages){0};
    *fd = -1;
    int error = make(size, &own, out);
    if (!error && bytes)
        error = map_pages(own, bytes, out);
    bool mapped = !error && bytes;
    if (!error && (error = seal(own)))
        (void)failed(out, "fcntl(F_ADD_SEALS)", error); /* it is `error` */
    if (!error && (*fd = reopen(own)) < 0)
        error = failed(out, "open of /proc/self/fd", errno);
    if (!error && out->refused & least)
        error = out->why.error ? out->why.error : EAGAIN;
    if (own >= 0)
        (void)close(own); /* the mapping keeps the file */
    if (error && *fd >= 0)
        (void)close(*fd); /* opened for reading */
    if (error && mapped)
        (void)munmap(out->at, bytes); /* just made, whole: it cannot fail */
    return error;
}
