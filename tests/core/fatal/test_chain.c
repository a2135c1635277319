/* Passing a signal on: what becomes of it after the wipe. It goes to the handler of before, to
 * others that chain, or kills. The faults themselves, each in a program of its own, are in
 * death/. */
#include "signals.h"

#include <setjmp.h>

static int marker_ends[2];

/* ---- to the handler of before --------------------------------------------------------------------------- */

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
    for (int n = 0; n < count; n += rounds(count) < count ? 31 : 1)
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

int main(int argc, char **argv)
{
    check_begin("test_chain", argc, argv);
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
    RUN(the_mask_of_the_handler_of_before);
    RUN(called_by_the_one_on_top);
    RUN(called_by_one_in_the_middle);
    RUN(called_by_one_that_blocks_all);
    RUN(called_by_the_one_that_is_next);
    RUN(raised_by_the_one_on_top);
    RUN(others_go_in_any_order);
    RUN(more_levels_than_there_are);
    return check_end();
}
