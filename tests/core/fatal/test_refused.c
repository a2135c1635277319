/* Fatal signals where a sandbox refuses what the handler asks of the kernel: the arenas are
 * wiped all the same, once, and the process ends. */
#include "arenas.h"

#ifndef __linux__
int main(int argc, char **argv)
{
    check_begin("test_refused", argc, argv);
    return check_end();
}
#else
#include "linux.h"

static struct sa_why why;
static struct sa_arena arena, sealed;
static int marker_ends[2];

static const struct {
    const char *name;
    long calls[3];
} refusals[] = {
    {"nothing", {0}},
    {"getpid", {SYS_getpid}},
    {"gettid", {SYS_gettid}},
    {"rt_sigaction", {SYS_rt_sigaction}},
    {"rt_sigprocmask", {SYS_rt_sigprocmask}},
    {"rt_tgsigqueueinfo", {SYS_rt_tgsigqueueinfo}},
    {"tgkill", {SYS_tgkill}},
    {"getpid and rt_sigaction", {SYS_getpid, SYS_rt_sigaction}},
    {"all that queue", {SYS_rt_tgsigqueueinfo, SYS_tgkill, SYS_tkill}},
    {"mprotect", {SYS_mprotect}},
    {"mincore", {SYS_mincore}},
    {"fstat", {SYS_fstat}},
    {"pwritev2", {SYS_pwritev2}},
    {"sigaltstack", {SYS_sigaltstack}},
};
enum { REFUSALS = sizeof refusals / sizeof refusals[0] };

static bool refuses(int refusal, long call)
{
    for (int i = 0; i < 3; i++)
        if (refusals[refusal].calls[i] == call)
            return true;
    return false;
}

/* ---- ways to fall, and who was there before --------------------------------------------- */

static void touches(void) { *(volatile char *)8 = 1; }

#if defined(__x86_64__)
enum { TRAP_IS_OVER = true }; /* once handled */
static void traps(void) { __asm__ __volatile__("int3"); }
#else
enum { TRAP_IS_OVER = false };
static void traps(void) { __asm__ __volatile__("brk #0"); }
#endif

static void raises(void) { (void)syscall(SYS_kill, (long)status_number("Pid:"), SIGXCPU); }

static const struct {
    int sig;
    void (*fall)(void);
} ways[] = {{SIGSEGV, touches}, {SIGTRAP, traps}, {SIGXCPU, raises}};
enum { FORCED = 2, WAYS = 3 };

static void exits(int sig)
{
    (void)sig;
    _exit(is_content(raw(&arena), 200, 3) ? 43 : 42);
}

static struct sigaction reported;
static int reports;

/* As faulthandler: takes itself off and raises the signal anew. */
static void raises_anew(int sig)
{
    if (++reports > 3)
        _exit(99);
    if (reports > 1)
        return;
    sigaction(sig, &reported, NULL);
    if (syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), sig))
        (void)syscall(SYS_tkill, syscall(SYS_gettid), sig);
}

static void (*const handlers[])(int) = {SIG_DFL, exits, raises_anew};
enum { BY_DEFAULT, EXITS, RAISES, HANDLERS };

struct fall {
    int refusal, error, way, handler;
};

static void falls(void *with)
{
    const struct fall *f = with;
    int before;
    alarm(5);
    OK(sa_set_lockdown_fd(marker_ends[1], &before, &why));
    signal(SIGXCPU, SIG_DFL);
    struct sigaction act = {.sa_handler = handlers[f->handler], .sa_flags = SA_NODEFER};
    if (f->way == FORCED) /* ours only where nobody handles it */
        make(&arena, 200, 1, 3);
    SAME(sigaction(ways[f->way].sig, &act, &reported), 0);
    if (f->way == FORCED && f->handler == BY_DEFAULT)
        OK(sa_arm(&ways[f->way].sig, 1, &why));
    if (f->way != FORCED)
        make(&arena, 200, 1, 3);
    make(&sealed, 200, 1, 4);
    OK(sa_seal(&sealed, &why));
    for (int i = 0; i < 3 && refusals[f->refusal].calls[i]; i++)
        deny(refusals[f->refusal].calls[i], f->error);
    ways[f->way].fall();
    pause_ms(50);
    _exit(98);
}

static void filters_once(void *unused)
{
    (void)unused;
    _exit(filter(SYS_getppid, SECCOMP_RET_ALLOW) ? 42 : 0);
}

#define NEEDS_FILTERS \
    if (under_tool()) \
        SKIP("a tool's own calls would be refused, too"); \
    if (WEXITSTATUS(in_child(filters_once, NULL)) != 42) \
    SKIP("filters of system calls cannot be had")

/* How it ends, and how many markers it left. */
static int end_of(struct fall *f, ssize_t *marks)
{
    char got[64];
    SAME(pipe(marker_ends), 0);
    int status = in_child(falls, f);
    close(marker_ends[1]);
    *marks = read(marker_ends[0], got, sizeof got);
    close(marker_ends[0]);
    return status;
}

/* ---- tests --------------------------------------------------------------------------------- */

static const int errors[] = {EPERM, ENOSYS};

