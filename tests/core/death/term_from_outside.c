/* A program that waits for TERM from another process, as supervisors send it. A handler that was
 * there before would keep it from the library, so nobody observes: the marker tells, and the
 * ending. */
#include "death.h"

int main(int argc, char **argv)
{
    if (is(argc, argv, "expect")) {
        fprintf(stderr, "%d F R - R killed\n", SIGTERM);
        return 0;
    }
    prepare(argc, argv, SIGSEGV, "");
    MUST(write(VERDICT, "R", 1) == 1);
    for (;;)
        pause();
}
