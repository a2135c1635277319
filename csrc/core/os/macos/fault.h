/* What os/macos/fault.c and os/macos/frame.c share. */
#ifndef SECALLOC_OS_FAULT_MACOS_H
#define SECALLOC_OS_FAULT_MACOS_H

#include "os/os.h"

/* Where the thread was, if what brought it into the kernel was a fault; 0: a system call, or
 * an interrupt. [signal] */
uintptr_t fault_address(const void *context);

#endif
