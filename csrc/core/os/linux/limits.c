/* What the system allows a process, and the kernel's entropy, on Linux. */
#include "os/os.h"
#include "os/linux/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

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
