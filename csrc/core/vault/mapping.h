/* Pages from the system, within the limits. */
#ifndef SECALLOC_MAPPING_H
#define SECALLOC_MAPPING_H

#include "vault/state.h"

/* Zeroed memory that a child sees zeroed. [any] */
SA_MUST_USE enum sa_code mapping_table(void **out, size_t bytes, struct sa_why *why);

/* os_map_pages, so that no child has any of them. With LOCK_VAULT held. [any] */
SA_MUST_USE int mapping_pages(size_t bytes, bool secretmem, unsigned least, struct os_pages *out);

/* Pages for up to *count slots of `data` bytes: fewer where limits bite, and, if `giving`,
 * parked ones are given back before less than one slot with all protections is accepted; but
 * none without those in `least`: SA_UNPROTECTED. The caller owns the pages. With LOCK_VAULT
 * held. [any] */
SA_MUST_USE enum sa_code mapping_slots(size_t data, size_t *count, unsigned least, bool giving,
                                       struct os_pages *pages, struct sa_why *why);

/* Whether the process may have that many more maps, parked slots being given back for it. With
 * LOCK_VAULT held. [any] */
SA_MUST_USE enum sa_code mapping_allows(size_t wanted, struct sa_why *why);

#endif
