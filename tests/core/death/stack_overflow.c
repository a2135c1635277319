/* A program that recurses until the main thread's stack ends. */
#include "death.h"

#include <sys/resource.h>

static volatile int depth;

__attribute__((noinline)) static int deeper(volatile char *above)
{
    volatile char here[1000];
    here[0] = *above;
    depth++;
    return depth ? deeper(here) + here[0] : 0; /* for ever, which no compiler knows */
}

int main(int argc, char **argv)
{
    prepare(argc, argv, FAULT, "F N - S plain");
    struct rlimit small = {256 << 10, 256 << 10};
    MUST(setrlimit(RLIMIT_STACK, &small) == 0);
    volatile char here = 1;
    deeper(&here);
    return survived();
}
