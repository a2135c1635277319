/* Calls of Linux without the C library. */
#ifndef SECALLOC_OS_SYSCALL_LINUX_H
#define SECALLOC_OS_SYSCALL_LINUX_H

#include <sys/syscall.h>

/* Call the kernel; unused arguments are 0. Returns what it returns: from -4095 to -1 that is
 * an errno, negated. errno is left alone.
 *
 * For what runs once, right after a fault or a long sleep: with cold caches each page of
 * code costs about a microsecond, and the library's calls lie on many. [signal] */
long os_syscall(long number, long a, long b, long c, long d, long e, long f);

#endif
