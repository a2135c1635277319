/* Arming and disarming: which signals, what was there before them, what others put on top. */
#include "signals.h"

static void nothing(int sig) { (void)sig; }

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

/* Each signal that ends the process by default may be armed, and no other. */
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
            signal(sig, SIG_DFL); /* what started us may have had it ignored */
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

int main(int argc, char **argv)
{
    check_begin("test_arming", argc, argv);
    RUN(armed_by_the_first_arena);
#ifdef __linux__
    RUN(blocks_every_signal);
#endif
    RUN(what_was_there_before);
    RUN(disarm_sticks);
    RUN(disarm_before_first_use);
    RUN(chosen_ones);
    RUN(each_that_ends_the_process);
    RUN(each_of_them_kills_as_itself);
    RUN(handled_or_ignored_by_others);
    RUN(shadowed);
    RUN(outermost_again);
    return check_end();
}
