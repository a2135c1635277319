/* How a process ends, with the library armed and without it: one line for each case,
 * disposition and kind of thread.
 *
 *     handover          all of them, as  case|disposition|thread|without|with
 *
 * A child is traced: the siginfo told is that of the last signal it took, which is the
 * one that it died of; or, told by a handler, that which the handler got. As process 1
 * of a namespace it is not traced, since the kernel then keeps it alive.
 */
#include "arena/use.h"
#include "trap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MUST(expression) \
    do { \
        if (!(expression)) { \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #expression, strerror(errno)); \
            _exit(101); \
        } \
    } while (0)

enum { HANDLED = 42, REFUSED = 43 };
enum disposition { DEFAULT, IGNORED, HANDLER, CALLS_ON, RAISES_ON, DISPOSITIONS };
static const char *const dispositions[] = {
    "default",
    "ignored",
    "earlier handler",
    "later handler that calls on",
    "later handler that raises anew",
};
enum thread { MAIN, TOUCHED, UNTOUCHED, INIT, THREADS };
static const char *const kinds[] = {
    "main",
    "thread",
    "thread without alternate stack",
    "main of process 1",
};

/* What parent and child tell each other. */
static struct {
    _Atomic pid_t helper;
    siginfo_t handled;
    _Atomic int handled_times;
} *shared;

static struct sigaction below;
static int terminal = -1;

/* ---- plans -------------------------------------------------------------------------- */

enum {
    ON_THREADS = 1,
    NOT_AS_INIT = 2,
    ONLY_DEFAULT = 4,
    ABORTS = 8,
    DEBUGGED = 16,
    FORCED = 64,
       /* It does not come again: as process 1 a later handler cannot pass it on. */
    OVER = 32
};
struct test {
    const char *name;
    int sig;
    void (*body)(int);
    unsigned flags;
};
static struct {
    const struct test *test;
    int sig;
    enum disposition how;
    enum thread thread;
    bool armed;
} plan;

/* ---- handlers ------------------------------------------------------------------------ */

static void earlier(int sig, siginfo_t *info, void *context)
{
    (void)sig;
    (void)context;
    shared->handled = *info;
    shared->handled_times++;
    if (plan.test->flags & FORCED)
        _exit(HANDLED);
}

static void queue(int sig, siginfo_t *info)
{
    syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), sig, info);
}

/* As a runtime does that passes on what is not its own. */
static void calls_on(int sig, siginfo_t *info, void *context)
{
    shared->handled = *info;
    shared->handled_times++;
    if (below.sa_flags & SA_SIGINFO) {
        below.sa_sigaction(sig, info, context);
    } else {
        sigaction(sig, &below, NULL);
        queue(sig, info);
    }
}

/* As crash reporters and faulthandler do. */
static void raises_on(int sig, siginfo_t *info, void *context)
{
    (void)context;
    shared->handled = *info;
    shared->handled_times++;
    sigaction(sig, &below, NULL);
    raise(sig);
}

static void aborts(int sig)
{
    (void)sig;
    abort();
}

/* ---- the cases ------------------------------------------------------------------------- */

static void null_pointer(int sig)
{
    (void)sig;
    volatile uintptr_t nowhere = 8;
    (void)*(volatile uint8_t *)nowhere;
}

