/* What the system allows a process, and the kernel's entropy, on macOS. */
#include "os/os.h"

#include <errno.h>
#include <mach/mach.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sysctl.h>
#include <unistd.h>

size_t os_map_limit(void) { return SIZE_MAX; }

/* RLIMIT_AS bounds the size of the whole map, shared libraries included. */
size_t os_address_space_left(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) || limit.rlim_cur == RLIM_INFINITY)
        return SIZE_MAX;
    struct mach_task_basic_info info;
    mach_msg_type_number_t count = MACH_TASK_BASIC_INFO_COUNT;
    if (task_info(mach_task_self(), MACH_TASK_BASIC_INFO, (task_info_t)&info, &count))
        return (size_t)limit.rlim_cur / 2;
    return limit.rlim_cur > info.virtual_size ? (size_t)(limit.rlim_cur - info.virtual_size) : 0;
}

/* The kernel takes the lesser of the process's limit and the machine's. */
size_t os_lock_limit(void)
{
    size_t least = SIZE_MAX;
    struct rlimit limit;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        least = (size_t)limit.rlim_cur;
    uint64_t machine = 0;
    size_t length = sizeof machine;
    if (sysctlbyname("vm.user_wire_limit", &machine, &length, NULL, 0) == 0 &&
        length == sizeof machine && machine < least)
        least = (size_t)machine;
    return least;
}

int os_entropy(void *out, size_t bytes)
{
    char *p = out;
    while (bytes) {
        size_t n = bytes < 256 ? bytes : 256; /* all that getentropy gives at a time */
        if (getentropy(p, n))
            return errno;
        p += n;
        bytes -= n;
    }
    return 0;
}
