/* This file arms signals, disarms them, and tells which are armed. */
#include "fatal/alt_stack.h"
#include "fatal/fatal.h"
#include "fatal/levels.h"
#include "vault/locks.h"
#include "os/os.h"
#include "vault/vault.h"

#include <errno.h>

static const int signals[SA_SIGNALS] = {SIGSEGV, SIGBUS,  SIGILL,  SIGFPE,  SIGABRT, SIGSYS,
                                        SIGTRAP, SIGQUIT, SIGXCPU, SIGXFSZ, SIGTERM, SIGHUP};

static _Atomic bool disarmed;              /* by the user */

static int arm_one(int sig)
{
    struct sigaction now;
    int error = os_action(sig, NULL, &now);
    if (error)
        return error;
    if (fatal_level(&now) < LEVELS)
        return 0;
    bool ignored = levels_is_plain(&now, SIG_IGN);
    bool handled = !ignored && !levels_is_plain(&now, SIG_DFL);
    /* What is ignored stays so for programs that are executed, unless it can be forced. */
    if ((ignored && !(LEVELS_FORCED & LEVELS_BIT(sig))) ||
        (handled && !(LEVELS_ALWAYS & LEVELS_BIT(sig))))
        return 0;
    unsigned level = levels_upon(sig, &now);
    if (level == LEVELS)
        return EMLINK; /* anew would call one that is still chained to */
    struct sigaction ours = {.sa_flags = SA_SIGINFO | SA_ONSTACK | os_handler_flags()};
    if (!handled || now.sa_flags & SA_RESTART)
        ours.sa_flags |= SA_RESTART; /* calls break off just where they did */
    ours.sa_sigaction = fatal_entries[level];
    os_fill_mask(&ours.sa_mask);
    unsigned before = atomic_load(&levels[sig].on);
    atomic_store(&levels[sig].late[level], 0);
    atomic_store(&levels[sig].on, (before & ((1u << level) - 1)) | 1u << level);
    error = os_action(sig, &ours, NULL);
    if (error)
        atomic_store(&levels[sig].on, before);
    return error;
}

static int arm_all(uint64_t wanted)
{
    int error = 0;
    for (int sig = 1; sig < LEVELS_SIGNALS; sig++)
        if (wanted & LEVELS_BIT(sig)) {
            int failed = arm_one(sig);
            error = error ? error : failed;
            if (!failed || failed == EMLINK)
                atomic_fetch_and(&levels_to_arm, ~LEVELS_BIT(sig));
        }
    return error;
}

void fatal_arm(void)
{
    if (atomic_load_explicit(&levels_to_arm, memory_order_relaxed) == 0 ||
        atomic_load_explicit(&disarmed, memory_order_relaxed))
        return;
    lock_take(LOCK_SIGNALS);
    os_learn_frame();
    /* What is refused stays to be armed, and the status shows it. */
    (void)arm_all(atomic_load(&levels_to_arm));
    lock_give(LOCK_SIGNALS);
}

enum sa_code sa_arm(const int *wanted, size_t count, struct sa_why *why)
{
    uint64_t mask = wanted ? 0 : LEVELS_DEFAULTS;
    for (size_t k = 0; wanted && k < count; k++) {
        if (!os_ends_process(wanted[k]))
            return SA_BAD_SIGNAL;
        mask |= LEVELS_BIT(wanted[k]);
    }
    vault_notice_fork();
    alt_stack_make();
    lock_take(LOCK_SIGNALS);
    os_learn_frame();
    int error = arm_all(mask);
    atomic_store(&levels_to_arm, 0); /* the choice is the user's from now on */
    atomic_store(&disarmed, false);
    lock_give(LOCK_SIGNALS);
    if (!error)
        return SA_OK;
    *why = (struct sa_why){.call = "sigaction", .error = error};
    if (error == EMLINK)
        why->hint = "too many handlers took turns with ours: arm() after the last is installed";
    return SA_OS_ERROR;
}

enum sa_code sa_disarm(struct sa_why *why)
{
    int error = 0;
    vault_notice_fork();
    lock_take(LOCK_SIGNALS);
    for (int sig = 1; sig < LEVELS_SIGNALS; sig++) {
        struct sigaction now;
        if (!atomic_load(&levels[sig].used) || os_action(sig, NULL, &now))
            continue;
        unsigned level = fatal_level(&now);
        if (level == LEVELS)
            continue;
        int failed = os_action(sig, levels_before(sig, level), NULL);
        if (failed)
            error = failed;
        else
            atomic_fetch_and(&levels[sig].on, (1u << level) - 1);
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
    bool known = os_action(sig, NULL, &now) == 0;
    if (known && fatal_level(&now) < LEVELS)
        return SA_HANDLER_ARMED;
    /* Nobody chains to us where nobody handles it. */
    bool plain = known && (levels_is_plain(&now, SIG_DFL) || levels_is_plain(&now, SIG_IGN));
    return atomic_load(&levels[sig].on) && !plain ? SA_HANDLER_SHADOWED : SA_HANDLER_OFF;
}

void fatal_status(struct sa_status *out)
{
    lock_take(LOCK_SIGNALS);
    size_t n = 0;
    for (; n < SA_SIGNALS; n++) {
        out->signals[n] = signals[n];
        out->handlers[n] = state_of(signals[n]);
    }
    for (int sig = 1; sig < LEVELS_SIGNALS; sig++) {
        enum sa_handler_state state;
        if (LEVELS_DEFAULTS & LEVELS_BIT(sig) || !atomic_load(&levels[sig].used) ||
            (state = state_of(sig)) == SA_HANDLER_OFF)
            continue;
        out->signals[n] = sig;
        out->handlers[n++] = state;
    }
    out->signal_count = n;
    lock_give(LOCK_SIGNALS);
}
