/* Locks of encrypted content: what is ciphertext and sealed may be swapped. So its lock goes to
 * a slot that needs one where the limit is spent, and comes back before it is turned to
 * plaintext. Pages of secretmem keep theirs, as no call takes it from them. */
#ifndef SECALLOC_RELOCK_H
#define SECALLOC_RELOCK_H

#include "vault/slot.h"

/* Its content is encrypted and its pages are inaccessible: the lock may be given back. [any] */
void relock_may_give(struct slot s);

/* Lock it, as its content is to be turned back, or written anew; its pages are accessible. From here
 * on it keeps the lock. Where none is to be had, and `required`, a set of sa_protection bits, has
 * SA_LOCK, SA_UNPROTECTED, and it is as it was; else a shortfall is noted. [any] */
SA_MUST_USE enum sa_code relock(struct slot s, unsigned required, struct sa_why *why);

/* Give some locks back: false: there are none. With LOCK_VAULT held. [any] */
bool relock_give_some(void);

/* The slot goes back. With LOCK_VAULT held. [any] */
void relock_forget(struct slot s);

#endif
