/* Arming and disarming, and what becomes of a signal that is handed over. The
 * faults themselves, each in a program of its own, are in death/. */
#include "arenas.h"
#include "fatal/fatal.h"
#include "fatal/marker.h"

#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#ifdef __linux__
#include "linux.h"
#endif

static struct sa_why why;
static struct sa_arena arena;

static const int all[SA_SIGNALS] = {SIGSEGV, SIGBUS,  SIGILL,  SIGFPE,  SIGABRT, SIGSYS,
                                    SIGTRAP, SIGQUIT, SIGXCPU, SIGXFSZ, SIGTERM, SIGHUP};

static int state_of(int sig)
{
    struct sa_status now = status();
    for (int i = 0; i < SA_SIGNALS; i++)
        if (now.signals[i] == sig)
            return (int)now.handlers[i];
    return -1;
}

static void begin(void) { make(&arena, 200, 1, 3); }

static bool is_whole(void) { return is_content(raw(&arena), 200, 3); }

/* Valgrind does not deliver a signal that a handler queues again. */
#define NEEDS_QUEUED_SIGNALS \
    if (under_valgrind()) \
    SKIP("valgrind does not deliver what is queued again")

static void nothing(int sig) { (void)sig; }

/* ---- arming -------------------------------------------------------------------------------- */

TEST(armed_by_the_first_arena)
{
    for (int i = 0; i < SA_SIGNALS; i++) {
        struct sigaction now;
        SAME(state_of(all[i]), SA_HANDLER_OFF);
        SAME(sigaction(all[i], NULL, &now), 0);
        CHECK(now.sa_handler == SIG_DFL);
    }
    begin();
    for (int i = 0; i < SA_SIGNALS; i++) {
        struct sigaction now;
        SAME(state_of(all[i]), SA_HANDLER_ARMED);
        SAME(sigaction(all[i], NULL, &now), 0);
        CHECK(now.sa_flags & SA_SIGINFO && now.sa_flags & SA_ONSTACK);
        sigset_t want;
        os_fill_mask(&want); /* on macOS without faults */
        for (int k = 0; k < SA_SIGNALS; k++)
            SAME(sigismember(&now.sa_mask, all[k]), sigismember(&want, all[k]));
        SAME(now.sa_flags & SA_NODEFER, os_handler_flags());
        CHECK(sigismember(&now.sa_mask, SIGPIPE) && sigismember(&now.sa_mask, SIGALRM));
    }
}

#ifdef __linux__
static const uint64_t never_blocked = UINT64_C(1) << (SIGKILL - 1) | UINT64_C(1) << (SIGSTOP - 1);

/* The C library's own two as well, which it does not let one ask about. */
TEST(blocks_every_signal)
{
    if (under_tool())
        SKIP("handlers of a tool's are in place");
    begin();
    for (int i = 0; i < SA_SIGNALS; i++) {
        struct {
            void (*handler)(int);
            unsigned long flags;
            void (*restorer)(void);
            uint64_t mask;
        } raw;
        SAME(syscall(SYS_rt_sigaction, all[i], NULL, &raw, 8), 0);
        CHECK((raw.mask | never_blocked) == UINT64_MAX);
    }
}
#endif

/* A handler that was there keeps the optional signals, and is put back elsewhere. */
TEST(what_was_there_before)
{
    struct sigaction mine = {.sa_handler = nothing, .sa_flags = SA_RESTART}, now;
    sigemptyset(&mine.sa_mask);
    sigaddset(&mine.sa_mask, SIGUSR2);
    signal(SIGXFSZ, SIG_IGN);
    for (int i = 0; i < SA_SIGNALS; i += 2)
        if (all[i] != SIGXFSZ)
            SAME(sigaction(all[i], &mine, NULL), 0);
    begin();
    for (int i = 0; i < SA_SIGNALS; i++) {
        bool handled = i % 2 == 0 || all[i] == SIGXFSZ;
        SAME(state_of(all[i]), i >= 7 && handled ? SA_HANDLER_OFF : SA_HANDLER_ARMED);
    }
    OK(sa_disarm(&why));
    for (int i = 0; i < SA_SIGNALS; i++) {
        SAME(sigaction(all[i], NULL, &now), 0);
        SAME(state_of(all[i]), SA_HANDLER_OFF);
        if (all[i] == SIGXFSZ) {
            CHECK(now.sa_handler == SIG_IGN);
        } else if (i % 2 == 0) {
            CHECK(now.sa_handler == nothing && now.sa_flags & SA_RESTART);
            CHECK(sigismember(&now.sa_mask, SIGUSR2) && !sigismember(&now.sa_mask, SIGUSR1));
        } else {
            CHECK(now.sa_handler == SIG_DFL);
        }
    }
}

