/* The pattern that wipes: 4,096 bytes of ChaCha12 keystream under a key from the
 * kernel's entropy, repeated over longer memory. */
#ifndef SECALLOC_NOISE_H
#define SECALLOC_NOISE_H

#include "secalloc.h"

enum { NOISE_BYTES = 4096 };

/* Build fresh noise aside and swap it in whole. On failure the old one stays. [any] */
SA_MUST_USE enum sa_code noise_rekey(struct sa_why *why);

/* Whether there is noise yet. [signal] */
bool noise_ready(void);

/* How often noise was rekeyed, the first time not counted. [any] */
uint64_t noise_rekeys(void);

/* Overwrite `n` bytes at `p`. Should another thread rekey meanwhile, all of one call's bytes
 * come from one whole noise. Needs noise_ready(). [signal] */
void noise_wipe(void *p, size_t n);

/* In a forked child: forget the parent's noise, which must not wipe here. */
void noise_forked(void);

#endif
