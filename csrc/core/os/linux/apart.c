/* Work in a process of its own that shares this one's memory, on Linux.
 *
 * As posix_spawn() makes a child: CLONE_VFORK has the calling thread stand still until the
 * child is gone, so that the two never use one thread's storage at once. CLONE_FILES: what another
 * thread closes meanwhile is closed. A signal handler of the child's is the child's alone, because
 * CLONE_SIGHAND is not set. Before 5.16 a process that left a core file took all others along that
 * had its memory: so no fault is left to its default action. It ends with its parent, whose
 * memory it would keep. */
#include "os/linux/action.h"
#include "os/linux/probe.h"
#include "os/linux/syscall.h"

#include <errno.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { DONE, FAULT, REFUSED }; /* the child's exit status */

struct apart {
    void (*work)(void *);
    void *context;
    volatile bool began; /* and we see what it stores */
};

/* Not by exit(2), to which a return would lead: it is not among what a sandbox has to allow. */
static _Noreturn void end_with(int status)
{
    for (;;)
        (void)os_syscall(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

static void end_by_fault(int sig)
{
    (void)sig;
    end_with(FAULT);
}

/* Nothing of the C library: what stands before its sigaction(), such as a JVM's libjsig, would
 * take the child's actions for the program's. */
SA_BARE static int child(void *argument)
{
    struct apart *a = argument;
    struct sigaction action = {.sa_handler = end_by_fault};
    const uint64_t blocked = ~(UINT64_C(1) << (SIGSEGV - 1) | UINT64_C(1) << (SIGBUS - 1));
    os_fill_mask(&action.sa_mask);
    if (os_action_raw(SIGSEGV, &action, NULL) || os_action_raw(SIGBUS, &action, NULL) ||
        os_syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0, 0) ||
        os_syscall(SYS_rt_sigprocmask, SIG_SETMASK, (long)&blocked, 0, sizeof blocked, 0, 0))
        end_with(REFUSED);
    a->began = true;
    a->work(a->context);
    end_with(DONE);
}

static bool tool_in_the_way;

/* valgrind ends a program for such a clone, and ThreadSanitizer takes it for a fork. Asked when
 * the library is loaded: the loader's lock, held by another thread at a fork, is never given
 * back in the child. */
__attribute__((constructor)) static void look_for_tools(void)
{
    tool_in_the_way = os_symbol("_vgnU_freeres") || os_symbol("__tsan_init");
}

int os_run_apart(void *stack, size_t bytes, void (*work)(void *), void *context)
{
    struct apart a = {.work = work, .context = context};
    sigset_t before;
    int status = 0, error;
    if (tool_in_the_way)
        return ENOTSUP;
    if (!os_may_call(OS_VFORK) || !os_may_call(OS_PRCTL) || !os_child_is_plain())
        return EPERM;
    os_mask_all(&before);
    pid_t pid = clone(child, (char *)stack + bytes, OS_VFORK_FLAGS, &a);
    error = pid < 0 ? errno : 0;
    if (pid > 0)
        (void)os_syscall(SYS_wait4, pid, (long)&status, __WALL, 0, 0, 0); /* it is gone */
    os_unmask(&before);
    if (error)
        return error;
    if (!a.began) /* as qemu-user does vfork */
        return ENOSYS;
    return WIFEXITED(status) && WEXITSTATUS(status) == DONE ? 0 : EFAULT;
}