TEST(disarm_sticks)
{
    begin();
    OK(sa_disarm(&why));
    OK(sa_disarm(&why));
    struct sa_arena another = {0};
    make(&another, 1, 1, 1);
    for (int i = 0; i < SA_SIGNALS; i++)
        SAME(state_of(all[i]), SA_HANDLER_OFF);
    OK(sa_arm(NULL, 0, &why));
    for (int i = 0; i < SA_SIGNALS; i++)
        SAME(state_of(all[i]), SA_HANDLER_ARMED);
}

TEST(disarm_before_first_use)
{
    OK(sa_disarm(&why));
    begin();
    for (int i = 0; i < SA_SIGNALS; i++)
        SAME(state_of(all[i]), SA_HANDLER_OFF);
}

TEST(chosen_ones)
{
    const int two[] = {SIGSEGV, SIGTERM}, bad[] = {SIGSEGV, SIGCHLD};
    SAME(sa_arm(bad, 2, &why), SA_BAD_SIGNAL);
    SAME(state_of(SIGSEGV), SA_HANDLER_OFF);
    OK(sa_arm(two, 2, &why));
    begin(); /* adds none */
    for (int i = 0; i < SA_SIGNALS; i++)
        SAME(state_of(all[i]),
             all[i] == SIGSEGV || all[i] == SIGTERM ? SA_HANDLER_ARMED : SA_HANDLER_OFF);
    OK(sa_arm(two, 0, &why));
    OK(sa_arm(NULL, 0, &why));
    SAME(state_of(SIGHUP), SA_HANDLER_ARMED);
}

static int state_among(int sig, const struct sa_status *now)
{
    for (size_t i = 0; i < now->signal_count; i++)
        if (now->signals[i] == sig)
            return (int)now->handlers[i];
    return -1;
}

/* Whatever ends the process by default, and nothing else. */
TEST(each_that_ends_the_process)
{
    static const int never[] = {SIGKILL, SIGSTOP, SIGCHLD, SIGCONT, SIGTSTP,
                                SIGTTIN, SIGTTOU, SIGURG,  SIGWINCH};
    if (under_valgrind())
        SKIP("valgrind keeps some for itself");
    begin();
    struct sa_status before = status();
    SAME(before.signal_count, SA_SIGNALS);
    for (int sig = -1; sig < 100; sig++) {
        struct sigaction now;
        bool ends = sig > 0 && sig < NSIG && sigaction(sig, NULL, &now) == 0;
        for (size_t i = 0; i < sizeof never / sizeof never[0]; i++)
            ends = ends && sig != never[i];
#ifndef __linux__
        ends = ends && sig != SIGIO && sig != SIGINFO;
#endif
        if (ends && state_among(sig, &before) != SA_HANDLER_ARMED)
            signal(sig, SIG_DFL); /* whoever started us may have had it ignored */
        SAME(sa_arm(&sig, 1, &why), ends ? SA_OK : SA_BAD_SIGNAL);
        struct sa_status after = status();
        SAME(state_among(sig, &after), ends ? SA_HANDLER_ARMED : -1);
        if (ends)
            SAME(sigaction(sig, NULL, &now), 0);
    }
    CHECK(status().signal_count > SA_SIGNALS);
    OK(sa_disarm(&why));
    SAME(status().signal_count, SA_SIGNALS);
    for (int sig = 1; sig < NSIG; sig++) {
        struct sigaction now;
        CHECK(sigaction(sig, NULL, &now) || now.sa_handler == SIG_DFL || sig == SIGKILL);
    }
}

static int sent_while_armed;

static void is_armed_and_sent(void *with)
{
    (void)with;
    signal(sent_while_armed, SIG_DFL);
    begin();
    no_marker();
    OK(sa_arm(&sent_while_armed, 1, &why));
    raise(sent_while_armed);
    pause_ms(100);
}

TEST(each_of_them_kills_as_itself)
{
    NEEDS_QUEUED_SIGNALS;
    static const int more[] = {SIGINT, SIGPIPE, SIGALRM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGPROF};
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        sent_while_armed = more[i];
        SAME(death_of(in_child(is_armed_and_sent, NULL)), more[i]);
    }
#ifdef __linux__
    for (sent_while_armed = SIGRTMIN; sent_while_armed <= SIGRTMAX; sent_while_armed += 7)
        SAME(death_of(in_child(is_armed_and_sent, NULL)), sent_while_armed);
#endif
}

