/* A program that recurses until the stack of a thread that uses the library ends. */
#include "death.h"

static volatile int depth;

__attribute__((noinline)) static int deeper(volatile char *above)
{
    volatile char here[1000];
    here[0] = *above;
    depth++;
    return depth ? deeper(here) + here[0] : 0; /* for ever, which no compiler knows */
}

static void *recurses(void *unused)
{
    struct sa_arena own = {0};
    MUST(sa_arena_make(&own, 1, 1, &why) == SA_OK); /* gives the thread its signal stack */
    volatile char here = 1;
    deeper(&here);
    return unused;
}

int main(int argc, char **argv)
{
    prepare(argc, argv, FAULT, "F N - S plain");
    on_thread(recurses, NULL);
    return survived();
}
