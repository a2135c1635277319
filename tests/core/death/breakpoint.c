/* A program with a breakpoint, behind which it would go on. */
#include "death.h"

int main(int argc, char **argv)
{
    prepare(argc, argv, SIGTRAP, "F N - S plain");
#if defined(__x86_64__)
    __asm__ __volatile__("int3");
#elif defined(__aarch64__)
    __asm__ __volatile__("brk #0");
#endif
    return survived();
}
