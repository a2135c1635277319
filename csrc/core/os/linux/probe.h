/* System calls of Linux that the library can do without, and that a sandbox may end the process
 * for. */
#ifndef SECALLOC_OS_PROBE_LINUX_H
#define SECALLOC_OS_PROBE_LINUX_H

#include <stdbool.h>
#include <stddef.h>

enum os_call {
    OS_MEMFD_SECRET,
    OS_MLOCK2,
    OS_PWRITEV2,
    OS_MINCORE,
    OS_CAPGET,
    OS_SYSINFO,
    OS_PRCTL,
    OS_PROCESS_VM_READV,
    OS_IOCTL, /* PAGEMAP_SCAN */
    OS_VFORK, /* clone(OS_VFORK_FLAGS), and wait4 */
    OS_CALLS
};

/* Whether a call may be made at all; what it then answers is another matter. Asked once: where
 * a seccomp filter is on, in a child process first. [any] */
bool os_may_call(enum os_call call);

/* Of a child on a stack of its own that shares memory and descriptors, and whose end raises no
 * signal. */
#define OS_VFORK_FLAGS (CLONE_VM | CLONE_VFORK | CLONE_FILES)

/* Whether a child of the calling thread would be one process more, and not the first of another
 * PID namespace (unshare), which ends with it. True without /proc. [any] */
bool os_child_is_plain(void);

/* The same, as it was found out before; false where nobody asked. [signal] */
bool os_may_call_now(enum os_call call);

/* memfd_secret() and mlock2(MLOCK_ONFAULT), where they may be called: as these, with ENOSYS
 * for no such call and EPERM for one that a filter forbids. [any] */
int os_open_secretmem(void);
int os_lock_on_fault(void *at, size_t bytes);

#endif
