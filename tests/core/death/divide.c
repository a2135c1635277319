/* A program that divides by zero. AArch64 gives no fault for it. */
#include "death.h"

int main(int argc, char **argv)
{
    prepare(argc, argv, SIGFPE, "F N - S plain");
#if defined(__x86_64__)
    __asm__ __volatile__("xorl %%ecx, %%ecx\n\txorl %%edx, %%edx\n\tdivl %%ecx"
                         :
                         :
                         : "eax", "ecx", "edx");
#else
    raise(SIGFPE);
#endif
    return survived();
}
