/* A program that writes the byte behind the last. */
#include "death.h"

int main(int argc, char **argv)
{
    prepare(argc, argv, FAULT, "F N - S plain");
    *(volatile uint8_t *)(bytes + size) = 1;
    return survived();
}