/* Of these each is somebody's: a framework's, or ignored, as SIGPIPE is by Python. */
TEST(handled_or_ignored_by_others)
{
    const int two[] = {SIGINT, SIGPIPE};
    struct sigaction now;
    signal(SIGINT, nothing);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGABRT, SIG_IGN); /* nothing forces it, and programs executed are to ignore it */
    begin();
    OK(sa_arm(two, 2, &why));
    SAME(status().signal_count, SA_SIGNALS);
    SAME(sigaction(SIGINT, NULL, &now), 0);
    CHECK(now.sa_handler == nothing);
    SAME(sigaction(SIGPIPE, NULL, &now), 0);
    CHECK(now.sa_handler == SIG_IGN);
    SAME(sigaction(SIGABRT, NULL, &now), 0);
    CHECK(now.sa_handler == SIG_IGN);
    SAME(state_of(SIGABRT), SA_HANDLER_OFF);
}

TEST(shadowed)
{
    begin();
    struct sigaction theirs = {.sa_handler = nothing}, ours, now;
    SAME(sigaction(SIGSEGV, &theirs, &ours), 0);
    SAME(state_of(SIGSEGV), SA_HANDLER_SHADOWED);
    OK(sa_disarm(&why)); /* what is theirs stays */
    SAME(sigaction(SIGSEGV, NULL, &now), 0);
    CHECK(now.sa_handler == nothing);
    SAME(sigaction(SIGBUS, NULL, &now), 0);
    CHECK(now.sa_handler == SIG_DFL);
}

TEST(outermost_again)
{
    begin();
    struct sigaction theirs = {.sa_handler = nothing}, now;
    for (int i = 0; i < 10; i++) { /* as often as one likes */
        SAME(sigaction(SIGSEGV, &theirs, NULL), 0);
        SAME(state_of(SIGSEGV), SA_HANDLER_SHADOWED);
        OK(sa_arm(NULL, 0, &why));
        SAME(state_of(SIGSEGV), SA_HANDLER_ARMED);
    }
    OK(sa_disarm(&why));
    SAME(sigaction(SIGSEGV, NULL, &now), 0);
    CHECK(now.sa_handler == nothing);
}

/* ---- handing over --------------------------------------------------------------------------- */

static siginfo_t seen;
static volatile sig_atomic_t times, saw_noise;
static sigjmp_buf out;
static volatile sig_atomic_t jump;

static void previous(int sig, siginfo_t *info, void *context)
{
    (void)context;
    seen = *info;
    saw_noise = !is_whole();
    times++;
    if (jump)
        siglongjmp(out, sig);
}

static void have_previous(int sig)
{
    struct sigaction act = {.sa_flags = SA_SIGINFO | SA_ONSTACK};
    act.sa_sigaction = previous;
    SAME(sigaction(sig, &act, NULL), 0);
}

/* The handler of before gets the signal as it came, once, after the wipe. */
TEST(sent_to_the_handler_of_before)
{
    NEEDS_QUEUED_SIGNALS;
    static const int sigs[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP};
    no_marker();
    for (int i = 0; i < 7; i++)
        have_previous(sigs[i]);
    for (int i = 0; i < 7; i++) {
        begin(); /* arms again what the last one took off */
        SAME(state_of(sigs[i]), SA_HANDLER_ARMED);
        errno = 4711;
        SAME(kill(getpid(), sigs[i]), 0);
        for (int k = 0; times == i && k < 1000; k++)
            pause_ms(1);
        SAME(times, i + 1);
        SAME(errno, 4711);
        SAME(saw_noise, 1);
        SAME(seen.si_signo, sigs[i]);
#ifdef __linux__
        SAME(seen.si_code, SI_USER);
        SAME(seen.si_pid, getpid());
        SAME(seen.si_uid, getuid());
#endif
        SAME(state_of(sigs[i]), SA_HANDLER_OFF); /* it was handed over, not kept */
        sa_close(&arena);
    }
    begin();
    for (int i = 0; i < 7; i++)
        SAME(state_of(sigs[i]), SA_HANDLER_ARMED);
    CHECK(is_whole());
}

#ifdef __linux__
TEST(a_queued_value)
{
    NEEDS_QUEUED_SIGNALS;
    no_marker();
    have_previous(SIGSEGV);
    begin();
    SAME(sigqueue(getpid(), SIGSEGV, (union sigval){.sival_ptr = (void *)0x1234567}), 0);
    pause_ms(1); /* a race detector delivers late */
    SAME(times, 1);
    SAME(saw_noise, 1);
    SAME(seen.si_code, SI_QUEUE);
    CHECK(seen.si_value.sival_ptr == (void *)0x1234567);
}
#endif

/* A fault: its address and code; the handler of before may survive it. */
TEST(faults_to_the_handler_of_before)
{
    NEEDS_QUEUED_SIGNALS;
#ifdef XNU_H
    SKIP("Darwin makes the address up again, Linux does not");
#endif
    no_marker();
    have_previous(SIGSEGV);
    have_previous(SIGBUS);
    jump = 1;
    for (int i = 0; i < 3; i++) {
        begin();
        uint8_t *beyond = raw(&arena) + 200;
        if (sigsetjmp(out, 1) == 0)
            *(volatile uint8_t *)beyond = 1;
        SAME(times, i + 1);
        SAME(saw_noise, 1);
        CHECK(seen.si_addr == beyond);
        CHECK(seen.si_code == SEGV_ACCERR || seen.si_signo == SIGBUS);
        SAME(sa_state_of(&arena), SA_IS_WIPED);
        sa_close(&arena);
    }
}

