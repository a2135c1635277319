/* Which signals the calling thread takes: macOS. */
#include "os.h"

/* A fault whose signal is blocked does not end the process here: the kernel only marks
 * it, and the thread faults for ever. So faults are never blocked. */
void os_mask_sent(sigset_t *before)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGABRT};
    sigset_t block;
    sigfillset(&block);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        sigdelset(&block, faults[i]);
    pthread_sigmask(SIG_BLOCK, &block, before);
}

void os_fill_mask(sigset_t *mask)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS};
    sigfillset(mask);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        sigdelset(mask, faults[i]);
}

void os_mask_all(sigset_t *before) { os_mask_sent(before); }

void os_unmask(const sigset_t *before) { pthread_sigmask(SIG_SETMASK, before, NULL); }
