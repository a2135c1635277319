/* Fatal signals, where the marker goes, and the terminal that must not stay silent. */
#ifndef SECALLOC_FACE_FATAL_H
#define SECALLOC_FACE_FATAL_H

#include "face/types.h"

/* Where the marker goes: a descriptor, or -1 for nowhere. *previous gets the one
 * before, -1 for nowhere. The descriptor stays the caller's. The default is standard error
 * as it was when the library was loaded; nowhere, if that was closed, or is closed by exec
 * and so was opened by the program itself. [any] */
SA_MUST_USE enum sa_code sa_set_lockdown_fd(int fd, int *previous, struct sa_why *why);

/* The same for a descriptor that came over a channel: only the process that took
 * it over writes to it, none that is forked from it. The descriptor stays the
 * caller's. [any] */
SA_MUST_USE enum sa_code sa_take_lockdown_fd(int fd, struct sa_why *why);

/* Standard error was closed when the program began, and what has its number is something
 * else: the default is nowhere. For a library that was loaded later than that. [any] */
void sa_no_standard_error(void);

/* Put the default back, standard error as it was at load, where the marker still goes to
 * a descriptor `fd` that was taken over. [any] */
void sa_leave_lockdown_fd(int fd);

/* ---- signals ------------------------------------------------------------------ */

/* Install the handlers for `count` signals, outermost; NULL means the default set. Each must
 * be one whose default action ends the process, else SA_BAD_SIGNAL, and nothing was installed.
 * What somebody handles, or ignores, stays as it is; but not the default set's first seven
 * where they are handled, nor its forced ones where they are ignored. [any] */
SA_MUST_USE enum sa_code sa_arm(const int *signals, size_t count, struct sa_why *why);

/* Put back what was there where ours is still in place, and stay off until
 * sa_arm. [any] */
SA_MUST_USE enum sa_code sa_disarm(struct sa_why *why);

/* ---- a terminal --------------------------------------------------------------- */

/* Turn a terminal's echo, line editing and signal keys off, once the process is in its
 * foreground. They are on again after sa_echo_back, when the process is stopped until it goes
 * on, and when it dies of a signal that nobody handles or ends. One terminal at a time: EBUSY.
 * EINTR: signals broke it off time and again while output was sent; they may be on still.
 * The descriptor stays the caller's, who closes it after sa_echo_back. [any] */
SA_MUST_USE enum sa_code sa_echo_off(int fd, struct sa_why *why);
/* Restore that terminal and flush what was typed ahead; nothing where another descriptor, or
 * no terminal, is being read. [any] */
void sa_echo_back(int fd);
/* The modes before sa_echo_off, or before the process last went on. [any] */
#define SA_TERMINAL_KEYS 32 /* NCCS of the C libraries, or more */
struct sa_terminal {
    unsigned continued;         /* how often the process stopped and went on, over all calls */
    unsigned long input, local; /* c_iflag and c_lflag */
    unsigned char keys[SA_TERMINAL_KEYS];
};
void sa_echo_before(struct sa_terminal *out);

#endif
