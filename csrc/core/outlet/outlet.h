/* What pipes and files that others read have in common. */
#ifndef SECALLOC_OUTLET_H
#define SECALLOC_OUTLET_H

#include "secalloc.h"

/* Begin with an outlet that is closed: for `size` bytes of `source` from `start` on. `lasting`: it
 * is opened for reading, until outlet_let_go; else only where it is sealed. SA_WIPED and others:
 * nothing was begun. [any] */
SA_MUST_USE enum sa_code outlet_reach(struct sa_outlet *o, struct sa_arena *source, size_t start,
                                      size_t size, bool lasting, struct sa_why *why);

/* Let the source be as it was. SA_WIPED, SA_CLOSED: it was wiped meanwhile. [any] */
SA_MUST_USE enum sa_code outlet_let_go(struct sa_outlet *o);

/* Have a pipe's feeder end, and read back what is in the pipe: how many bytes. [any] */
size_t pipe_end(struct sa_outlet *o);

/* Overwrite memory that was freed on this thread just now, what malloc gives of it. [any] */
void outlet_sweep(void);

#endif
