/* The optional system calls of Linux, and which of them a sandbox lets live.
 *
 * A seccomp filter may end the process for a call, as that of a systemd unit with
 * SystemCallFilter=@system-service does for memfd_secret. So where there is a filter, a child
 * makes the calls first. It is made by a raw clone: no handler of pthread_atfork runs, and no
 * SIGCHLD comes. It shares no memory with us: before some kernel after 5.10 a child of vfork
 * that was ended so took its parent along.
 */
#include "os/os.h"
#include "os/linux/probe.h"
#include "os/linux/syscall.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_memfd_secret /* as in os/linux/memory.c */
#define SYS_memfd_secret 447
#endif
#ifndef MLOCK_ONFAULT /* 4.4 */
#define MLOCK_ONFAULT 1
#endif

enum verdict { UNASKED, MAY, MAY_NOT };
static _Atomic unsigned char verdicts[OS_CALLS];
static _Atomic bool no_children; /* os_probe_in_child(false) */

/* A filter is on, or nobody can tell. Not by prctl(PR_GET_SECCOMP), which a filter may end
 * the process for. */
static bool filter_is_on(void)
{
    static const char name[] = "\nSeccomp:";
    char text[4096]; /* all of it is 1.5 KiB */
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return true;
    ssize_t n = read(fd, text, sizeof text - 1);
    (void)close(fd); /* read only: nothing to lose */
    text[n > 0 ? n : 0] = 0;
    const char *at = strstr(text, name);
    if (!at)
        return n <= 0; /* a kernel without seccomp has no such line */
    at += sizeof name - 1;
    return at[strspn(at, " \t")] != '0';
}

bool os_child_is_plain(void)
{
    struct stat ours, childs; /* ENOENT: one without a process as yet, or a kernel before 4.12 */
    return stat("/proc/thread-self/ns/pid", &ours) ||
           (stat("/proc/thread-self/ns/pid_for_children", &childs) == 0 &&
            ours.st_ino == childs.st_ino && ours.st_dev == childs.st_dev);
}

static int end_at_once(void *unused)
{
    (void)unused;
    return (int)os_syscall(SYS_exit_group, 0, 0, 0, 0, 0, 0);
}

static void make_vfork(void)
{
    char stack[4096];
    pid_t pid = clone(end_at_once, stack + sizeof stack, OS_VFORK_FLAGS, NULL);
    if (pid > 0)
        (void)os_syscall(SYS_wait4, pid, 0, __WALL, 0, 0, 0);
}

/* So that a filter sees it, and nothing comes of it. [child, signal] */
static void make(enum os_call call)
{
    struct iovec none = {0};
    switch (call) {
    case OS_MEMFD_SECRET: (void)os_syscall(SYS_memfd_secret, O_CLOEXEC, 0, 0, 0, 0, 0); break;
    case OS_MLOCK2: (void)os_syscall(SYS_mlock2, 0, 0, MLOCK_ONFAULT, 0, 0, 0); break;
    case OS_PWRITEV2: (void)os_syscall(SYS_pwritev2, -1, (long)&none, 1, -1, -1, 0); break;
    case OS_MINCORE: (void)os_syscall(SYS_mincore, 0, 0, 0, 0, 0, 0); break;
    case OS_CAPGET: (void)os_syscall(SYS_capget, 0, 0, 0, 0, 0, 0); break;
    case OS_SYSINFO: (void)os_syscall(SYS_sysinfo, 0, 0, 0, 0, 0, 0); break;
    case OS_PRCTL: (void)os_syscall(SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0, 0); break;
    case OS_VFORK: make_vfork(); break;
    case OS_IOCTL: (void)os_syscall(SYS_ioctl, -1, 0, 0, 0, 0, 0); break;
    case OS_PROCESS_VM_READV:
        (void)os_syscall(SYS_process_vm_readv, os_process(), 0, 0, 0, 0, 0);
        break;
    case OS_CALLS: break;
    }
}