static void guard_page(int sig)
{
    (void)sig;
    uint8_t *at = mmap((void *)0x10000000, 4096, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    *(volatile uint8_t *)at = 1;
}

static void truncated_file(int sig)
{
    (void)sig;
    char name[] = "./truncated-XXXXXX";
    int fd = mkstemp(name);
    MUST(fd >= 0 && unlink(name) == 0 && ftruncate(fd, 4096) == 0);
    uint8_t *at = mmap((void *)0x10000000, 4096, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
    MUST(at != MAP_FAILED && ftruncate(fd, 0) == 0);
    *(volatile uint8_t *)at = 1;
}

static void deny_trapping(void) { MUST(trap_calls_of(SYS_getppid) == 0); }

static void seccomp_trap(int sig)
{
    (void)sig;
    deny_trapping();
    (void)syscall(SYS_getppid);
}

#if defined(__x86_64__)
static void non_canonical(int sig)
{
    (void)sig;
    volatile uintptr_t nowhere = (uintptr_t)1 << 63;
    (void)*(volatile uint8_t *)nowhere;
}
static void privileged(int sig)
{
    (void)sig;
    __asm__ __volatile__("hlt");
}
static void illegal(int sig)
{
    (void)sig;
    __asm__ __volatile__("ud2");
}
static void breakpoint(int sig)
{
    (void)sig;
    __asm__ __volatile__("int3");
}
static void breakpoint_of_two(int sig)
{
    (void)sig;
    __asm__ __volatile__(".byte 0xcd, 3");
}
static void divides(int sig)
{
    (void)sig;
    __asm__ __volatile__("xor %%ecx, %%ecx\n xor %%edx, %%edx\n div %%ecx" ::: "eax", "ecx", "edx");
}
static void divides_by_sse(int sig)
{
    (void)sig;
    unsigned unmasked = 0x1f80 & ~0x200u;
    __asm__ __volatile__("ldmxcsr %0\n pcmpeqd %%xmm0, %%xmm0\n psrld $25, %%xmm0\n"
                         "pslld $23, %%xmm0\n xorps %%xmm1, %%xmm1\n divss %%xmm1, %%xmm0"
                         :
                         : "m"(unmasked)
                         : "xmm0", "xmm1");
}
static void divides_by_x87(int sig)
{
    (void)sig;
    unsigned short unmasked = 0x37f & ~4u;
    __asm__ __volatile__("fldcw %0\n fld1\n fldz\n fdivrp\n fwait" : : "m"(unmasked));
}
static void single_step(int sig)
{
    (void)sig;
    __asm__ __volatile__("pushfq\n orq $0x100, (%%rsp)\n popfq\n nop\n nop" ::: "memory", "cc");
}
__attribute__((noinline)) static void watched(void) { __asm__ __volatile__("nop"); }
static void hardware_breakpoint(int sig)
{
    (void)sig;
    watched(); /* the tracer set the debug register */
}
#else
static void illegal(int sig)
{
    (void)sig;
    __asm__ __volatile__(".inst 0");
}
static void breakpoint(int sig)
{
    (void)sig;
    __asm__ __volatile__("brk #0");
}
#endif

static void perf_breakpoint(int sig)
{
    (void)sig;
    static volatile uint64_t word;
    struct perf_event_attr attr = {
        .type = PERF_TYPE_BREAKPOINT,
        .size = sizeof attr,
        .sample_period = 1,
        .exclude_kernel = 1,
        .exclude_hv = 1,
        .bp_type = 2, /* writes */
        .bp_addr = (uintptr_t)&word,
        .bp_len = 8,
        .remove_on_exec = 1,
        .sigtrap = 1, /* 5.13 */
    };
    if (syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0) < 0)
        _exit(REFUSED);
    word = 1;
}

static void kills_itself(int sig) { MUST(kill(getpid(), sig) == 0); }
static void raises(int sig) { MUST(syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), sig) == 0); }
static void queues_value(int sig)
{
    MUST(sigqueue(getpid(), sig, (union sigval){.sival_ptr = (void *)0x1234567}) == 0);
}

static void outside_kills(int sig)
{
    pid_t victim = getpid(), helper = fork();
    MUST(helper >= 0);
    if (helper == 0) {
        shared->helper = getpid();
        kill(victim, sig);
        _exit(0);
    }
    waitpid(helper, NULL, 0);
}

static void queue_with_code(int sig, int code)
{
    siginfo_t info = {.si_signo = sig, .si_code = code};
    info.si_addr = (void *)0x7654321000;
    queue(sig, &info);
}
static void queues_memory_error(int sig) { queue_with_code(sig, 5); } /* BUS_MCEERR_AO */
static void queues_tag_check(int sig) { queue_with_code(sig, 8); } /* SEGV_MTEAERR */

static void timer_ends(int sig)
{
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = sig};
    event.sigev_value.sival_ptr = (void *)0x1234567;
    MUST(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    MUST(timer_settime(timer, 0, &(struct itimerspec){.it_value = {0, 1000}}, NULL) == 0);
    usleep(5000);
}

static void calls_abort(int sig)
{
    (void)sig;
    abort();
}

