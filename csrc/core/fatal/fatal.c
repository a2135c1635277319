/* The handler of fatal signals: it wipes every arena, writes the marker, and passes the signal
 * on. */
#include "fatal/fatal.h"
#include "fatal/marker.h"
#include "os/os.h"
#include "fatal/scrub.h"
#include "fatal/terminal.h"
#include "vault/spans.h"
#include "vault/vault.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Atomic bool tampered; /* the marker is out, the abort is ours */

/* ---- all from here to the end of the entries runs in signal context --------------------- */

/* Whether the signal ends many a process that is well: standard error is spared it. */
SA_HOT static bool is_ordinary(int sig)
{
    switch (sig) {
    case SIGSEGV:
    case SIGBUS:
    case SIGILL:
    case SIGFPE:
    case SIGABRT:
    case SIGSYS:
    case SIGTRAP:
    case SIGQUIT:
    case SIGXCPU:
    case SIGXFSZ: return false;
    default: return true;
    }
}

enum caller {
    KERNEL,  /* with our mask, as our entry is in place */
    LATE,    /* the same; but another thread has put back the action already */
    ANOTHER, /* a handler on top of ours, which passes on what is not its own */
    UNKNOWN, /* a sandbox refuses to say */
};

/* The action in place tells, not the mask: there are handlers with a mask like ours. */
static enum caller who_called(int sig, unsigned level, const struct sigaction *next)
{
    struct sigaction now;
    if (os_action(sig, NULL, &now))
        return UNKNOWN;
    if (now.sa_flags & SA_SIGINFO && now.sa_sigaction == fatal_entries[level])
        return KERNEL;
    return levels_same(&now, next) ? LATE : ANOTHER;
}

/* Call an earlier handler: with the mask in force, or the one that the kernel would have
 * called it with, where ours is. */
static void call(const struct sigaction *next, int sig, siginfo_t *info, void *context,
                 bool our_mask)
{
    sigset_t ours, theirs;
    if (our_mask) {
        sigemptyset(&theirs);
        for (int n = 1; n < NSIG; n++)
            if (n == sig || os_blocks_on_return(n, context) || sigismember(&next->sa_mask, n) == 1)
                sigaddset(&theirs, n);
        os_mask_all(&ours);
        os_unmask(&theirs);
    }
    if (next->sa_flags & SA_SIGINFO)
        next->sa_sigaction(sig, info, context);
    else
        next->sa_handler(sig);
    if (our_mask)
        os_unmask(&ours);
}

static bool is_pending(int sig)
{
    sigset_t pending;
    sigemptyset(&pending);
    return sigpending(&pending) == 0 && sigismember(&pending, sig) == 1;
}

/* The action in place stays ours, as a sandbox refuses to put it back: what is forced comes
 * again while it is blocked, for which the kernel ends the process. */
static void end_without_action(int sig, siginfo_t *info, void *context, bool forced)
{
    if (!forced)
        os_end();
    os_block_on_return(sig, context);
    os_step_back(sig, info, context);
}

/* Queue it for the action in place, to be taken when we return. */
static void queue(const struct sigaction *next, int sig, siginfo_t *info, void *context,
                  bool forced)
{
    bool dies = levels_is_plain(next, SIG_DFL);
    if (forced && dies && os_is_init()) {
        os_step_back(sig, info, context); /* queued, it would be ignored there */
    } else if (os_requeue(sig, info) == 0) {
        if (dies && (vault_is_ours() || !vault_started()))
            stack_scrub(context);
    } else if (forced) { /* it comes again by itself, and takes registers as they were */
        os_step_back(sig, info, context);
    } else if (dies) {
        os_end();
    } else {
        call(next, sig, info, context, true);
    }
}

/* The action that is next, and whether it could be put in place where that is called for. */
struct chain {
    const struct sigaction *next;
    enum caller caller;
    bool dies, refused;
};

static struct chain choose(int sig, unsigned level, bool forced)
{
    static const struct sigaction by_default = {.sa_handler = SIG_DFL};
    const struct sigaction *next = levels_before(sig, level);
    if (forced && levels_is_plain(next, SIG_IGN))
        next = &by_default; /* as Linux treats it; on macOS it would come for ever */
    enum caller caller = who_called(sig, level, next);
    if (caller == LATE && !levels_is_plain(next, SIG_DFL) && levels_comes_again(sig, level)) {
        next = &by_default; /* the one that is next calls us: that would go on for ever */
        caller = ANOTHER;
    }
    bool dies = levels_is_plain(next, SIG_DFL), refused = caller == UNKNOWN;
    if (caller == KERNEL || (caller == ANOTHER && dies))
        refused = levels_put_back(sig, level, next) != 0;
    return (struct chain){next, caller, dies, refused};
}

