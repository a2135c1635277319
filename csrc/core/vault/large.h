/* Slots of more than sixteen pages, each in a reservation of its own. All calls want LOCK_VAULT
 * held. */
#ifndef SECALLOC_LARGE_H
#define SECALLOC_LARGE_H

#include "vault/state.h"

/* Map a slot of `data` bytes; it is SLOT_OWNED and inaccessible, and has the protections in
 * `least`: else SA_UNPROTECTED. `given`: on these pages, which the caller mapped aside, and which
 * are unmapped where it fails; NULL: on new ones. [any] */
SA_COLD SA_MUST_USE enum sa_code large_take(size_t data, unsigned least,
                                            const struct os_pages *given, struct slot *out,
                                            struct sa_why *why);

/* Unmap it: it holds noise, or nothing. [any] */
SA_COLD void large_put(struct slot s);

/* Whether it is one of these. [any] */
static inline bool large_is(struct slot s)
{
    return s.region >= larges && s.region < larges + LARGES;
}

#endif
