/* The process, its signals, and what a handler needs of a stack, on Linux 4.17 and later. */
#include "os/os.h"
#include "os/linux/syscall.h"

#include <errno.h>
#include <sys/auxv.h>
#include <unistd.h>

#ifndef AT_MINSIGSTKSZ /* since 5.14 on x86-64, 4.18 on AArch64 */
#define AT_MINSIGSTKSZ 51
#endif

bool os_ends_process(int sig)
{
    switch (sig) {
    case SIGKILL:
    case SIGSTOP:
    case SIGCHLD:
    case SIGCONT:
    case SIGTSTP:
    case SIGTTIN:
    case SIGTTOU:
    case SIGURG:
    case SIGWINCH: return false;
    default: /* between the two kinds are those that the C library keeps for itself */
        return (sig > 0 && sig < 32) || (sig >= SIGRTMIN && sig <= SIGRTMAX);
    }
}

SA_HOT long os_process(void) { return os_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0); }

bool os_is_init(void) { return getpid() == 1; }

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

SA_HOT bool os_is_process(long process)
{
    long now = os_process();
    return now == process || now <= 0;
}

/* A sandbox may refuse each of the calls; but nothing keeps the kernel from ending a process
 * whose fault is blocked. None is made with an id that it did not tell: -1 is everybody. */
_Noreturn void os_end(void)
{
    long thread = os_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0), process = os_process();
    if (thread > 0)
        (void)os_syscall(SYS_tkill, thread, SIGKILL, 0, 0, 0, 0);
    if (process > 0)
        (void)os_syscall(SYS_kill, process, SIGKILL, 0, 0, 0, 0);
    for (;;)
        __builtin_trap();
}

SA_HOT bool os_alt_stack(stack_t *now)
{
    return os_syscall(SYS_sigaltstack, 0, (long)now, 0, 0, 0, 0) == 0;
}

size_t os_alt_stack_least(void)
{
    /* Not MINSIGSTKSZ: glibc 2.34 and later make that a call which gives four times
     * as much. 5120 is what AArch64 asks for, 2048 x86-64. */
    size_t least = (size_t)getauxval(AT_MINSIGSTKSZ);
    return 2 * (least < 5120 ? 5120 : least) + 8192;
}
