/* A program that writes the byte below the data pages. */
#include "death.h"

int main(int argc, char **argv)
{
    prepare(argc, argv, FAULT, "F N - S plain");
    *(volatile uint8_t *)(slot_data(arena_slot(&arena)) - 1) = 1;
    return survived();
}
