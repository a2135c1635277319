/* A program that reads the byte behind the last. */
#include "death.h"

int main(int argc, char **argv)
{
    prepare(argc, argv, FAULT, "F N - S plain");
    (void)*(volatile uint8_t *)(bytes + size);
    return survived();
}
