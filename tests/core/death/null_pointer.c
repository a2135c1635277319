/* A stray pointer, nowhere near an arena. */
#include "death.h"

int main(int argc, char **argv)
{
    prepare(argc, argv, FAULT, "F N - S plain");
    volatile uintptr_t nowhere = 8;
    (void)*(volatile uint8_t *)nowhere;
    return survived();
}
