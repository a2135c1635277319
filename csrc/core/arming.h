/* Which signals are armed, and what each did before. The handlers are in fatal.c. */
#ifndef SECALLOC_ARMING_H
#define SECALLOC_ARMING_H

#include "fatal.h"

#include <signal.h>

/* Whoever comes on top of us chains to us, so that arming once more puts us on top of who
 * chains to us. Each level is entered by a function of its own, which tells what comes
 * next: others take their handlers off in any order, and no count would follow. */
enum { LEVELS = 8 };
extern void (*const fatal_entries[LEVELS])(int, siginfo_t *, void *);

/* The level that an action enters; LEVELS: it is none of ours. [signal] */
unsigned arming_level(const struct sigaction *a);

/* What the signal did before that level was put on top; it never changes. [signal] */
const struct sigaction *arming_before(int sig, unsigned level);

/* Whether it is SIG_DFL, or SIG_IGN. [signal] */
SA_HOT static inline bool arming_is_plain(const struct sigaction *a, void (*what)(int))
{
    return !(a->sa_flags & SA_SIGINFO) && a->sa_handler == what;
}

/* Whether both come to the same. [signal] */
bool arming_same(const struct sigaction *a, const struct sigaction *b);

/* Put `next` in place of that level and of those above; the next arena arms again. 0, or an
 * errno. [signal] */
int arming_put_back(int sig, unsigned level, const struct sigaction *next);

/* Whether the same thread asks this twice in a row since the level was put on top. [signal] */
bool arming_comes_again(int sig, unsigned level);

#endif
