/* The one byte that tells others of a wipe, and where it goes. */
#ifndef SECALLOC_MARKER_H
#define SECALLOC_MARKER_H

#include "secalloc.h"

/* As sa_set_lockdown_fd. [any] */
SA_MUST_USE enum sa_code marker_set(int fd, int *previous, struct sa_why *why);

/* The two calls of secalloc.h on a channel's descriptor. [any] */
SA_MUST_USE enum sa_code marker_take(int fd, struct sa_why *why);
void marker_leave(int fd);
int marker_fd(void); /* -1: nowhere [any] */

/* Remember which file the default, standard error, stands for: at load, before the program
 * can have given its number to something else. What does not survive exec did not come over
 * one, and counts as none. [any] */
void marker_start(void);

/* Whether standard error is open, and what it was then. [any] */
bool marker_standard_error(void);

/* As sa_no_standard_error. [any] */
void marker_no_default(void);

/* Write one byte to the descriptor, if it still stands for the file that it stood
 * for; where that is standard error and a terminal, on a line of its own. Never waits, never
 * raises a signal, fails silently: the caller is wiping and goes on. With `only_set` the default
 * descriptor gets nothing. [signal] */
void marker_write(char byte, bool only_set);

#endif
