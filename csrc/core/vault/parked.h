/* Slots whose pages are kept for the next arena, and slots that gave theirs back. All calls want
 * LOCK_VAULT held. */
#ifndef SECALLOC_PARKED_H
#define SECALLOC_PARKED_H

#include "vault/state.h"

/* Park a slot with the slot word `word`. */
void parked_add(struct class *c, struct slot s, uint64_t word);

/* Take out one of the older half at random, but not the one that a close parked last; or the one
 * that was parked last of all. One is there. */
struct slot parked_take_any(struct class *c);
struct slot parked_take_newest(struct class *c);

/* The one that parked_take_newest would take. */
struct slot parked_newest(const struct class *c);

/* Whether the only one is that which a close parked last. */
bool parked_is_latest_alone(const struct class *c);

/* Turn a slot without secret, and in no ring, back into address space; a failure leaves it
 * SLOT_LOST, which is one less all the same. */
SA_COLD void parked_give_back(struct slot s);

/* The class has a slot that was given back; take it. False: it has none. */
bool parked_take_free(struct class *c, struct slot *out);

/* A slot without pages, for the next call of that. */
void parked_add_free(struct class *c, struct slot s);

/* Give back some parked slots, oldest first; false: none was left. */
SA_COLD bool parked_give_some_back(void);

/* Give all parked slots back: what is mapped from now on is to be of another kind. */
SA_COLD void parked_give_all_back(void);

/* Park an inaccessible slot, or give its pages back where parking is of no use or
 * they are not `whole`. */
void parked_put(struct slot s, bool whole);

#endif
