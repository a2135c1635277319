/* Linux, x86-64 and AArch64, glibc and musl; kernel 4.17 and later. */
#include "os.h"
#include "os_probe_linux.h"
#include "os_syscall_linux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

/* The C library's headers may be older than the kernel. */
#ifndef RWF_NOWAIT /* 4.14; pipes heed it from 6.4 on */
#define RWF_NOWAIT 8
#endif
#ifndef AT_MINSIGSTKSZ /* since 5.14 on x86-64, 4.18 on AArch64 */
#define AT_MINSIGSTKSZ 51
#endif

/* ---- limits --------------------------------------------------------------- */

/* The first number in a file of /proc, or `otherwise`. */
static size_t proc_number(const char *path, size_t otherwise)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return otherwise;
    char text[64];
    ssize_t n = read(fd, text, sizeof text - 1);
    (void)close(fd); /* read only: nothing to lose */
    if (n <= 0)
        return otherwise;
    text[n] = 0;
    return (size_t)strtoull(text, NULL, 10);
}

size_t os_map_limit(void)
{
    return proc_number("/proc/sys/vm/max_map_count", 65530); /* the kernel's default */
}

size_t os_address_space_left(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) || limit.rlim_cur == RLIM_INFINITY)
        return SIZE_MAX;
    size_t all = (size_t)limit.rlim_cur;
    size_t pages = proc_number("/proc/self/statm", all / 2 / os_page_size());
    size_t used;
    if (__builtin_mul_overflow(pages, os_page_size(), &used) || used >= all)
        return 0;
    return all - used;
}

/* CAP_IPC_LOCK lifts the lock limit. */
static bool may_lock_all(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    if (!os_may_call(OS_CAPGET) || syscall(SYS_capget, &header, data))
        return false;
    return data[CAP_IPC_LOCK / 32].effective >> CAP_IPC_LOCK % 32 & 1;
}

size_t os_lock_limit(void)
{
    struct rlimit limit;
    if (may_lock_all() || getrlimit(RLIMIT_MEMLOCK, &limit) || limit.rlim_cur == RLIM_INFINITY)
        return SIZE_MAX;
    return (size_t)limit.rlim_cur;
}

int64_t os_about_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- entropy, threads, signals ----------------------------------------------- */

int os_entropy(void *out, size_t bytes)
{
    char *p = out;
    while (bytes) {
        long n = syscall(SYS_getrandom, p, bytes, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : EIO;
        p += n;
        bytes -= (size_t)n;
    }
    return 0;
}

SA_HOT long os_process(void)
{
    return os_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

bool os_is_init(void)
{
    return getpid() == 1;
}

int os_requeue(int sig, siginfo_t *info)
{
    int before = errno;
    int error = 0;
    long process = getpid(), thread = syscall(SYS_gettid);
    if (syscall(SYS_rt_tgsigqueueinfo, process, thread, sig, info) &&
        syscall(SYS_tgkill, process, thread, sig) &&
        (thread <= 0 || syscall(SYS_tkill, thread, sig))) /* where getpid is refused */
        error = errno;
    errno = before;
    return error;
}

void os_consume(int sig)
{
    static const struct timespec at_once = {0, 0};
    int before = errno;
    sigset_t only;
    sigemptyset(&only);
    sigaddset(&only, sig);
    (void)sigtimedwait(&only, NULL, &at_once); /* none pending: as wished */
    errno = before;
}

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

size_t os_alt_stack_least(void)
{
    /* Not MINSIGSTKSZ: glibc 2.34 and later make that a call which gives four times
     * as much. 5120 is what AArch64 asks for, 2048 x86-64. */
    size_t least = (size_t)getauxval(AT_MINSIGSTKSZ);
    return 2 * (least < 5120 ? 5120 : least) + 8192;
}
