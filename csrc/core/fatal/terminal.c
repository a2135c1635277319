/* The terminal that a person types a secret at: silent meanwhile, and as it was before whenever
 * the process stops, dies or ends. */
#include "fatal/terminal.h"

#include "os/os.h"
#include "secalloc.h"
#include "vault/vault.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

/* The epoch of the process that asks, and 1; 0: none does. A child has a copy of all this, but
 * another epoch: what its parent asks does not concern it. */
static _Atomic uint64_t asking;
static _Atomic int terminal;
static _Atomic bool silent;        /* as we set it: to be restored */
static _Atomic bool changing;      /* somebody turns the echo off, or back on for good */
static _Atomic bool missed;        /* a handler wanted to meanwhile */
static _Atomic unsigned continued; /* how often the echo was turned off again */

/* How it was before: the one of the two that `latest` names, while a handler writes the other. */
static struct termios before[2];
static _Atomic unsigned latest;

static uint64_t self(void) { return (uint64_t)vault_epoch() + 1; }

static bool asks_here(void) { return vault_is_ours() && atomic_load(&asking) == self(); }

/* Keys for signals and for literal input are off, too: only a reader that sees each byte can tell a
 * quoted Ctrl-C from another. */
static struct termios quiet_of(const struct termios *old)
{
    struct termios quiet = *old;
    quiet.c_iflag &= ~(tcflag_t)(IXON | ICRNL | INLCR | IGNCR);
    quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
    quiet.c_cc[VMIN] = 1;
    quiet.c_cc[VTIME] = 0;
    return quiet;
}

/* In the background the terminal's modes are the shell's. One that is not the session's has
 * no background. */
static bool in_background(int fd)
{
    pid_t front = tcgetpgrp(fd);
    return front != -1 && front != getpgrp();
}

/* 0 or an errno. A stop may have left the terminal as we set it, which is nothing to go back
 * to. [signal] */
static int hush(bool again, int how)
{
    int fd = atomic_load(&terminal);
    unsigned at = atomic_load(&latest);
    struct termios now, quiet;
    if (tcgetattr(fd, &now))
        return errno;
    quiet = quiet_of(&before[at]);
    if (!again || now.c_lflag != quiet.c_lflag || now.c_iflag != quiet.c_iflag) {
        before[!at] = now;
        atomic_store(&latest, !at);
        quiet = quiet_of(&now);
    }
    atomic_store(&silent, true); /* first: a signal may come between */
    return tcsetattr(fd, how, &quiet) ? errno : 0;
}

/* The process goes on, in the foreground. [signal] */
static void hush_again(void)
{
    while (asks_here() && !in_background(atomic_load(&terminal))) {
        if (atomic_exchange(&changing, true)) {
            atomic_store(&missed, true);
            return;
        }
        atomic_store(&missed, false);
        (void)hush(true, TCSANOW); /* gone: the reader will find out */
        atomic_fetch_add(&continued, 1);
        atomic_store(&changing, false);
        if (!atomic_load(&missed))
            return;
    }
}

void terminal_restore(void)
{
    int error = errno;
    if (asks_here() && atomic_load(&silent))
        (void)tcsetattr(atomic_load(&terminal), TCSANOW, &before[atomic_load(&latest)]);
    errno = error; /* of a terminal that is gone: nothing to restore */
}

/* ---- signals meanwhile ------------------------------------------------------------- */

/* What stops or ends the process where nobody handles it. Those of fatal.c are among them for
 * who disarmed it. */
static const int defaults[] = {SIGTSTP, SIGINT,  SIGQUIT, SIGTERM,   SIGHUP, SIGALRM,
                               SIGPIPE, SIGUSR1, SIGUSR2, SIGVTALRM, SIGPROF};
enum { DEFAULTS = sizeof defaults / sizeof *defaults };

/* Do what the signal does by default, with the terminal as it was. */
static void on_default(int sig)
{
    int error = errno;
    struct sigaction plain = {.sa_handler = SIG_DFL}, ours;
    sigset_t this, mask;
    if (asks_here() && atomic_load(&silent) && !in_background(atomic_load(&terminal))) {
        terminal_restore();
        atomic_store(&silent, false);
    }
    sigemptyset(&plain.sa_mask);
    bool known = sigaction(sig, &plain, &ours) == 0;
    sigemptyset(&this);
    sigaddset(&this, sig);
    (void)raise(sig);
    pthread_sigmask(SIG_UNBLOCK, &this, &mask); /* here it ends, or stops until it goes on */
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    if (known && asks_here()) {
        (void)sigaction(sig, &ours, NULL);
        hush_again(); /* an orphan does not stop, and the first process does not die */
    }
    errno = error;
}

static struct sigaction continue_before;

