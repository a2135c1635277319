#include "fatal.h"

#include "alt_stack.h"
#include "marker.h"
#include "os.h"
#include "remains.h"
#include "terminal.h"
#include "vault.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* From OPTIONAL on a signal is ours only where nobody else handles it. */
static const int signals[SA_SIGNALS] = {SIGSEGV, SIGBUS,  SIGILL,  SIGFPE,  SIGABRT, SIGSYS,
                                        SIGTRAP, SIGQUIT, SIGXCPU, SIGXFSZ, SIGTERM, SIGHUP};
enum { OPTIONAL = 7 };

/* What each signal did before us, and again before each later arming: whoever
 * came on top of us chains to us, so that we may be entered once for each. */
enum { DEPTH = 4 };
static struct {
    struct sigaction actions[DEPTH];
    _Atomic unsigned depth;
    _Atomic unsigned passed_on; /* signals queued since the last action was put back */
} saved[SA_SIGNALS];

static pthread_mutex_t arming = PTHREAD_MUTEX_INITIALIZER;
static _Atomic bool disarmed;       /* by the user */
static _Atomic uint32_t to_arm = ~0u; /* bit per signal: not armed yet, or taken off */
static _Atomic bool tampered;       /* the marker is out, the abort is ours */

static void on_fatal(int sig, siginfo_t *info, void *context);

static bool is_ours(const struct sigaction *a)
{
    return a->sa_flags & SA_SIGINFO && a->sa_sigaction == on_fatal;
}

SA_HOT static bool is_plain(const struct sigaction *a, void (*what)(int))
{
    return !(a->sa_flags & SA_SIGINFO) && a->sa_handler == what;
}

SA_HOT static unsigned index_of(int sig)
{
    unsigned i = 0;
    while (i < SA_SIGNALS && signals[i] != sig)
        i++;
    return i;
}

/* ---- the handler: everything here runs in signal context ------------------------- */

/* Notices, though their codes are a fault's: of memory tags checked late (AArch64), and
 * of a perf event (since 5.18, before which it was forced). Elsewhere nothing has these
 * numbers, which headers may not know. */
enum { LATE_TAG_CHECK = 8, PERF_EVENT = 6 };

/* Whether the kernel will not let the thread go on past the cause. */
SA_HOT static bool is_forced(int sig, const siginfo_t *info)
{
    switch (sig) {
    case SIGSEGV:
        return info->si_code > 0 && info->si_code != LATE_TAG_CHECK;
    case SIGTRAP:
        return info->si_code > 0 && info->si_code != PERF_EVENT;
    case SIGILL: case SIGFPE: case SIGSYS:
        return info->si_code > 0;
    case SIGBUS:
#ifdef BUS_MCEERR_AO /* a memory error found elsewhere: a notice */
        if (info->si_code == BUS_MCEERR_AO)
            return false;
#endif
        return info->si_code > 0;
    default: /* QUIT, HUP and XCPU carry positive codes too, and force nothing */
        return false;
    }
}

SA_HOT static struct sigaction action_at(unsigned i, unsigned depth)
{
    if (depth)
        return saved[i].actions[depth - 1];
    return (struct sigaction){.sa_handler = SIG_DFL};
}

SA_HOT static struct sigaction action_before(unsigned i)
{
    return action_at(i, atomic_load(&saved[i].depth));
}

/* Whether the kernel called us, rather than a handler that was installed on top of
 * ours and passes on what is not its own: then our mask is not in force. */
static bool called_by_kernel(void)
{
    sigset_t mask;
    sigemptyset(&mask); /* the kernel fills in a part, and the rest may lie on a dead stack */
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    for (unsigned i = 0; i < SA_SIGNALS; i++)
        if (!sigismember(&mask, signals[i]))
            return false;
    return true;
}

/* Put back what was there before us, and count it as taken. Another thread may do
 * the same: first the action, then the depth, so that whoever sees ours in place
 * reads the action that belongs to it. */
static void put_back(int sig, unsigned i, unsigned depth, const struct sigaction *next)
{
    sigaction(sig, next, NULL);
    /* A child that shares our memory (vfork) changes its own action only: the
     * token is whole there. */
    if (!vault_is_ours() && vault_started())
        return;
    if (depth)
        atomic_compare_exchange_strong(&saved[i].depth, &depth, depth - 1);
    atomic_store(&saved[i].passed_on, 0);
    atomic_fetch_or(&to_arm, 1u << i);
}

