/* Which signals are faults, on Linux. */
#include "os/os.h"

/* Notices, though their codes are a fault's: of memory tags checked late (AArch64), and
 * of a perf event (since 5.18, before which it was forced). Elsewhere nothing has these
 * numbers, which headers may not know. */
enum { LATE_TAG_CHECK = 8, PERF_EVENT = 6 };

SA_HOT bool os_is_forced(int sig, const siginfo_t *info, const void *context, bool ignored)
{
    (void)context, (void)ignored;
    /* QUIT, HUP and XCPU carry positive codes too, and force nothing. A set, as a switch
     * becomes a jump through a pointer. */
    const uint64_t faults = UINT64_C(1) << SIGSEGV | UINT64_C(1) << SIGTRAP |
                            UINT64_C(1) << SIGBUS | UINT64_C(1) << SIGILL | UINT64_C(1) << SIGFPE |
                            UINT64_C(1) << SIGSYS;
    int notice = sig == SIGSEGV ? LATE_TAG_CHECK : sig == SIGTRAP ? PERF_EVENT : 0;
#ifdef BUS_MCEERR_AO /* a memory error found elsewhere */
    notice = sig == SIGBUS ? BUS_MCEERR_AO : notice;
#endif
    return (unsigned)sig < 64 && faults >> sig & 1 && info->si_code > 0 && info->si_code != notice;
}

SA_HOT bool os_puts_off(int sig, void *context)
{
    (void)sig, (void)context;
    return false;
}

SA_HOT void os_keep_faults_off(void) {}
SA_HOT void os_let_faults_in(void) {}

int os_handler_flags(void) { return 0; }