static void on_continue(int sig, siginfo_t *info, void *context)
{
    int error = errno;
    hush_again();
    errno = error;
    if (continue_before.sa_flags & SA_SIGINFO)
        continue_before.sa_sigaction(sig, info, context);
    else if (continue_before.sa_handler != SIG_DFL && continue_before.sa_handler != SIG_IGN)
        continue_before.sa_handler(sig);
}

static void handle_signals(void)
{
    struct sigaction now, ours = {.sa_flags = SA_ONSTACK | SA_RESTART};
    sigemptyset(&ours.sa_mask);
    ours.sa_handler = on_default;
    for (unsigned i = 0; i < DEFAULTS; i++) /* refused: as if nobody looked after it */
        if (!sigaction(defaults[i], NULL, &now) && !(now.sa_flags & SA_SIGINFO) &&
            now.sa_handler == SIG_DFL)
            (void)sigaction(defaults[i], &ours, NULL);
    if (sigaction(SIGCONT, NULL, &now) ||
        (now.sa_flags & SA_SIGINFO && now.sa_sigaction == on_continue))
        return;
    continue_before = now;
    bool handled = now.sa_flags & SA_SIGINFO ||
                   (now.sa_handler != SIG_DFL && now.sa_handler != SIG_IGN);
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
    if (!handled || now.sa_flags & SA_RESTART)
        ours.sa_flags |= SA_RESTART; /* calls break off just where they did */
    ours.sa_sigaction = on_continue;
    (void)sigaction(SIGCONT, &ours, NULL);
}

/* Where it is still ours: somebody may have set an action meanwhile. */
static void leave_signals(void)
{
    struct sigaction now, plain = {.sa_handler = SIG_DFL};
    sigemptyset(&plain.sa_mask);
    for (unsigned i = 0; i < DEFAULTS; i++)
        if (!sigaction(defaults[i], NULL, &now) && !(now.sa_flags & SA_SIGINFO) &&
            now.sa_handler == on_default)
            (void)sigaction(defaults[i], &plain, NULL);
    if (!sigaction(SIGCONT, NULL, &now) && now.sa_flags & SA_SIGINFO &&
        now.sa_sigaction == on_continue)
        (void)sigaction(SIGCONT, &continue_before, NULL);
}

/* ---- asking ------------------------------------------------------------------------ */

/* A thread that reads the terminal when the process ends does not come back to restore it. */
static pthread_once_t hook = PTHREAD_ONCE_INIT;
static void set_hook(void) { (void)atexit(terminal_restore); } /* refused: as by _exit */

static void take_turn(void)
{
    for (unsigned turn = 0; atomic_exchange(&changing, true); turn++)
        os_wait(turn);
}

enum { TRIES = 8 }; /* for a call that handlers of signals break off */

enum sa_code sa_echo_off(int fd, struct sa_why *why)
{
    enum sa_code code = vault_enter(why);
    if (code)
        return code;
    (void)pthread_once(&hook, set_hook); /* fails for a bad control only */
    uint64_t who = atomic_load(&asking);
    if (who == self() || !atomic_compare_exchange_strong(&asking, &who, self())) {
        *why = (struct sa_why){
            .call = "tcsetattr", .error = EBUSY, .hint = "another thread reads from the terminal"};
        return SA_OS_ERROR;
    }
    atomic_store(&terminal, fd);
    atomic_store(&silent, false);
    atomic_store(&changing, true); /* a parent may have left it in any state */
    atomic_store(&missed, false);
    int error;
    /* In the background this stops the process: the modes are those of the shell until it is
     * in front. */
    for (int turn = 0; (error = tcflush(fd, TCIFLUSH) ? errno : 0) == EINTR && turn < TRIES;)
        turn++;
    if (!error) {
        handle_signals();
        for (int turn = 0; (error = hush(false, TCSAFLUSH)) == EINTR && turn < TRIES;)
            turn++;
    }
    atomic_store(&changing, false);
    if (!error) {
        if (atomic_load(&missed))
            hush_again();
        return SA_OK;
    }
    sa_echo_back(fd);
    *why = (struct sa_why){.call = "tcsetattr", .error = error};
    return SA_OS_ERROR;
}

void sa_echo_back(int fd)
{
    if (!asks_here() || atomic_load(&terminal) != fd)
        return;
    take_turn();
    for (int turn = 0; atomic_load(&silent) && turn <= TRIES; turn++) /* the last does not wait */
        if (!tcsetattr(fd, turn < TRIES ? TCSAFLUSH : TCSANOW, &before[atomic_load(&latest)]) ||
            errno != EINTR)
            break; /* gone: nothing to restore */
    atomic_store(&silent, false);
    leave_signals();
    atomic_store(&asking, 0);
    atomic_store(&changing, false);
}

void sa_echo_before(struct sa_terminal *out)
{
    const struct termios *old = &before[atomic_load(&latest)];
    *out = (struct sa_terminal){
        .continued = atomic_load(&continued), .input = old->c_iflag, .local = old->c_lflag};
    memcpy(out->keys, old->c_cc, sizeof old->c_cc);
}