/* An ignored signal that is sent wipes nothing and takes nothing off. */
TEST(ignored_and_sent)
{
    NEEDS_QUEUED_SIGNALS;
    static const int sigs[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP};
    int ends[2], before;
    SAME(pipe(ends), 0);
    OK(sa_set_lockdown_fd(ends[1], &before, &why));
    for (int i = 0; i < 7; i++)
        signal(sigs[i], SIG_IGN);
    begin();
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < 7; i++) {
            errno = 4711;
            SAME(kill(getpid(), sigs[i]), 0);
            SAME(raise(sigs[i]), 0);
            SAME(errno, 4711);
            CHECK(is_whole());
            SAME(sa_state_of(&arena), SA_USABLE);
            SAME(state_of(sigs[i]), sigs[i] == SIGABRT ? SA_HANDLER_OFF : SA_HANDLER_ARMED);
        }
    close(ends[1]);
    char got;
    OK(sa_set_lockdown_fd(-1, &before, &why));
    SAME(read(ends[0], &got, 1), 0);
}

#ifdef __linux__
/* Their codes are a fault's, yet nothing forces them: the kernel has checked memory
 * tags late, found a broken page elsewhere, or was asked to tell of an event. */
TEST(ignored_notices)
{
    NEEDS_QUEUED_SIGNALS;
    static const int notices[][2] = {{SIGSEGV, 8}, {SIGBUS, 5}, {SIGTRAP, 6}};
    no_marker();
    for (int i = 0; i < 3; i++)
        signal(notices[i][0], SIG_IGN);
    begin();
    for (int i = 0; i < 3; i++) {
        siginfo_t info = {.si_signo = notices[i][0], .si_code = notices[i][1]};
        SAME(os_requeue(notices[i][0], &info), 0);
        pause_ms(1); /* a race detector delivers late */
        CHECK(is_whole());
        SAME(state_of(notices[i][0]), SA_HANDLER_ARMED);
    }
}
#endif

/* Not so where the kernel forces it: that is death, as without us. */
static void ignores_and_faults(void *unused)
{
    (void)unused;
    no_marker();
    signal(SIGSEGV, SIG_IGN);
    signal(SIGBUS, SIG_IGN);
    begin();
    raw(&arena)[200] = 1;
}

TEST(ignored_and_forced)
{
    NEEDS_QUEUED_SIGNALS;
    CHECK(is_fault(death_of(in_child(ignores_and_faults, NULL))));
}

static void is_sent(void *with)
{
    no_marker();
    begin();
    raise(*(int *)with);
    pause_ms(100);
}

TEST(each_signal_kills_as_itself)
{
    NEEDS_QUEUED_SIGNALS;
    for (int i = 0; i < SA_SIGNALS; i++) {
        int sig = all[i];
        SAME(death_of(in_child(is_sent, &sig)), sig);
    }
}

/* ---- the marker ------------------------------------------------------------------------------- */

static int marker_ends[2];

static void is_sent_with_default(void *with)
{
    SAME(dup2(marker_ends[1], 2), 2);
    marker_start(); /* as if loaded now */
    begin();
    raise(*(int *)with);
}

static void is_sent_with_marker(void *with)
{
    int before;
    OK(sa_set_lockdown_fd(marker_ends[1], &before, &why));
    begin();
    raise(*(int *)with);
}

static size_t markers(void (*body)(void *), int sig)
{
    char got[16];
    SAME(pipe(marker_ends), 0);
    SAME(death_of(in_child(body, &sig)), sig);
    close(marker_ends[1]);
    ssize_t n = read(marker_ends[0], got, sizeof got);
    close(marker_ends[0]);
    for (ssize_t i = 0; i < n; i++)
        SAME(got[i], 'F');
    return (size_t)n;
}

/* TERM and HUP end many a process that is well: standard error is spared them. */
TEST(who_gets_the_marker)
{
    NEEDS_QUEUED_SIGNALS;
    for (int i = 0; i < SA_SIGNALS; i++) {
        SAME(markers(is_sent_with_marker, all[i]), 1);
        SAME(markers(is_sent_with_default, all[i]), all[i] != SIGTERM && all[i] != SIGHUP);
    }
}

/* Whoever reads it may rely on the wipe: the last page of a large arena, which is
 * the last to be wiped, holds noise by then. */
static const size_t LARGE = (size_t)32 << 20;

