/* Core files, the dumpable flag and debuggers, on Linux. */
#include "os/os.h"
#include "os/linux/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

int os_dumpable(void)
{
    int value = os_may_call(OS_PRCTL) ? prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) : -1;
    return value < 0 ? -1 : value != 0;
}

bool os_forbid_dumps(struct sa_why *why)
{
    bool allowed = os_may_call(OS_PRCTL);
    if (allowed && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 && os_dumpable() == 0)
        return true;
    *why = (struct sa_why){.call = "prctl(PR_SET_DUMPABLE)",
                           .error = allowed ? errno : EPERM,
                           .hint = "a seccomp profile must allow prctl"};
    return false;
}

/* The process that traces this one; 0: none does, -1 with errno: unknown. */
static long tracer(void)
{
    static const char name[] = "\nTracerPid:";
    char text[4096]; /* all of it is 1.5 KiB, and this stands in the first lines */
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, text, sizeof text - 1);
    int error = n < 0 ? errno : ENODATA;
    (void)close(fd); /* read only: nothing to lose */
    text[n > 0 ? n : 0] = 0;
    const char *at = strstr(text, name);
    if (!at) {
        errno = error;
        return -1;
    }
    return strtol(at + sizeof name - 1, NULL, 10);
}

/* The dumpable flag does it: attaching to a process without it, and opening its mem
 * file, takes CAP_SYS_PTRACE. A debugger that is attached already stays so. */
bool os_forbid_debuggers(struct sa_why *why)
{
    if (os_dumpable() != 0)
        return false; /* os_forbid_dumps told why */
    long pid = tracer();
    if (pid == 0)
        return true;
    if (pid < 0)
        *why = (struct sa_why){.call = "reading /proc/self/status",
                               .error = errno,
                               .hint = "mount /proc: whether a debugger is attached already "
                                       "stands there"};
    else
        *why = (struct sa_why){.call = "a debugger is attached already",
                               .hint = "detach it, and call again"};
    return false;
}
