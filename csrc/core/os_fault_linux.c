/* Which signals are faults: Linux. */
#include "os.h"

/* Notices, though their codes are a fault's: of memory tags checked late (AArch64), and
 * of a perf event (since 5.18, before which it was forced). Elsewhere nothing has these
 * numbers, which headers may not know. */
enum { LATE_TAG_CHECK = 8, PERF_EVENT = 6 };

SA_HOT bool os_is_forced(int sig, const siginfo_t *info, const void *context, bool ignored)
{
    (void)context, (void)ignored;
    if (info->si_code <= 0)
        return false;
    if (sig == SIGSEGV)
        return info->si_code != LATE_TAG_CHECK;
    if (sig == SIGTRAP)
        return info->si_code != PERF_EVENT;
#ifdef BUS_MCEERR_AO /* a memory error found elsewhere: a notice */
    if (sig == SIGBUS)
        return info->si_code != BUS_MCEERR_AO;
#endif
    /* QUIT, HUP and XCPU carry positive codes too, and force nothing */
    return sig == SIGBUS || sig == SIGILL || sig == SIGFPE || sig == SIGSYS;
}

SA_HOT bool os_puts_off(int sig, void *context)
{
    (void)sig, (void)context;
    return false;
}

SA_HOT void os_keep_faults_off(void) {}
SA_HOT void os_let_faults_in(void) {}

int os_handler_flags(void) { return 0; }
