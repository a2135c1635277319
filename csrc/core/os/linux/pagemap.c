/* The pages that ever held anything, on Linux, where mincore cannot tell: it says of a page in
 * swap that it is not there. */
#include "os/os.h"
#include "os/linux/probe.h"
#include "os/linux/syscall.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/sysinfo.h>

/* Closed to a process that is not dumpable, but for root's. */
static int look_at_pagemap(uintptr_t at, size_t pages, unsigned char *vec)
{
    enum { AT_ONCE = 64 }; /* 512 bytes of a signal stack that may be small */
    uint64_t entries[AT_ONCE];
    uintptr_t first = at / os_page_size();
    long fd = os_syscall(SYS_openat, AT_FDCWD, (long)"/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0,
                         0, 0);
    int error = fd < 0 ? (int)-fd : 0;
    for (size_t done = 0; done < pages && !error;) {
        size_t count = pages - done < AT_ONCE ? pages - done : AT_ONCE;
        long bytes = (long)(count * sizeof entries[0]);
        long got = os_syscall(SYS_pread64, (int)fd, (long)entries, bytes,
                              (long)((first + done) * sizeof entries[0]), 0, 0);
        if (got != bytes)
            error = got < 0 ? (int)-got : EIO; /* the thread that began the process is gone */
        for (size_t i = 0; i < count && !error; i++)
            vec[done++] = entries[i] >> 62 != 0; /* bit 63: present, 62: swapped */
    }
    if (fd >= 0)
        (void)os_syscall(SYS_close, (int)fd, 0, 0, 0, 0, 0); /* read only: nothing to lose */
    return error;
}

static bool has_swap(void)
{
    struct sysinfo info;
    return !os_may_call_now(OS_SYSINFO) || os_syscall(SYS_sysinfo, (long)&info, 0, 0, 0, 0, 0) ||
           info.totalswap;
}

int os_touched_ever(void *at, size_t bytes, unsigned char *vec)
{
    int error = look_at_pagemap((uintptr_t)at, bytes / os_page_size(), vec);
    return error && !has_swap() ? os_touched(at, bytes, vec) : error;
}