static void *looks_when_told(void *with)
{
    char byte;
    SAME(read(marker_ends[0], &byte, 1), 1);
    bool wiped = *(volatile uint8_t *)((uint8_t *)with + LARGE - 2) != 0x5a ||
                 *(volatile uint8_t *)((uint8_t *)with + LARGE - 1) != 0x5a;
    _exit(wiped ? 42 : 43);
}

static void is_watched(void *unused)
{
    (void)unused;
    int before;
    pthread_t thread;
    struct sa_arena large = {0};
    SAME(pipe(marker_ends), 0);
    OK(sa_set_lockdown_fd(marker_ends[1], &before, &why));
    OK(sa_arena_make(&large, LARGE, 1, &why));
    memset(raw(&large), 0x5a, LARGE);
    OK(sa_fill_end(&large, true));
    signal(SIGABRT, nothing); /* so that we live on until the thread has looked */
    OK(sa_arm((const int[]){SIGABRT}, 1, &why));
    SAME(pthread_create(&thread, NULL, looks_when_told, raw(&large)), 0);
    raise(SIGABRT);
    pause();
}

TEST(the_marker_comes_after_the_wipe)
{
    NEEDS_QUEUED_SIGNALS;
    if (UNDER_TSAN)
        SKIP("looks at pages without asking");
    for (int i = 0; i < 3; i++) {
        int status = in_child(is_watched, NULL);
        CHECK(WIFEXITED(status));
        SAME(WEXITSTATUS(status), 42);
    }
}

/* ---- others that chain ------------------------------------------------------------------------- */

static struct sigaction below;

static void calls_us(int sig, siginfo_t *info, void *context)
{
    if (++times > 300) /* it is to end, and soon where we can be told from the kernel */
        _exit(99);
    below.sa_sigaction(sig, info, context);
}

/* As a runtime does that installs itself later and passes on what is not its own
 * by calling the handler that it found. */
static void chains(void *with)
{
    no_marker();
    begin();
    struct sigaction act = {.sa_flags = SA_SIGINFO | SA_ONSTACK};
    act.sa_sigaction = calls_us;
    SAME(sigaction(SIGSEGV, &act, &below), 0);
    SAME(sigaction(SIGBUS, &act, NULL), 0);
    if (with)
        OK(sa_arm(NULL, 0, &why)); /* on top of it once more */
    raw(&arena)[200] = 1;
}

TEST(called_by_the_one_on_top)
{
    NEEDS_QUEUED_SIGNALS;
    CHECK(is_fault(death_of(in_child(chains, NULL))));
}

TEST(called_by_one_in_the_middle)
{
    NEEDS_QUEUED_SIGNALS;
    CHECK(is_fault(death_of(in_child(chains, &arena))));
}

/* Its mask is like ours, as if the kernel had called us: Go's is. */
static void chains_with_all_blocked(void *unused)
{
    (void)unused;
    int before;
    OK(sa_set_lockdown_fd(marker_ends[1], &before, &why));
    begin();
    struct sigaction act = {.sa_flags = SA_SIGINFO | SA_ONSTACK};
    act.sa_sigaction = calls_us;
    memset(&act.sa_mask, 0xff, sizeof act.sa_mask);
    SAME(sigaction(SIGSEGV, &act, &below), 0);
    SAME(sigaction(SIGBUS, &act, NULL), 0);
    raw(&arena)[200] = 1;
}

TEST(called_by_one_that_blocks_all)
{
    NEEDS_QUEUED_SIGNALS;
    char got[16];
    SAME(pipe(marker_ends), 0);
    CHECK(is_fault(death_of(in_child(chains_with_all_blocked, NULL))));
    close(marker_ends[1]);
    SAME(read(marker_ends[0], got, sizeof got), 1); /* one pass */
}

/* The one that is next calls us, whom it found when it installed itself anew. */
static void chains_in_a_ring(void *unused)
{
    (void)unused;
    no_marker();
    struct sigaction act = {.sa_flags = SA_SIGINFO | SA_ONSTACK};
    act.sa_sigaction = calls_us;
    SAME(sigaction(SIGSEGV, &act, NULL), 0);
    SAME(sigaction(SIGBUS, &act, NULL), 0);
    begin();
    SAME(sigaction(SIGSEGV, &act, &below), 0);
    SAME(sigaction(SIGBUS, &act, NULL), 0);
    times = 290; /* few are allowed */
    raw(&arena)[200] = 1;
}

TEST(called_by_the_one_that_is_next)
{
    NEEDS_QUEUED_SIGNALS;
    CHECK(is_fault(death_of(in_child(chains_in_a_ring, NULL))));
}

static void restores_and_raises(int sig)
{
    SAME(sigaction(sig, &below, NULL), 0);
    raise(sig);
}

