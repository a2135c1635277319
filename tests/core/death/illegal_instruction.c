/* A program with an instruction that does not exist. */
#include "death.h"

int main(int argc, char **argv)
{
    prepare(argc, argv, SIGILL, "F N - S plain");
#if defined(__x86_64__)
    __asm__ __volatile__("ud2");
#elif defined(__aarch64__)
    __asm__ __volatile__(".inst 0");
#endif
    return survived();
}
