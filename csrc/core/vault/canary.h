/* What the slack around an arena's bytes holds, so that a write beside them shows. */
#ifndef SECALLOC_CANARY_H
#define SECALLOC_CANARY_H

#include "secalloc.h"

/* Draw this process's canary from the kernel's entropy. [any] */
SA_MUST_USE enum sa_code canary_start(struct sa_why *why);

/* Fill [from, to) / tell whether it still holds what canary_lay left there. The
 * value depends on the address, so that slack copied elsewhere does not pass. [any] */
void canary_lay(uint8_t *from, uint8_t *to);
bool canary_whole(const uint8_t *from, const uint8_t *to);

#endif
