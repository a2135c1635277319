/* A program that makes a system call that a filter traps: SIGSYS, behind which it would go on. */
#include "death.h"

#ifdef __linux__
#include "trap.h"

#include <sys/syscall.h>

static void call(void)
{
    MUST(trap_calls_of(SYS_getppid) == 0);
    (void)syscall(SYS_getppid);
}
#else
static void call(void) { raise(SIGSYS); }
#endif

int main(int argc, char **argv)
{
    prepare(argc, argv, SIGSYS, "F N - S plain");
    call();
    return survived();
}