/* As crash reporters do. */
static void chains_by_raising(void *unused)
{
    (void)unused;
    no_marker();
    begin();
    struct sigaction act = {.sa_handler = restores_and_raises, .sa_flags = SA_ONSTACK | SA_NODEFER};
    SAME(sigaction(SIGSEGV, &act, &below), 0);
    raw(&arena)[200] = 1;
}

TEST(raised_by_the_one_on_top)
{
    NEEDS_QUEUED_SIGNALS;
    CHECK(is_fault(death_of(in_child(chains_by_raising, NULL))));
}

/* ---- others that come and go ------------------------------------------------------------------- */

/* As faulthandler does: takes itself off, blindly, and raises the signal anew. */
static struct reporter {
    struct sigaction before[NSIG];
    bool on;
} reporters[2];

static void take_off(struct reporter *r)
{
    if (r->on) {
        sigaction(SIGSEGV, &r->before[SIGSEGV], NULL);
        sigaction(SIGBUS, &r->before[SIGBUS], NULL);
        sigaction(SIGFPE, &r->before[SIGFPE], NULL);
    }
    r->on = false;
}

static void report(struct reporter *r, int sig)
{
    if (++times > 8)
        _exit(99);
    if (!r->on)
        return;
    take_off(r);
    raise(sig);
}

static void report_0(int sig) { report(&reporters[0], sig); }
static void report_1(int sig) { report(&reporters[1], sig); }

static void put_on(struct reporter *r)
{
    struct sigaction act = {.sa_handler = r == reporters ? report_0 : report_1,
                            .sa_flags = SA_NODEFER | SA_ONSTACK};
    if (!r->on) {
        SAME(sigaction(SIGSEGV, &act, &r->before[SIGSEGV]), 0);
        SAME(sigaction(SIGBUS, &act, &r->before[SIGBUS]), 0);
        SAME(sigaction(SIGFPE, &act, &r->before[SIGFPE]), 0);
    }
    r->on = true;
}

enum { STEPS = 4 };

static void steps_and_dies(void *with)
{
    const char *steps = with;
    int before;
    OK(sa_set_lockdown_fd(marker_ends[1], &before, &why));
    alarm(5);
    for (const char *step = steps + 1; *step; step++)
        switch (*step) {
        case 'f': make(&(struct sa_arena){0}, 200, 1, 3); break; /* lives as long as we do */
        case 'a': OK(sa_arm(NULL, 0, &why)); break;
        case 'e': put_on(&reporters[0]); break;
        case 'd': take_off(&reporters[0]); break;
        case 'E': put_on(&reporters[1]); break;
        case 'D': take_off(&reporters[1]); break;
        }
    if (state_of(SIGFPE) == SA_HANDLER_ARMED)
        SAME(write(marker_ends[1], "+", 1), 1);
    if (*steps == '!')
        raise(SIGFPE);
    else
        *(volatile char *)8 = 1;
    _exit(98);
}

/* Every order of them: no fault spins, or ends otherwise than by its signal, and where we
 * were in place it was wiped, not more often than there are levels. */
TEST(others_go_in_any_order)
{
    NEEDS_QUEUED_SIGNALS;
    static const char what[] = "faedED";
    char steps[STEPS + 2] = "", got[64];
    int count = 1;
    for (int i = 0; i < STEPS; i++)
        count *= 6;
    for (int n = 0; n < count; n += under_tool() ? 31 : 1)
        for (int sent = 0; sent < 2; sent++) {
            steps[0] = sent ? '!' : '?';
            for (int i = 0, left = n; i < STEPS; i++, left /= 6)
                steps[1 + i] = what[left % 6];
            if (!strchr(steps, 'f'))
                continue; /* without an arena nothing is ours */
            SAME(pipe(marker_ends), 0);
            int death = death_of(in_child(steps_and_dies, steps));
            if (sent ? death != SIGFPE : !is_fault(death))
                check_failed(__FILE__, __LINE__, steps);
            close(marker_ends[1]);
            ssize_t marks = read(marker_ends[0], got, sizeof got);
            close(marker_ends[0]);
            bool armed = marks > 0 && got[0] == '+';
            if (marks > 3 || (armed && marks < 2))
                check_failed(__FILE__, __LINE__, steps);
        }
}

static void one(int sig) { (void)sig; }
static void two(int sig) { (void)sig; }
static void three(int sig) { (void)sig; }
static void four(int sig) { (void)sig; }
static void five(int sig) { (void)sig; }
static void six(int sig) { (void)sig; }
static void seven(int sig) { (void)sig; }
static void eight(int sig) { (void)sig; }

/* More than take turns anywhere. To put the same function on again would have it call the
 * one that calls it; so it stays on top, and arm() says so. */
