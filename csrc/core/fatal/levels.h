/* What each fatal signal did before us. A handler that comes on top of ours chains to ours, and
 * arming once more puts ours on top of it. Each such level is entered by a function of its
 * own, which tells what comes next: others take their handlers off in any order, and no count
 * would follow. */
#ifndef SECALLOC_LEVELS_H
#define SECALLOC_LEVELS_H

#include "secalloc.h"

#include <signal.h>

enum { LEVELS = 8, LEVELS_SIGNALS = 65 };
#define LEVELS_BIT(sig) (UINT64_C(1) << ((sig)-1))

/* What the kernel forces on a thread; what is armed even where another handler is in place; and
 * the default set, whose rest is armed only where no other handler is. */
#define LEVELS_FORCED \
    (LEVELS_BIT(SIGSEGV) | LEVELS_BIT(SIGBUS) | LEVELS_BIT(SIGILL) | LEVELS_BIT(SIGFPE) | \
     LEVELS_BIT(SIGSYS) | LEVELS_BIT(SIGTRAP))
#define LEVELS_ALWAYS (LEVELS_FORCED | LEVELS_BIT(SIGABRT))
#define LEVELS_DEFAULTS \
    (LEVELS_ALWAYS | LEVELS_BIT(SIGQUIT) | LEVELS_BIT(SIGXCPU) | LEVELS_BIT(SIGXFSZ) | \
     LEVELS_BIT(SIGTERM) | LEVELS_BIT(SIGHUP))

/* Of one signal. For levels.c, and arming.c with LOCK_SIGNALS held. */
struct levels {
    struct sigaction before[LEVELS]; /* each is written once, before its level is in use */
    _Atomic unsigned used;           /* levels with an action saved */
    _Atomic unsigned on;             /* bit per level: in place, or below another's */
    _Atomic uintptr_t late[LEVELS];  /* the thread that found the next action in place */
};
extern struct levels levels[LEVELS_SIGNALS];
extern _Atomic uint64_t levels_to_arm; /* a bit per signal: not armed yet, or taken off */

/* What the signal did before that level was put on top; it never changes. [signal] */
const struct sigaction *levels_before(int sig, unsigned level);

/* Whether it is a handler that reports and then lets the process die: faulthandler's, which alone
 * of those in Python's own code may be interrupted by its own signal. Not where what it calls then
 * lets the process live. [signal] */
bool levels_only_reports(int sig, const struct sigaction *a);

/* Tells that a handler written in Python is below it, which only Python knows. [any] */
void levels_lives_on(int sig);

/* Tells where that code lies: in the same object as `symbol`. Once. [any] */
void levels_learn_python(const void *symbol);

/* Whether it is SIG_DFL, or SIG_IGN. [signal] */
SA_HOT static inline bool levels_is_plain(const struct sigaction *a, void (*what)(int))
{
    return !(a->sa_flags & SA_SIGINFO) && a->sa_handler == what;
}

/* Whether both come to the same. [signal] */
bool levels_same(const struct sigaction *a, const struct sigaction *b);

/* Put `next` in place of that level and of those above; the next arena arms again. 0, or an
 * errno. [signal] */
int levels_put_back(int sig, unsigned level, const struct sigaction *next);

/* Whether the same thread asks this twice in a row since the level was put on top. [signal] */
bool levels_comes_again(int sig, unsigned level);

/* The level whose next action is `now`; LEVELS: there are none left. With LOCK_SIGNALS held. */
unsigned levels_upon(int sig, const struct sigaction *now);

#endif
