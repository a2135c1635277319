/* The fatal signals: wipe every arena, write the marker, let the process die as
 * it would have. */
#ifndef SECALLOC_FATAL_H
#define SECALLOC_FATAL_H

#include "fatal/levels.h"

/* Arm where the user has not disarmed: all at the first call, later what a
 * survived signal took off. [any] */
void fatal_arm(void);

/* Wipe every arena, write the marker, say why and abort. [any] */
_Noreturn void fatal_tampered(void);

/* Fill in `signals` and `handlers`. [any] */
void fatal_status(struct sa_status *out);

/* The functions that enter the levels, and the level that an action enters; LEVELS: it is none
 * of ours. [any] */
extern void (*const fatal_entries[LEVELS])(int, siginfo_t *, void *);
unsigned fatal_level(const struct sigaction *a);

#endif
