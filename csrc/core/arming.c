#include "arming.h"

#include "alt_stack.h"
#include "locks.h"
#include "os.h"
#include "vault.h"

#include <errno.h>

enum { NUMBERS = 65 };
#define BIT(sig) (UINT64_C(1) << ((sig) - 1))

/* What the kernel forces on a thread; what is armed whoever handles it; and the default set,
 * the rest of which is ours only where nobody else handles it. */
#define FORCED (BIT(SIGSEGV) | BIT(SIGBUS) | BIT(SIGILL) | BIT(SIGFPE) | BIT(SIGSYS) | BIT(SIGTRAP))
#define ALWAYS (FORCED | BIT(SIGABRT))
#define DEFAULTS \
    (ALWAYS | BIT(SIGQUIT) | BIT(SIGXCPU) | BIT(SIGXFSZ) | BIT(SIGTERM) | BIT(SIGHUP))
static const int signals[SA_SIGNALS] = {SIGSEGV, SIGBUS,  SIGILL,  SIGFPE,  SIGABRT, SIGSYS,
                                        SIGTRAP, SIGQUIT, SIGXCPU, SIGXFSZ, SIGTERM, SIGHUP};

static struct {
    struct sigaction before[LEVELS]; /* each is written once, before its level is in use */
    _Atomic unsigned used;           /* levels with an action saved */
    _Atomic unsigned on;             /* bit per level: in place, or below another's */
    _Atomic uintptr_t late[LEVELS];  /* the thread that found the next action in place */
} saved[NUMBERS];

static _Atomic bool disarmed;              /* by the user */
static _Atomic uint64_t to_arm = DEFAULTS; /* not armed yet, or taken off */

/* ---- what the handler asks -------------------------------------------------------- */

unsigned arming_level(const struct sigaction *a)
{
    unsigned level = 0;
    while (level < LEVELS && !(a->sa_flags & SA_SIGINFO && a->sa_sigaction == fatal_entries[level]))
        level++;
    return level;
}

SA_HOT const struct sigaction *arming_before(int sig, unsigned level)
{
    return &saved[sig].before[level];
}

bool arming_same(const struct sigaction *a, const struct sigaction *b)
{
    bool info = a->sa_flags & SA_SIGINFO;
    if (a->sa_flags != b->sa_flags || (info ? a->sa_sigaction != b->sa_sigaction
                                            : a->sa_handler != b->sa_handler))
        return arming_is_plain(a, SIG_DFL) && arming_is_plain(b, SIG_DFL);
    /* One by one: the kernel fills in a part of a set. */
    for (int n = 1; n < NSIG; n++)
        if ((sigismember(&a->sa_mask, n) == 1) != (sigismember(&b->sa_mask, n) == 1))
            return false;
    return true;
}

int arming_put_back(int sig, unsigned level, const struct sigaction *next)
{
    if (sigaction(sig, next, NULL))
        return errno;
    /* A child that shares our memory (vfork) changes its own action only: the
     * token is whole there. */
    if (!vault_is_ours() && vault_started())
        return 0;
    atomic_fetch_and(&saved[sig].on, (1u << level) - 1);
    atomic_fetch_or(&to_arm, BIT(sig));
    return 0;
}

bool arming_comes_again(int sig, unsigned level)
{
    uintptr_t thread = os_thread();
    return atomic_exchange(&saved[sig].late[level], thread) == thread;
}

/* ---- arming ------------------------------------------------------------------------ */

/* The level whose next action is `now`; LEVELS: there are none left. */
static unsigned level_upon(int sig, const struct sigaction *now)
{
    unsigned level = 0, used = atomic_load(&saved[sig].used);
    while (level < used && !arming_same(&saved[sig].before[level], now))
        level++;
    if (level == used && level < LEVELS) {
        saved[sig].before[level] = *now;
        atomic_store(&saved[sig].used, level + 1);
    }
    return level;
}

