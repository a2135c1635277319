/* Sheltered calls: all memory that Python takes on a thread, while one runs there, comes from the
 * vault. */
#ifndef SECALLOC_FACE_SHELTER_H
#define SECALLOC_FACE_SHELTER_H

#include "face/types.h"

/* Whether Python's allocators can be reached: its symbols are there, and they have room for ours.
 * [any] */
SA_MUST_USE bool sa_shelter_possible(void);

/* A call begins, or one in another, on the calling thread. The first of the process puts ours
 * before Python's allocators, and never takes them off again: with the GIL, and nothing of a tool
 * that puts its own back later on top. Each sa_shelter_begin that succeeds is followed by
 * sa_shelter_end on the same thread. Fails as the vault does where it cannot be started. [any] */
SA_MUST_USE enum sa_code sa_shelter_begin(struct sa_why *why);

/* It has ended. With the outermost one the calling thread's stack below the caller's frame is
 * zeroed, to the lowest page that was touched, and every register that a call may change. [any] */
void sa_shelter_end(void);

/* Whether the calling thread is in one. [any] */
bool sa_shelter_inside(void);

/* Whether an address lies in memory that was taken in one. [any] */
bool sa_is_sheltered(const void *p);

/* Blocks that live, and their bytes. [any] */
void sa_shelter_count(size_t *blocks, size_t *bytes);

/* Give back what is kept for the next block. [any] */
void sa_shelter_trim(void);

/* A handler written in Python awaits the signal: it may lie below faulthandler's, so that the
 * process outlives both, and what lives in the shelter is left alone. [any] */
void sa_shelter_lives_on(int sig);

/* Whether a fork is to be refused: a call that forbade it has left blocks that live. [any] */
void sa_shelter_forbid_fork(void);
bool sa_shelter_forbids_fork(void);

#endif