TEST(more_levels_than_there_are)
{
    static void (*const handlers[])(int) = {one, two, three, four, five, six, seven, eight};
    begin();
    for (int i = 0; i < 8; i++) {
        signal(SIGSEGV, handlers[i]);
        SAME(state_of(SIGSEGV), SA_HANDLER_SHADOWED);
        SAME(sa_arm(NULL, 0, &why), i < 7 ? SA_OK : SA_OS_ERROR);
        SAME(state_of(SIGSEGV), i < 7 ? SA_HANDLER_ARMED : SA_HANDLER_SHADOWED);
    }
    SAME(why.error, EMLINK);
    CHECK(why.hint);
    SAME(state_of(SIGBUS), SA_HANDLER_ARMED);
    signal(SIGSEGV, three); /* one that had its turn has it again */
    OK(sa_arm(NULL, 0, &why));
    SAME(state_of(SIGSEGV), SA_HANDLER_ARMED);
    OK(sa_disarm(&why));
    struct sigaction now;
    SAME(sigaction(SIGSEGV, NULL, &now), 0);
    CHECK(now.sa_handler == three);
}

/* ---- masks ---------------------------------------------------------------------------------------- */

static pthread_t falling;
static _Atomic bool *in_time; /* shared with the child */

/* By the last page, which is wiped last, it tells whether the signal came before the pass was
 * over: one that comes as the handler returns may end the process first, with us or without. */
static void *disturbs(void *with)
{
    const volatile uint8_t *first = with;
    const volatile uint64_t *last = (const void *)((const uint8_t *)with + LARGE - sizeof *last);
    while (first[0] == 0x5a && first[1] == 0x5a && first[2] == 0x5a)
        ;
    pthread_kill(falling, SIGUSR1);
    atomic_store(in_time, *last == UINT64_C(0x5a5a5a5a5a5a5a5a));
    return NULL;
}

static void is_disturbed(void *unused)
{
    (void)unused;
    int before;
    pthread_t thread;
    struct sa_arena large = {0};
    OK(sa_set_lockdown_fd(marker_ends[1], &before, &why));
    OK(sa_arena_make(&large, LARGE, 1, &why));
    memset(raw(&large), 0x5a, LARGE);
    OK(sa_fill_end(&large, true));
    falling = pthread_self();
    SAME(pthread_create(&thread, NULL, disturbs, raw(&large)), 0);
    *(volatile char *)8 = 1;
}

/* A signal that ends the process comes once the pass has begun. */
TEST(other_signals_wait_for_the_pass)
{
    NEEDS_QUEUED_SIGNALS;
    if (UNDER_TSAN)
        SKIP("looks at pages without asking");
    in_time = mmap(NULL, sizeof *in_time, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANON, -1, 0);
    CHECK(in_time != MAP_FAILED);
    for (int waited = 0; waited < 20; waited += *in_time) {
        char got[16];
        *in_time = false;
        SAME(pipe(marker_ends), 0);
        int death = death_of(in_child(is_disturbed, NULL));
        if (!is_fault(death) && *in_time)
            SAME(death, SIGSEGV); /* says what it was */
        if (!is_fault(death))
            SAME(death, SIGUSR1);
        close(marker_ends[1]);
        SAME(read(marker_ends[0], got, sizeof got), 1); /* the pass was whole, in any case */
        close(marker_ends[0]);
    }
}

static sigset_t inside;

static void looks_at_mask(int sig)
{
    (void)sig;
    times++;
    pthread_sigmask(SIG_BLOCK, NULL, &inside);
}

/* Whether it is queued for the earlier handler, or that is called by ours, as where the
 * signal was only let in for a call: it runs with the mask that it would have had. */
TEST(the_mask_of_the_handler_of_before)
{
    NEEDS_QUEUED_SIGNALS;
    if (UNDER_TSAN)
        SKIP("a race detector delivers late, with all blocked");
    for (int i = 0; i < 2; i++) {
        sigset_t outside, none;
        sigemptyset(&none);
        sigemptyset(&outside);
        sigaddset(&outside, SIGUSR2);
        if (i)
            sigaddset(&outside, SIGABRT);
        struct sigaction act = {.sa_handler = looks_at_mask};
        sigemptyset(&act.sa_mask);
        sigaddset(&act.sa_mask, SIGUSR1);
        SAME(sigaction(SIGABRT, &act, NULL), 0);
        no_marker();
        begin();
        SAME(pthread_sigmask(SIG_SETMASK, &outside, NULL), 0);
        times = 0;
        raise(SIGABRT);
        if (i)
            sigsuspend(&none);
        SAME(times, 1);
        for (int n = 1; n < NSIG; n++)
            SAME(sigismember(&inside, n) == 1, n == SIGABRT || n == SIGUSR1 || n == SIGUSR2);
        sa_close(&arena);
    }
}

/* ---- threads -------------------------------------------------------------------------------------- */

#ifdef __linux__
static pthread_barrier_t line;
static _Atomic int counted;

