/* Core files and debuggers, on macOS. There is no dumpable flag. */
#include "os/os.h"

#include <errno.h>
#include <sys/sysctl.h>
#include <sys/types.h>
#include <unistd.h>

/* As <sys/ptrace.h> has them, which not every SDK comes with. */
int ptrace(int request, pid_t pid, char *address, int data);
#define PT_DENY_ATTACH 31

int os_dumpable(void) { return -1; }

bool os_forbid_dumps(struct sa_why *why)
{
    (void)why; /* not refused: there is no such thing */
    return false;
}

/* PT_DENY_ATTACH ends a process that is traced already, with exit status ENOTSUP: that is
 * asked first. It holds against ptrace; what has the task's port, by entitlement or as
 * root, needs none. */
bool os_forbid_debuggers(struct sa_why *why)
{
    struct kinfo_proc info = {0};
    size_t length = sizeof info;
    int name[] = {CTL_KERN, KERN_PROC, KERN_PROC_PID, getpid()};
    if (sysctl(name, 4, &info, &length, NULL, 0)) {
        *why = (struct sa_why){.call = "sysctl(KERN_PROC_PID)", .error = errno};
        return false;
    }
    if (info.kp_proc.p_flag & P_TRACED) {
        *why = (struct sa_why){.call = "a debugger is attached already",
                               .hint = "detach it, and call again"};
        return false;
    }
    if (ptrace(PT_DENY_ATTACH, 0, NULL, 0)) {
        *why = (struct sa_why){.call = "ptrace(PT_DENY_ATTACH)", .error = errno};
        return false;
    }
    return true;
}

/* No sandbox here ends a process for a system call. */
void os_probe(void) {}
void os_probe_in_child(bool may) { (void)may; }