/* The child must leave no core file and run no handler, and calls nothing but the kernel:
 * other threads' locks are held for ever here. */
static _Noreturn void child(unsigned calls)
{
    const uint64_t by_default[4] = {0}; /* the kernel's struct sigaction */
    (void)os_syscall(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0, 0);
    (void)os_syscall(SYS_rt_sigaction, SIGSYS, (long)by_default, 0, sizeof(uint64_t), 0, 0);
    for (unsigned call = 0; call < OS_CALLS; call++)
        if (calls >> call & 1)
            make((enum os_call)call);
    for (;;)
        (void)os_syscall(SYS_exit_group, 0, 0, 0, 0, 0, 0);
}

/* Whether a child lives through all of these. Where it cannot be had the calls count as
 * forbidden. */
static bool child_lives(unsigned calls)
{
    sigset_t mask;
    if (!os_child_is_plain())
        return false;
    os_mask_all(&mask); /* no handler of the program's is to run in the child */
    long pid = os_syscall(SYS_clone, 0, 0, 0, 0, 0, 0); /* no exit signal, nothing shared */
    if (pid == 0)
        child(calls);
    int status = -1;
    long got = -1;
    if (pid > 0)
        do
            got = os_syscall(SYS_wait4, pid, (long)&status, __WALL, 0, 0, 0);
        while (got == -EINTR);
    os_unmask(&mask);
    return pid > 0 && got == pid && WIFEXITED(status);
}

static void record(unsigned calls, enum verdict verdict)
{
    for (unsigned call = 0; call < OS_CALLS; call++)
        if (calls >> call & 1)
            atomic_store(&verdicts[call], (unsigned char)verdict);
}

/* Two threads may ask at once, and find the same: a lock could stay held in a child. */
static void ask(unsigned calls)
{
    for (unsigned call = 0; call < OS_CALLS; call++)
        if (atomic_load(&verdicts[call]) != UNASKED)
            calls &= ~(1u << call);
    if (!calls)
        return;
    bool on = filter_is_on();
    if (on && atomic_load(&no_children)) { /* what any filter for services allows */
        unsigned usual = 1u << OS_MLOCK2 | 1u << OS_PWRITEV2 | 1u << OS_CAPGET | 1u << OS_PRCTL |
                         1u << OS_SYSINFO;
        record(calls & usual, MAY);
        record(calls & ~usual, MAY_NOT);
        return;
    }
    if (!on || child_lives(calls)) {
        record(calls, MAY);
        return;
    }
    for (unsigned call = 0; call < OS_CALLS; call++) /* one of them: which? */
        if (calls >> call & 1)
            record(1u << call, child_lives(1u << call) ? MAY : MAY_NOT);
}

void os_probe_in_child(bool may) { atomic_store(&no_children, !may); }

void os_probe(void)
{
    unsigned calls = 1u << OS_MLOCK2 | 1u << OS_PWRITEV2 | 1u << OS_MINCORE | 1u << OS_CAPGET |
                     1u << OS_SYSINFO;
    if (!atomic_load(&no_children)) /* else it is not wanted, or not yet */
        calls |= 1u << OS_MEMFD_SECRET;
    ask(calls);
}

bool os_may_call(enum os_call call)
{
    ask(1u << call);
    return os_may_call_now(call);
}

SA_HOT bool os_may_call_now(enum os_call call)
{
    return atomic_load_explicit(&verdicts[call], memory_order_relaxed) == MAY;
}

int os_open_secretmem(void)
{
    if (os_may_call(OS_MEMFD_SECRET))
        return (int)syscall(SYS_memfd_secret, O_CLOEXEC);
    errno = EPERM;
    return -1;
}

int os_lock_on_fault(void *at, size_t bytes)
{
    if (os_may_call(OS_MLOCK2))
        return (int)syscall(SYS_mlock2, at, bytes, MLOCK_ONFAULT);
    errno = ENOSYS;
    return -1;
}
