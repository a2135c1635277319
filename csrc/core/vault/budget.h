/* What pages may be had. All calls want LOCK_VAULT held. */
#ifndef SECALLOC_BUDGET_H
#define SECALLOC_BUDGET_H

#include "vault/state.h"

/* Whether secretmem is to be had and wanted, and whether it then comes out of a budget that all
 * processes of the user share. */
bool budget_has_secretmem(void);
bool budget_is_shared(void);

/* Ask for the limits anew. */
void budget_learn_limits(void);

/* Count pages with what they were granted, or no more. */
void budget_count(unsigned granted, size_t data);
void budget_uncount_pages(unsigned granted, size_t data);
void budget_uncount(struct slot s);

/* Bytes that may still be locked, or taken of secretmem where that is another budget; SIZE_MAX:
 * no limit. An estimate: others of the user may have some of it. */
size_t budget_lock_room(void);

/* Whether that many more maps may be had without giving any back; the program around us keeps a
 * sixteenth of them. */
bool budget_maps_left(size_t wanted);

/* Pages were handed out that fell short: the first time is kept for sa_shortfall. */
SA_COLD void budget_note_shortfall(unsigned refused, const struct sa_why *why);

#endif