static void file_limit(int sig)
{
    (void)sig;
    char name[] = "./limited-XXXXXX";
    int fd = mkstemp(name);
    MUST(fd >= 0 && unlink(name) == 0);
    struct rlimit limit = {100, RLIM_INFINITY};
    MUST(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    static char many[200];
    (void)!write(fd, many, 100);
    (void)!write(fd, many, 100);
    limit.rlim_cur = RLIM_INFINITY;
    MUST(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

static void processor_limit(int sig)
{
    (void)sig;
    struct rlimit limit = {1, 3};
    MUST(setrlimit(RLIMIT_CPU, &limit) == 0);
    while (!shared->handled_times) {
    }
}

/* A terminal of its own; somebody else holds the other side. */
static void at_terminal(bool hang_up)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    MUST(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    char *name = ptsname(master);
    MUST(setsid() >= 0 || errno == EPERM);
    terminal = open(name, O_RDWR | O_NOCTTY);
    MUST(terminal >= 0 && ioctl(terminal, TIOCSCTTY, 0) == 0);
    pid_t helper = fork();
    MUST(helper >= 0);
    if (helper == 0) {
        signal(SIGQUIT, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
        close(terminal);
        if (hang_up)
            close(master);
        else
            MUST(write(master, "\x1c", 1) == 1);
        usleep(50000);
        _exit(0);
    }
    close(master);
    for (int i = 0; i < 100 && waitpid(helper, NULL, WNOHANG) == 0; i++)
        usleep(2000);
}
static void quit_key(int sig)
{
    (void)sig;
    at_terminal(false);
}
static void hangup(int sig)
{
    (void)sig;
    at_terminal(true);
}

static void without_room_for_signals(void)
{
    struct rlimit none = {0, 0};
    MUST(setrlimit(RLIMIT_SIGPENDING, &none) == 0);
}
static void null_pointer_without_room(int sig)
{
    without_room_for_signals();
    null_pointer(sig);
}
static void kills_itself_without_room(int sig)
{
    without_room_for_signals();
    kills_itself(sig);
}

static const struct test forced[] = {
    {"null pointer", SIGSEGV, null_pointer, FORCED | ON_THREADS},
    {"inaccessible page", SIGSEGV, guard_page, FORCED | ON_THREADS},
    {"truncated mapped file", SIGBUS, truncated_file, FORCED | ON_THREADS},
    {"illegal instruction", SIGILL, illegal, FORCED | ON_THREADS},
    {"breakpoint instruction", SIGTRAP, breakpoint, FORCED | ON_THREADS | OVER},
    {"seccomp trap", SIGSYS, seccomp_trap, FORCED | ON_THREADS | OVER},
#if defined(__x86_64__)
    {"non-canonical address", SIGSEGV, non_canonical, FORCED | ON_THREADS},
    {"privileged instruction", SIGSEGV, privileged, FORCED | ON_THREADS},
    {"breakpoint of two bytes", SIGTRAP, breakpoint_of_two, FORCED | ON_THREADS | OVER},
    {"integer division by zero", SIGFPE, divides, FORCED | ON_THREADS},
    {"unmasked SSE exception", SIGFPE, divides_by_sse, FORCED | ON_THREADS},
    {"unmasked x87 exception", SIGFPE, divides_by_x87, FORCED | ON_THREADS},
    {"single step", SIGTRAP, single_step, FORCED | ON_THREADS},
    {"hardware breakpoint, debug register", SIGTRAP, hardware_breakpoint,
     FORCED | NOT_AS_INIT | DEBUGGED},
#endif
    {"hardware breakpoint, perf event", SIGTRAP, perf_breakpoint, ON_THREADS},
    {"null pointer, RLIMIT_SIGPENDING 0", SIGSEGV, null_pointer_without_room, FORCED | ON_THREADS},
    {"null pointer, handler calls abort()", SIGSEGV, null_pointer, FORCED | ON_THREADS | ABORTS},
};
static const struct test special[] = {
    {"abort()", SIGABRT, calls_abort, ON_THREADS | ONLY_DEFAULT},
    {"queued memory error notice", SIGBUS, queues_memory_error, 0},
    {"queued late tag check", SIGSEGV, queues_tag_check, 0},
    {"sent, RLIMIT_SIGPENDING 0", SIGSEGV, kills_itself_without_room, 0},
    {"sent, RLIMIT_SIGPENDING 0", SIGTERM, kills_itself_without_room, 0},
    {"timer", SIGSEGV, timer_ends, 0},
    {"file size limit", SIGXFSZ, file_limit, 0},
    {"processor time limit", SIGXCPU, processor_limit, NOT_AS_INIT | ONLY_DEFAULT},
    {"Ctrl-\\ on a terminal", SIGQUIT, quit_key, 0},
    {"terminal hangs up", SIGHUP, hangup, 0},
};
static const int all[SA_SIGNALS] = {SIGSEGV, SIGBUS,  SIGILL,  SIGFPE,  SIGABRT, SIGSYS,
                                    SIGTRAP, SIGQUIT, SIGXCPU, SIGXFSZ, SIGTERM, SIGHUP};
static const struct test sent[] = {
    {"sent to itself", 0, kills_itself, 0},
    {"sent to its thread", 0, raises, ON_THREADS},
    {"sent by another process", 0, outside_kills, 0},
    {"queued with a value", 0, queues_value, 0},
};

/* ---- the child --------------------------------------------------------------------------- */

static void arrange(void (*with)(int, siginfo_t *, void *), struct sigaction *before)
{
    struct sigaction act = {.sa_flags = SA_SIGINFO | SA_ONSTACK};
    act.sa_sigaction = with;
    MUST(sigaction(plan.sig, &act, before) == 0);
}

static void *fall(void *unused)
{
    static struct sa_arena another;
    struct sa_why why;
    if (plan.thread == TOUCHED)
        MUST(sa_arena_make(&another, 1, 1, &why) == SA_OK);
    plan.test->body(plan.sig);
    usleep(3000); /* sent to the process, another thread may take it */
    return unused;
}

static void child(void)
{
    static struct sa_arena arena;
    struct sa_why why;
    int before;
    alarm(10);
    for (int i = 0; i < SA_SIGNALS; i++)
        signal(all[i], SIG_DFL);
    if (plan.how == IGNORED)
        signal(plan.sig, SIG_IGN);
    if (plan.how == HANDLER && plan.test->flags & ABORTS)
        signal(plan.sig, aborts);
    else if (plan.how == HANDLER)
        arrange(earlier, NULL);
    if (!plan.armed)
        MUST(sa_disarm(&why) == SA_OK);
    MUST(sa_set_lockdown_fd(-1, &before, &why) == SA_OK);
    MUST(sa_arena_make(&arena, 100, 1, &why) == SA_OK && sa_fill_end(&arena, true) == SA_OK);
    if (plan.how == CALLS_ON)
        arrange(calls_on, &below);
    if (plan.how == RAISES_ON)
        arrange(raises_on, &below);
    if (plan.thread != INIT) {
        MUST(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
        raise(SIGSTOP); /* the tracer gets ready */
    }
    pthread_t thread;
    if (plan.thread == MAIN || plan.thread == INIT) {
        fall(NULL);
    } else {
        MUST(pthread_create(&thread, NULL, fall, NULL) == 0);
        MUST(pthread_join(thread, NULL) == 0);
    }
    _exit(0);
}

/* ---- the parent ---------------------------------------------------------------------------- */

static void set_debug_register(pid_t pid)
{
#if defined(__x86_64__)
    (void)ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[0]), (void *)watched);
    (void)ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[7]), (void *)1L);
#else
    (void)pid;
#endif
}

/* See it to its end; *last gets the siginfo of the last of its fatal signals. */
static int trace(pid_t pid, siginfo_t *last)
{
    int status;
    bool ready = false;
    for (;;) {
        pid_t tid = waitpid(-1, &status, __WALL);
        MUST(tid > 0);
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (tid == pid)
                return status;
            continue;
        }
        int sig = WSTOPSIG(status);
        siginfo_t info = {0};
        if (tid == pid && !ready) {
            ready = true;
            MUST(ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)PTRACE_O_TRACECLONE) == 0);
            if (plan.test->flags & DEBUGGED)
                set_debug_register(pid);
            sig = 0;
        } else if (status >> 16 || sig == SIGSTOP) {
            sig = 0; /* a thread begins */
        } else if (ptrace(PTRACE_GETSIGINFO, tid, NULL, &info) == 0 && sig == info.si_signo) {
            *last = info;
        }
        (void)ptrace(PTRACE_CONT, tid, NULL, (void *)(long)sig); /* or it is gone */
    }
}

