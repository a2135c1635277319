/* The fatal signals: what comes in wipes every arena, writes the marker, and lets the process
 * die as it would have. */
#ifndef SECALLOC_FATAL_H
#define SECALLOC_FATAL_H

#include "fatal/levels.h"

/* Arm where the user has not disarmed: all at the first call, later what a
 * survived signal took off. [any] */
void fatal_arm(void);

/* Wipe every arena, write the marker, say what was found, one of these, and abort. [any] */
#define FATAL_FOUND(what) "secalloc: " what "; every arena was wiped, aborting\n"
#define FATAL_CANARY FATAL_FOUND("canary damaged: something wrote beside an arena")
#define FATAL_CIPHERTEXT FATAL_FOUND("ciphertext damaged: something wrote to a sealed arena")
_Noreturn void fatal_tampered(const char *text);

/* Fill in `signals` and `handlers`. [any] */
void fatal_status(struct sa_status *out);

/* The functions that enter the levels, and the level that an action enters; LEVELS: it is none
 * of ours. [any] */
extern void (*const fatal_entries[LEVELS])(int, siginfo_t *, void *);
unsigned fatal_level(const struct sigaction *a);

#endif
