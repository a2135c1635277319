/* What the kernel charges for secretmem, learned from the first that was mapped. */
#ifndef SECALLOC_OS_BUDGET_LINUX_H
#define SECALLOC_OS_BUDGET_LINUX_H

#include "os/os.h"

/* Learn it from a mapping of secretmem, a page or more of any access. [any] */
void os_learn_who_is_charged(void *secretmem);

#endif
