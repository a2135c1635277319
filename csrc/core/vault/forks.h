/* Forks beside calls that make what a child must not have. */
#ifndef SECALLOC_FORKS_H
#define SECALLOC_FORKS_H

#include "os/os.h"

/* Around calls that open or map what a child must not have: after the second, it is closed
 * or marked. No handler runs on the thread in between, to which a fork in it would be no
 * reason to wait. False, as the third tells beforehand: a fork came in between, and what was
 * made is to be given up. With LOCK_VAULT held, for which fork waits, but not for ever. [any] */
struct alone {
    sigset_t mask;
    uint64_t passed;
    bool crowded;
};
void alone_begin(struct alone *alone);
SA_MUST_USE bool alone_end(const struct alone *alone);
bool alone_still(const struct alone *alone);

/* The first two with the lock taken, and given back: no call of the vault's between them. [any] */
void forks_hold_off(struct alone *alone);
SA_MUST_USE bool forks_let_in(const struct alone *alone);

/* What runs before a fork, and after it in the parent. [any, atfork] */
void forks_before(void);
void forks_after(void);
/* In a child: it has begun no fork. Before the locks are made anew. [any, atfork] */
void forks_forked(void);

#endif