static void hand_over(int sig, unsigned i, siginfo_t *info, void *context, bool forced)
{
    unsigned depth = atomic_load(&saved[i].depth);
    struct sigaction now, next = action_at(i, depth);
    if (forced && is_plain(&next, SIG_IGN))
        next = (struct sigaction){.sa_handler = SIG_DFL}; /* as the kernel treats it */
    bool direct = called_by_kernel();
    /* Called by the one on top, or let in only for a call such as ppoll: queued, it
     * would go back to the one on top, or wait for the next such call. */
    bool queued_too_late = os_blocks_on_return(sig, context);
    if (!is_plain(&next, SIG_DFL) && (!direct || queued_too_late)) {
        if (direct)
            put_back(sig, i, depth, &next);
        if (next.sa_flags & SA_SIGINFO)
            next.sa_sigaction(sig, info, context);
        else
            next.sa_handler(sig);
        return;
    }
    if (queued_too_late)
        os_unblock_on_return(sig, context);
    sigset_t mask;
    os_mask_all(&mask); /* called by the one on top, it would come at once */
    /* If neither holds, another thread has put back the action already, and it takes
     * the queued signal too; unless a handler with a mask like ours calls us, which
     * would go on for ever. */
    bool known = sigaction(sig, NULL, &now) == 0;
    if (!direct || (known && is_ours(&now)) || atomic_fetch_add(&saved[i].passed_on, 1) > 100) {
        put_back(sig, i, depth, &next);
        now = next;
    }
    bool dies = known && is_plain(&now, SIG_DFL);
    if (forced && is_plain(&next, SIG_DFL) && os_is_init())
        os_step_back(sig, info, context); /* queued, it would be ignored there */
    else if (os_requeue(sig, info) == 0 && dies && (vault_is_ours() || !vault_started()))
        remains_clear(context); /* refused: a forced signal comes again by itself, which
                                   takes registers as they were */
    os_unmask(&mask);
}

SA_HOT static void on_fatal(int sig, siginfo_t *info, void *context)
{
    unsigned i = index_of(sig) % SA_SIGNALS; /* only ever installed for these */
    bool forced = is_forced(sig, info);
    struct sigaction next = action_before(i);
    if (!forced && (is_plain(&next, SIG_IGN) || (is_plain(&next, SIG_DFL) && os_is_init())))
        return; /* without us it would have done nothing */
    if (vault_is_ours()) {
        wipers_enter();
        (void)vault_wipe_all(false); /* whole, whatever other handlers do */
        if (!(sig == SIGABRT && atomic_load(&tampered)))
            marker_write('F', sig == SIGTERM || sig == SIGHUP);
        (void)vault_wipe_all(false); /* what others stored meanwhile */
        wipers_leave();
    }
    terminal_restore();
    int before = errno; /* which all that came before leaves alone */
    hand_over(sig, i, info, context, forced);
    errno = before;
}

/* ---- arming ------------------------------------------------------------------------ */

static int arm_one(unsigned i)
{
    struct sigaction now;
    if (sigaction(signals[i], NULL, &now))
        return errno;
    if (is_ours(&now))
        return 0;
    if (i >= OPTIONAL && !is_plain(&now, SIG_DFL))
        return 0;
    struct sigaction ours = {.sa_flags = SA_SIGINFO | SA_ONSTACK};
    bool handled = !is_plain(&now, SIG_DFL) && !is_plain(&now, SIG_IGN);
    if (!handled || now.sa_flags & SA_RESTART)
        ours.sa_flags |= SA_RESTART; /* calls break off just where they did */
    ours.sa_sigaction = on_fatal;
    sigemptyset(&ours.sa_mask);
    for (unsigned k = 0; k < SA_SIGNALS; k++)
        sigaddset(&ours.sa_mask, signals[k]);
    sigaddset(&ours.sa_mask, SIGPIPE);
    sigaddset(&ours.sa_mask, SIGTTOU);
    unsigned depth = atomic_load(&saved[i].depth);
    if (depth == DEPTH)
        depth--; /* the latest on top is the one to go back to */
    saved[i].actions[depth] = now;
    atomic_store(&saved[i].depth, depth + 1);
    if (sigaction(signals[i], &ours, NULL)) {
        int error = errno;
        atomic_store(&saved[i].depth, depth);
        return error;
    }
    atomic_store(&saved[i].passed_on, 0);
    return 0;
}