static size_t put_info(char *out, size_t room, const siginfo_t *info, pid_t self)
{
    int sig = info->si_signo, n;
    bool has_address = info->si_code > 0 && info->si_code != SI_KERNEL &&
                       (sig == SIGSEGV || sig == SIGBUS || sig == SIGILL || sig == SIGFPE ||
                        sig == SIGTRAP || sig == SIGSYS);
    if (has_address)
        n = snprintf(out, room, "code %d at %p", info->si_code, info->si_addr);
    else if (info->si_code == SI_QUEUE || info->si_code == SI_TIMER)
        n = snprintf(out, room, "code %d value %p", info->si_code, info->si_value.sival_ptr);
    else if (info->si_code <= 0)
        n = snprintf(out, room, "code %d from %s", info->si_code,
                     info->si_pid == self || (plan.thread == INIT && info->si_pid == 1) ? "itself"
                     : info->si_pid == shared->helper                                   ? "another"
                     : info->si_pid == 0                                                ? "nobody"
                                                                                        : "whom?");
    else
        n = snprintf(out, room, "code %d", info->si_code);
    return (size_t)n;
}

static void outcome(bool armed, char *out, size_t room)
{
    siginfo_t last = {0};
    memset(shared, 0, sizeof *shared);
    plan.armed = armed;
    fflush(NULL);
    long pid = plan.thread == INIT
                   ? syscall(SYS_clone, 0x20000000UL /* CLONE_NEWPID */ | SIGCHLD, 0, 0, 0, 0)
                   : fork();
    if (pid < 0) {
        snprintf(out, room, "refused");
        return;
    }
    if (pid == 0)
        child();
    int status;
    if (plan.thread == INIT)
        MUST(waitpid((pid_t)pid, &status, 0) == pid);
    else
        status = trace((pid_t)pid, &last);
    size_t at = 0;
    if (shared->handled_times) {
        at += (size_t)snprintf(out, room, "handler got ");
        at += put_info(out + at, room - at, &shared->handled, (pid_t)pid);
        if (shared->handled_times > 1)
            at += (size_t)snprintf(out + at, room - at, " %d times", shared->handled_times);
        at += (size_t)snprintf(out + at, room - at, "; ");
    }
    if (WIFSIGNALED(status)) {
        at += (size_t)snprintf(out + at, room - at, "SIG%s%s", sigabbrev_np(WTERMSIG(status)),
                               WCOREDUMP(status) ? ", core" : "");
        if (last.si_signo) {
            at += (size_t)snprintf(out + at, room - at, ", ");
            put_info(out + at, room - at, &last, (pid_t)pid);
        }
    } else if (WEXITSTATUS(status) == REFUSED) {
        snprintf(out, room, "refused by this machine");
    } else if (WEXITSTATUS(status) == 0) {
        snprintf(out + at, room - at, "lives");
    } else {
        snprintf(out + at, room - at, "exit %d", WEXITSTATUS(status));
    }
}

