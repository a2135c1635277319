/* Slots of up to sixteen pages, mapped in batches. */
#ifndef SECALLOC_PAGES_H
#define SECALLOC_PAGES_H

#include "vault/state.h"

/* Take a parked slot, mapping more where there is none; it is SLOT_OWNED and
 * inaccessible, and has the protections in `least`: else SA_UNPROTECTED. With LOCK_VAULT
 * held. [any] */
SA_MUST_USE enum sa_code pages_take(unsigned class, unsigned least, struct slot *out,
                                    struct sa_why *why);

#endif
