/* A program that waits for a fatal signal from another process. */
#include "death.h"

int main(int argc, char **argv)
{
    prepare(argc, argv, SIGSEGV, "F RN - RS killed");
    MUST(write(VERDICT, "R", 1) == 1);
    for (;;)
        pause();
}
