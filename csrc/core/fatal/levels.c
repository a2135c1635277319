/* What each fatal signal did before us, level by level: read by the handler, written by
 * arming.c. */
#include "fatal/levels.h"

#include "os/os.h"
#include "vault/vault.h"

struct levels levels[LEVELS_SIGNALS];
_Atomic uint64_t levels_to_arm = LEVELS_DEFAULTS;

SA_HOT const struct sigaction *levels_before(int sig, unsigned level)
{
    return &levels[sig].before[level];
}

bool levels_same(const struct sigaction *a, const struct sigaction *b)
{
    bool info = a->sa_flags & SA_SIGINFO;
    if (a->sa_flags != b->sa_flags ||
        (info ? a->sa_sigaction != b->sa_sigaction : a->sa_handler != b->sa_handler))
        return levels_is_plain(a, SIG_DFL) && levels_is_plain(b, SIG_DFL);
    /* One by one: the kernel fills in a part of a set. */
    for (int n = 1; n < NSIG; n++)
        if ((sigismember(&a->sa_mask, n) == 1) != (sigismember(&b->sa_mask, n) == 1))
            return false;
    return true;
}

int levels_put_back(int sig, unsigned level, const struct sigaction *next)
{
    int error = os_action(sig, next, NULL);
    if (error)
        return error;
    /* A child that shares our memory (vfork) changes its own action only: the
     * token is whole there. */
    if (!vault_is_ours() && vault_started())
        return 0;
    atomic_fetch_and(&levels[sig].on, (1u << level) - 1);
    atomic_fetch_or(&levels_to_arm, LEVELS_BIT(sig));
    return 0;
}

bool levels_comes_again(int sig, unsigned level)
{
    uintptr_t thread = os_thread();
    return atomic_exchange(&levels[sig].late[level], thread) == thread;
}

unsigned levels_upon(int sig, const struct sigaction *now)
{
    unsigned level = 0, used = atomic_load(&levels[sig].used);
    while (level < used && !levels_same(&levels[sig].before[level], now))
        level++;
    if (level == used && level < LEVELS) {
        levels[sig].before[level] = *now;
        atomic_store(&levels[sig].used, level + 1);
    }
    return level;
}

/* ---- Python's own handlers ---------------------------------------------------------- */

static _Atomic uintptr_t code_low, code_high;
static _Atomic uint64_t lives_on; /* bits of signals */

void levels_learn_python(const void *symbol)
{
    uintptr_t low, high;
    if (atomic_load(&code_high) || !os_code_around(symbol, &low, &high))
        return;
    atomic_store(&code_low, low);
    atomic_store(&code_high, high);
}

void levels_lives_on(int sig) { atomic_fetch_or(&lives_on, LEVELS_BIT(sig)); }

bool levels_only_reports(int sig, const struct sigaction *a)
{
    if (atomic_load(&lives_on) & LEVELS_BIT(sig))
        return false;
    uintptr_t at = a->sa_flags & SA_SIGINFO ? (uintptr_t)a->sa_sigaction : (uintptr_t)a->sa_handler;
    return a->sa_flags & SA_NODEFER && at >= atomic_load(&code_low) && at < atomic_load(&code_high);
}