static int compare(const struct test *test, int sig, const char *name, enum disposition how,
                   enum thread thread)
{
    char without[256], with[256];
    plan.test = test;
    plan.sig = sig;
    plan.how = how;
    plan.thread = thread;
    outcome(false, without, sizeof without);
    outcome(true, with, sizeof with);
    printf("%s|SIG%s|%s|%s|%s|%s\n", name, sigabbrev_np(sig), dispositions[how], kinds[thread],
           without, with);
    return strcmp(without, with) != 0;
}

static int compare_all(const struct test *test, int sig, const char *name)
{
    int different = 0;
    for (int how = 0; how < DISPOSITIONS; how++) {
        bool aborting = test->flags & ABORTS;
        if ((test->flags & ONLY_DEFAULT && how != DEFAULT && how != HANDLER) ||
            (aborting && how != HANDLER))
            continue;
        bool stuck = how == CALLS_ON && test->flags & OVER;
        for (int thread = 0; thread < (stuck ? INIT : THREADS); thread++)
            if (thread == MAIN || (thread == INIT && !(test->flags & NOT_AS_INIT)) ||
                (thread != INIT && test->flags & ON_THREADS))
                different += compare(test, sig, name, (enum disposition)how, (enum thread)thread);
    }
    return different;
}

int main(void)
{
    int different = 0;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MUST(shared != MAP_FAILED);
    for (size_t i = 0; i < sizeof forced / sizeof forced[0]; i++)
        different += compare_all(&forced[i], forced[i].sig, forced[i].name);
    for (size_t i = 0; i < sizeof sent / sizeof sent[0]; i++)
        for (int k = 0; k < SA_SIGNALS; k++)
            different += compare_all(&sent[i], all[k], sent[i].name);
    for (size_t i = 0; i < sizeof special / sizeof special[0]; i++)
        different += compare_all(&special[i], special[i].sig, special[i].name);
    return different != 0;
}
