/* Which signals the calling thread takes, on Linux. The raw call is used here: glibc's keeps 32
 * and 33 out of every set, and takes them off where a mask that has them is put back. */
#include "os/os.h"
#include "os/linux/syscall.h"

#include <string.h>

/* The C library hands an action's on as it is. */
void os_fill_mask(sigset_t *mask) { memset(mask, 0xff, sizeof *mask); }

/* The kernel's set; the C library's begins with it. */
static void set_mask(uint64_t block, sigset_t *before)
{
    uint64_t now = 0;
    /* It cannot fail but where a sandbox forbids it, and then nothing is to be blocked. */
    (void)os_syscall(SYS_rt_sigprocmask, SIG_BLOCK, (long)&block, (long)&now, sizeof now, 0, 0);
    sigemptyset(before);
    memcpy(before, &now, sizeof now);
}

void os_mask_all(sigset_t *before) { set_mask(UINT64_MAX, before); }

void os_mask_sent(sigset_t *before)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGABRT};
    uint64_t block = UINT64_MAX;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        block &= ~(UINT64_C(1) << (faults[i] - 1));
    set_mask(block, before);
}

void os_unmask(const sigset_t *before)
{
    (void)os_syscall(SYS_rt_sigprocmask, SIG_SETMASK, (long)before, 0, sizeof(uint64_t), 0, 0);
}