static void call_next(const struct chain *c, int sig, siginfo_t *info, void *context, bool forced)
{
    if (c->refused && forced)
        os_block_on_return(sig, context); /* it ends the process, should it come again */
    call(c->next, sig, info, context, c->caller != ANOTHER);
    if (c->refused && is_pending(sig)) /* raised anew, for an action that was refused, too */
        end_without_action(sig, info, context, forced);
}

static void queue_next(const struct chain *c, int sig, siginfo_t *info, void *context, bool forced)
{
    if (os_blocks_on_return(sig, context))
        os_unblock_on_return(sig, context);
    sigset_t mask;
    if (c->caller != KERNEL)
        os_mask_all(&mask); /* queued under another, it would come at once */
    queue(c->next, sig, info, context, forced);
    if (c->caller != KERNEL)
        os_unmask(&mask);
}

/* Another thread has overwritten what this one still works with, so that its fault is but a
 * consequence: the process is to end by that one's signal. */
static void await_others_end(void)
{
    enum { TURNS = 64 + 2000 };
    for (unsigned turn = 0; turn < TURNS && spans_others_zeroed(); turn++)
        os_wait(turn);
}

/* Pass the signal on, to what would have got it without us. */
static void chain_signal(int sig, unsigned level, siginfo_t *info, void *context, bool forced)
{
    struct chain c = choose(sig, level, forced);
    if (c.dies || levels_only_reports(sig, c.next)) {
        await_others_end();
        spans_zero(); /* what no arena is, and nobody needs any more */
    }
    if (c.refused && c.dies) {
        end_without_action(sig, info, context, forced);
    } else if (!c.dies && (c.refused || c.caller == ANOTHER || os_blocks_on_return(sig, context))) {
        /* Called by the one on top, or let in only for a call such as ppoll: queued, it
         * would go back to the one on top, or wait for the next such call. */
        call_next(&c, sig, info, context, forced);
    } else {
        queue_next(&c, sig, info, context, forced);
    }
}

/* A function of its own, rather than eight: what runs first is to lie on few pages. */
SA_HOT __attribute__((noinline)) static void on_fatal(int sig, siginfo_t *info, void *context,
                                                      unsigned level)
{
    if (os_puts_off(sig, context))
        return;
    const struct sigaction *next = levels_before(sig, level);
    bool forced = os_is_forced(sig, info, context, levels_is_plain(next, SIG_IGN));
    if (!forced &&
        (levels_is_plain(next, SIG_IGN) || (levels_is_plain(next, SIG_DFL) && os_is_init())))
        return; /* without us it would have done nothing */
    if (vault_is_ours()) {
        os_keep_faults_off();
        wipers_enter();
        (void)vault_wipe_all(false); /* whole, whatever other handlers do */
        if (!(sig == SIGABRT && atomic_load(&tampered)))
            marker_write('F', is_ordinary(sig));
        (void)vault_wipe_all(false); /* what others stored meanwhile */
        wipers_leave();
        os_let_faults_in();
    }
    terminal_restore();
    int before = errno; /* which all that came before leaves alone */
    chain_signal(sig, level, info, context, forced);
    errno = before;
}

// clang-format off
#define ENTRY(level)                                                              \
    SA_HOT static void enter_##level(int sig, siginfo_t *info, void *context)     \
    {                                                                             \
        on_fatal(sig, info, context, level);                                      \
    }
ENTRY(0) ENTRY(1) ENTRY(2) ENTRY(3) ENTRY(4) ENTRY(5) ENTRY(6) ENTRY(7)
#undef ENTRY

void (*const fatal_entries[LEVELS])(int, siginfo_t *, void *) = {
    enter_0, enter_1, enter_2, enter_3, enter_4, enter_5, enter_6, enter_7};
// clang-format on

/* ---- in no signal context ------------------------------------------------------------ */

unsigned fatal_level(const struct sigaction *a)
{
    unsigned level = 0;
    while (level < LEVELS && !(a->sa_flags & SA_SIGINFO && a->sa_sigaction == fatal_entries[level]))
        level++;
    return level;
}

void fatal_tampered(const char *text)
{
    /* We die of the abort, neither of another signal nor of the message. */
    sigset_t mask;
    os_mask_sent(&mask);
    wipers_enter();
    (void)vault_wipe_all(false); /* first of all */
    marker_write('F', false);
    atomic_store(&tampered, true);
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (marker_standard_error() && poll(&ready, 1, 0) == 1 && ready.revents & POLLOUT &&
        write(STDERR_FILENO, text, strlen(text)) < 0) {
        /* nobody is left to tell */
    }
    abort();
}