static void count(int sig)
{
    (void)sig;
    atomic_fetch_add(&counted, 1);
}

static void *raises(void *with)
{
    for (int i = rounds(20000); i--;) {
        pthread_barrier_wait(&line);
        raise(SIGFPE);
        pthread_barrier_wait(&line);
    }
    return with;
}

/* Signals on several threads at once each get to the handler of before. */
TEST(all_at_once)
{
    NEEDS_QUEUED_SIGNALS;
    enum { THREADS = 3 };
    pthread_t threads[THREADS];
    no_marker();
    signal(SIGFPE, count);
    begin();
    sa_close(&arena); /* there is nothing to wipe: this is about handing over */
    SAME(pthread_barrier_init(&line, NULL, THREADS + 1), 0);
    for (int i = 0; i < THREADS; i++)
        SAME(pthread_create(&threads[i], NULL, raises, NULL), 0);
    for (int i = 1, n = rounds(20000); i <= n; i++) {
        pthread_barrier_wait(&line);
        pthread_barrier_wait(&line);
        SAME(counted, i * THREADS);
        struct sa_arena another = {0};
        make(&another, 1, 1, 1); /* arms again */
        sa_close(&another);
    }
    for (int i = 0; i < THREADS; i++)
        SAME(pthread_join(threads[i], NULL), 0);
}

/* ---- the first process of a namespace ------------------------------------------------------------ */

static int in_namespace(void (*body)(void))
{
    fflush(NULL);
    long pid = syscall(SYS_clone, 0x20000000UL /* CLONE_NEWPID */ | SIGCHLD, 0, 0, 0, 0);
    if (pid < 0)
        return -1;
    if (pid == 0) {
        alarm(HANGS);
        body();
        _exit(0);
    }
    return check_wait((pid_t)pid);
}

/* Where a sent signal's default would do nothing, it wipes nothing. */
static void is_sent_as_init(void)
{
    SAME(getpid(), 1);
    no_marker();
    begin();
    for (int i = 0; i < SA_SIGNALS; i++) {
        raise(all[i]);
        CHECK(is_whole());
        SAME(state_of(all[i]), SA_HANDLER_ARMED);
    }
}

static void faults_as_init(void)
{
    no_marker();
    begin();
    raw(&arena)[200] = 1;
}

static void traps_as_init(void)
{
    no_marker();
    begin();
#if defined(__x86_64__)
    __asm__ __volatile__("int3");
#else
    __asm__ __volatile__("brk #0");
#endif
}

static void is_trapped_as_init(void)
{
    no_marker();
    begin();
    struct sock_filter lines[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {4, lines};
    SAME(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    SAME(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
    (void)getppid();
}

TEST(init_lives_on_and_dies)
{
    if (under_tool())
        SKIP("tools do not survive a raw clone into a namespace");
    int status = in_namespace(is_sent_as_init);
    if (status < 0)
        SKIP("may not make a PID namespace");
    SAME(status, 0);
    SAME(death_of(in_namespace(faults_as_init)), SIGSEGV);
    SAME(death_of(in_namespace(traps_as_init)), SIGTRAP);
    SAME(death_of(in_namespace(is_trapped_as_init)), SIGSYS);
}
#endif

int main(int argc, char **argv)
{
    check_begin("test_fatal", argc, argv);
    RUN(armed_by_the_first_arena);
    RUN(what_was_there_before);
#ifdef __linux__
    RUN(blocks_every_signal);
#endif
    RUN(disarm_sticks);
    RUN(disarm_before_first_use);
    RUN(chosen_ones);
    RUN(each_that_ends_the_process);
    RUN(each_of_them_kills_as_itself);
    RUN(handled_or_ignored_by_others);
    RUN(shadowed);
    RUN(outermost_again);
    RUN(sent_to_the_handler_of_before);
#ifdef __linux__
    RUN(a_queued_value);
#endif
    RUN(faults_to_the_handler_of_before);
    RUN(ignored_and_sent);
#ifdef __linux__
    RUN(ignored_notices);
#endif
    RUN(ignored_and_forced);
    RUN(each_signal_kills_as_itself);
    RUN(who_gets_the_marker);
    RUN(the_marker_comes_after_the_wipe);
    RUN(called_by_the_one_on_top);
    RUN(called_by_one_in_the_middle);
    RUN(called_by_one_that_blocks_all);
    RUN(called_by_the_one_that_is_next);
    RUN(raised_by_the_one_on_top);
    RUN(others_go_in_any_order);
    RUN(more_levels_than_there_are);
    RUN(other_signals_wait_for_the_pass);
    RUN(the_mask_of_the_handler_of_before);
#ifdef __linux__
    RUN(all_at_once);
    RUN(init_lives_on_and_dies);
#endif
    return check_end();
}