/* Whether as many markers came as should. Where the C library asks by the same call, and a pipe
 * is no case of its own (before 6.18), nothing tells without fstat that the number is still
 * the marker's: none is written. */
static bool came(int refusal, ssize_t marks, ssize_t most)
{
    return marks >= (refuses(refusal, SYS_fstat) ? 0 : 1) && marks <= most;
}

static void wrong(const struct fall *f, int status, ssize_t marks)
{
    fprintf(stderr, "%s refused with %d, signal %d, handler %d: status %#x, %d markers\n",
            refusals[f->refusal].name, f->error, ways[f->way].sig, f->handler, (unsigned)status,
            (int)marks);
    _exit(1);
}

TEST(the_default)
{
    NEEDS_FILTERS;
    for (int i = 0; i < REFUSALS; i++)
        for (int way = 0; way < WAYS; way++)
            for (int e = 0; e < 2; e++) {
                struct fall f = {i, errors[e], way, BY_DEFAULT};
                ssize_t marks;
                int status = end_of(&f, &marks);
                bool killed = way == FORCED && (refuses(i, SYS_rt_sigaction) ||
                                                refuses(i, SYS_gettid) || refuses(i, SYS_tkill));
                if (death_of(status) != (killed ? SIGKILL : ways[way].sig) || !came(i, marks, 1))
                    wrong(&f, status, marks);
            }
}

/* The handler that was there before gets it, after the wipe. */
TEST(an_earlier_handler)
{
    NEEDS_FILTERS;
    for (int i = 0; i < REFUSALS; i++)
        for (int way = 0; way < FORCED; way++)
            for (int e = 0; e < 2; e++) {
                struct fall f = {i, errors[e], way, EXITS};
                ssize_t marks;
                int status = end_of(&f, &marks);
                if (!WIFEXITED(status) || WEXITSTATUS(status) != 42 || !came(i, marks, 1))
                    wrong(&f, status, marks);
            }
}

/* And where it raises the signal anew, that ends the process. */
TEST(an_earlier_handler_that_raises_anew)
{
    NEEDS_FILTERS;
    for (int i = 0; i < REFUSALS; i++)
        for (int way = 0; way < FORCED; way++)
            for (int e = 0; e < 2; e++) {
                struct fall f = {i, errors[e], way, RAISES};
                ssize_t marks;
                int status = end_of(&f, &marks);
                /* On x86-64 a trap is over when its handler returns, and what that would raise
                 * is refused it. On AArch64 the same instruction traps anew. */
                bool lives = TRAP_IS_OVER && way == 1 &&
                             (refuses(i, SYS_gettid) || refuses(i, SYS_tkill));
                if (lives ? WEXITSTATUS(status) != 98 : death_of(status) != ways[way].sig)
                    wrong(&f, status, marks);
                if (!came(i, marks, 2))
                    wrong(&f, status, marks);
            }
}

/* Where getpid is refused a child by fork is told apart by the token, which it sees wiped.
 * A limit: one by vfork is not, and wipes its parent's arenas when it falls. */
TEST(children_where_getpid_is_refused)
{
    NEEDS_FILTERS;
    char got;
    int before;
    /* Before 5.16 what dumps core takes along all that share its memory. */
    SAME(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), 0);
    SAME(pipe(marker_ends), 0);
    OK(sa_set_lockdown_fd(marker_ends[1], &before, &why));
    SAME(fcntl(marker_ends[0], F_SETFL, O_NONBLOCK), 0);
    make(&arena, 200, 1, 3);
    pid_t child = vfork(); /* a control: it is told apart by its id */
    if (child == 0)
        touches();
    SAME(death_of(check_wait(child)), SIGSEGV);
    CHECK(is_content(raw(&arena), 200, 3));
    deny(SYS_getpid, EPERM);
    child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (child == 0)
        touches();
    SAME(death_of(check_wait(child)), SIGSEGV);
    CHECK(is_content(raw(&arena), 200, 3));
    SAME(read(marker_ends[0], &got, 1), -1);
    child = vfork();
    if (child == 0)
        touches();
    SAME(death_of(check_wait(child)), SIGSEGV);
    SAME(sa_state_of(&arena), SA_IS_WIPED);
    SAME(read(marker_ends[0], &got, 1), 1);
}

static void falls_on_a_channel(void *unused)
{
    (void)unused;
    OK(sa_take_lockdown_fd(marker_ends[1], &why));
    make(&arena, 200, 1, 3);
    deny(SYS_getpid, EPERM);
    touches();
}

/* There the marker is the taker's alone, which is told by its id. */
TEST(the_marker_on_a_channel)
{
    NEEDS_FILTERS;
    char got[4];
    SAME(pipe(marker_ends), 0);
    SAME(death_of(in_child(falls_on_a_channel, NULL)), SIGSEGV);
    close(marker_ends[1]);
    SAME(read(marker_ends[0], got, sizeof got), 1);
}

int main(int argc, char **argv)
{
    check_begin("test_refused", argc, argv);
    RUN(the_marker_on_a_channel);
    RUN(children_where_getpid_is_refused);
    RUN(the_default);
    RUN(an_earlier_handler);
    RUN(an_earlier_handler_that_raises_anew);
    return check_end();
}
#endif
