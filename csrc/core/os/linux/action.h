/* What a signal does, asked of the kernel of Linux. */
#ifndef SECALLOC_OS_ACTION_LINUX_H
#define SECALLOC_OS_ACTION_LINUX_H

#include "os/os.h"

/* As os_action(), past the C library and all that stands before it, for any signal. [signal] */
SA_MUST_USE int os_action_raw(int sig, const struct sigaction *next, struct sigaction *before);

#endif