static int arm_mask(uint32_t mask)
{
    int error = 0;
    for (unsigned i = 0; i < SA_SIGNALS; i++)
        if (mask >> i & 1) {
            int failed = arm_one(i);
            error = error ? error : failed;
            if (!failed)
                atomic_fetch_and(&to_arm, ~(1u << i));
        }
    return error;
}

void fatal_arm(void)
{
    if (atomic_load_explicit(&to_arm, memory_order_relaxed) == 0 ||
        atomic_load_explicit(&disarmed, memory_order_relaxed))
        return;
    pthread_mutex_lock(&arming);
    os_learn_frame();
    /* What is refused stays to be armed, and the status shows it. */
    (void)arm_mask(atomic_load(&to_arm) & ((1u << SA_SIGNALS) - 1));
    atomic_fetch_and(&to_arm, (1u << SA_SIGNALS) - 1);
    pthread_mutex_unlock(&arming);
}

enum sa_code sa_arm(const int *chosen, size_t count, struct sa_why *why)
{
    uint32_t mask = chosen ? 0 : (1u << SA_SIGNALS) - 1;
    for (size_t k = 0; chosen && k < count; k++) {
        unsigned i = index_of(chosen[k]);
        if (i == SA_SIGNALS)
            return SA_BAD_SIGNAL;
        mask |= 1u << i;
    }
    alt_stack_make();
    pthread_mutex_lock(&arming);
    os_learn_frame();
    int error = arm_mask(mask);
    atomic_store(&to_arm, 0); /* the choice is the user's from now on */
    atomic_store(&disarmed, false);
    pthread_mutex_unlock(&arming);
    if (!error)
        return SA_OK;
    *why = (struct sa_why){.call = "sigaction", .error = error};
    return SA_OS_ERROR;
}

enum sa_code sa_disarm(struct sa_why *why)
{
    int error = 0;
    pthread_mutex_lock(&arming);
    for (unsigned i = 0; i < SA_SIGNALS; i++) {
        struct sigaction now, before = action_before(i);
        if (sigaction(signals[i], NULL, &now) || !is_ours(&now))
            continue;
        if (sigaction(signals[i], &before, NULL))
            error = errno;
        else if (atomic_load(&saved[i].depth)) /* the rest is for who chains to us from above */
            atomic_fetch_sub(&saved[i].depth, 1);
    }
    atomic_store(&disarmed, true);
    pthread_mutex_unlock(&arming);
    if (!error)
        return SA_OK;
    *why = (struct sa_why){.call = "sigaction", .error = error};
    return SA_OS_ERROR;
}

void fatal_status(struct sa_status *out)
{
    pthread_mutex_lock(&arming);
    for (unsigned i = 0; i < SA_SIGNALS; i++) {
        struct sigaction now;
        out->signals[i] = signals[i];
        if (sigaction(signals[i], NULL, &now) == 0 && is_ours(&now))
            out->handlers[i] = SA_HANDLER_ARMED;
        else
            out->handlers[i] = atomic_load(&saved[i].depth) ? SA_HANDLER_SHADOWED
                                                            : SA_HANDLER_OFF;
    }
    pthread_mutex_unlock(&arming);
}

void fatal_forked(void)
{
    pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
    memcpy(&arming, &fresh, sizeof fresh);
}

void fatal_tampered(void)
{
    static const char text[] = "secalloc: canary damaged: something wrote beside an arena; "
                               "every arena was wiped, aborting\n";
    wipers_enter();
    (void)vault_wipe_all(false); /* first of all */
    marker_write('F', false);
    atomic_store(&tampered, true);
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
    sigset_t raised;
    sigemptyset(&raised);
    sigaddset(&raised, SIGPIPE);
    sigaddset(&raised, SIGXFSZ);
    sigaddset(&raised, SIGTTOU);
    pthread_sigmask(SIG_BLOCK, &raised, NULL); /* we die of the abort, not of the message */
    if (marker_standard_error() && poll(&ready, 1, 0) == 1 && ready.revents & POLLOUT &&
        write(STDERR_FILENO, text, sizeof text - 1) < 0) {
        /* nobody is left to tell */
    }
    abort();
}
