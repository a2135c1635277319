/* The process, its signals, and what a handler needs of a stack, on macOS. */
#include "os/os.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

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
    case SIGWINCH:
    case SIGIO:
    case SIGINFO: return false;
    default: return sig > 0 && sig < NSIG;
    }
}

long os_process(void) { return (long)getpid(); }

bool os_is_init(void) { return getpid() == 1; }

/* The siginfo cannot be queued, only the signal; a fault's is not blocked by itself. The
 * library's lock is not taken for a thread's own handle. ENOTSUP and ESRCH on a dispatch
 * worker thread, which takes no directed signal: there a forced one comes again by its
 * instruction. */
int os_requeue(int sig, siginfo_t *info)
{
    (void)info; /* lost: see above */
    int before = errno;
    sigset_t own;
    sigemptyset(&own);
    sigaddset(&own, sig);
    pthread_sigmask(SIG_BLOCK, &own, NULL); /* until the handler returns */
    int error = pthread_kill(pthread_self(), sig);
    if (error)
        pthread_sigmask(SIG_UNBLOCK, &own, NULL);
    errno = before;
    return error;
}

/* There is no sigtimedwait, and sigwait waits for ever where another thread took
 * the signal between a look and the call: it takes from any thread's. Ignoring a
 * signal for a moment drops a pending one, and never waits. */
void os_consume(int sig)
{
    int before = errno;
    sigset_t pending;
    struct sigaction ignore = {.sa_handler = SIG_IGN}, saved;
    if (sigpending(&pending) == 0 && sigismember(&pending, sig) == 1 &&
        sigaction(sig, &ignore, &saved) == 0)
        (void)sigaction(sig, &saved, NULL); /* it was this a moment ago */
    errno = before;
}

bool os_is_process(long process)
{
    return os_process() == process; /* a sandbox never refuses to say */
}

int os_action(int sig, const struct sigaction *next, struct sigaction *before)
{
    return sigaction(sig, next, before) ? errno : 0;
}

_Noreturn void os_end(void)
{
    (void)kill(getpid(), SIGKILL);
    for (;;)
        __builtin_trap();
}

bool os_alt_stack(stack_t *now) { return sigaltstack(NULL, now) == 0; }

size_t os_alt_stack_least(void)
{
    size_t least = 2 * (size_t)MINSIGSTKSZ;
    return (least < (size_t)SIGSTKSZ ? (size_t)SIGSTKSZ : least) + 8192;
}
