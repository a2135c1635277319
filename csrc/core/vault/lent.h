/* Descriptors that programs read a secret from, so that a child closes its parent's. */
#ifndef SECALLOC_LENT_H
#define SECALLOC_LENT_H

#include "vault/locks.h"

/* Note an open descriptor, whose record stays where it is until lent_close. With LOCK_VAULT held
 * since it was opened, for which fork waits. [any] */
void lent_add(struct sa_lent *lent, int fd);

/* Close it, unless its number is another file's by now. Harmless when repeated, and of a record
 * that is zeroed with fd -1. Takes LOCK_VAULT. [any] */
void lent_close(struct sa_lent *lent);

/* Close all of them. [atfork child] */
void lents_forked(void);

#endif