static int arm_one(int sig)
{
    struct sigaction now;
    if (sigaction(sig, NULL, &now))
        return errno;
    if (arming_level(&now) < LEVELS)
        return 0;
    bool ignored = arming_is_plain(&now, SIG_IGN);
    bool handled = !ignored && !arming_is_plain(&now, SIG_DFL);
    /* What is ignored stays so for programs that are executed, unless it can be forced. */
    if ((ignored && !(FORCED & BIT(sig))) || (handled && !(ALWAYS & BIT(sig))))
        return 0;
    unsigned level = level_upon(sig, &now);
    if (level == LEVELS)
        return EMLINK; /* anew would call one that is still chained to */
    struct sigaction ours = {.sa_flags = SA_SIGINFO | SA_ONSTACK | os_handler_flags()};
    if (!handled || now.sa_flags & SA_RESTART)
        ours.sa_flags |= SA_RESTART; /* calls break off just where they did */
    ours.sa_sigaction = fatal_entries[level];
    os_fill_mask(&ours.sa_mask);
    unsigned before = atomic_load(&saved[sig].on);
    atomic_store(&saved[sig].late[level], 0);
    atomic_store(&saved[sig].on, (before & ((1u << level) - 1)) | 1u << level);
    if (!sigaction(sig, &ours, NULL))
        return 0;
    int error = errno;
    atomic_store(&saved[sig].on, before);
    return error;
}

static int arm_all(uint64_t wanted)
{
    int error = 0;
    for (int sig = 1; sig < NUMBERS; sig++)
        if (wanted & BIT(sig)) {
            int failed = arm_one(sig);
            error = error ? error : failed;
            if (!failed || failed == EMLINK)
                atomic_fetch_and(&to_arm, ~BIT(sig));
        }
    return error;
}

void fatal_arm(void)
{
    if (atomic_load_explicit(&to_arm, memory_order_relaxed) == 0 ||
        atomic_load_explicit(&disarmed, memory_order_relaxed))
        return;
    lock_take(LOCK_SIGNALS);
    os_learn_frame();
    /* What is refused stays to be armed, and the status shows it. */
    (void)arm_all(atomic_load(&to_arm));
    lock_give(LOCK_SIGNALS);
}

enum sa_code sa_arm(const int *wanted, size_t count, struct sa_why *why)
{
    uint64_t mask = wanted ? 0 : DEFAULTS;
    for (size_t k = 0; wanted && k < count; k++) {
        if (!os_ends_process(wanted[k]))
            return SA_BAD_SIGNAL;
        mask |= BIT(wanted[k]);
    }
    vault_settle();
    alt_stack_make();
    lock_take(LOCK_SIGNALS);
    os_learn_frame();
    int error = arm_all(mask);
    atomic_store(&to_arm, 0); /* the choice is the user's from now on */
    atomic_store(&disarmed, false);
    lock_give(LOCK_SIGNALS);
    if (!error)
        return SA_OK;
    *why = (struct sa_why){.call = "sigaction", .error = error};
    if (error == EMLINK)
        why->mend = "too many handlers took turns with ours: arm() after the last is installed";
    return SA_OS_ERROR;
}

enum sa_code sa_disarm(struct sa_why *why)
{
    int error = 0;
    vault_settle();
    lock_take(LOCK_SIGNALS);
    for (int sig = 1; sig < NUMBERS; sig++) {
        struct sigaction now;
        if (!atomic_load(&saved[sig].used) || sigaction(sig, NULL, &now))
            continue;
        unsigned level = arming_level(&now);
        if (level == LEVELS)
            continue;
        if (sigaction(sig, arming_before(sig, level), NULL))
            error = errno;
        else
            atomic_fetch_and(&saved[sig].on, (1u << level) - 1);
    }
    atomic_store(&disarmed, true);
    lock_give(LOCK_SIGNALS);
    if (!error)
        return SA_OK;
    *why = (struct sa_why){.call = "sigaction", .error = error};
    return SA_OS_ERROR;
}

static enum sa_handler_state state_of(int sig)
{
    struct sigaction now;
    bool known = sigaction(sig, NULL, &now) == 0;
    if (known && arming_level(&now) < LEVELS)
        return SA_HANDLER_ARMED;
    /* Nobody chains to us where nobody handles it. */
    bool plain = known && (arming_is_plain(&now, SIG_DFL) || arming_is_plain(&now, SIG_IGN));
    return atomic_load(&saved[sig].on) && !plain ? SA_HANDLER_SHADOWED : SA_HANDLER_OFF;
}

void fatal_status(struct sa_status *out)
{
    lock_take(LOCK_SIGNALS);
    size_t n = 0;
    for (; n < SA_SIGNALS; n++) {
        out->signals[n] = signals[n];
        out->handlers[n] = state_of(signals[n]);
    }
    for (int sig = 1; sig < NUMBERS; sig++) {
        enum sa_handler_state state;
        if (DEFAULTS & BIT(sig) || !atomic_load(&saved[sig].used) ||
            (state = state_of(sig)) == SA_HANDLER_OFF)
            continue;
        out->signals[n] = sig;
        out->handlers[n++] = state;
    }
    out->signal_count = n;
    lock_give(LOCK_SIGNALS);
}
