/* A program that writes to the secret itself while its pages are open for reading. */
#include "death.h"

int main(int argc, char **argv)
{
    prepare(argc, argv, FAULT, "F N - S plain");
    MUST(slot_set_access(arena_slot(&arena), OS_READ) == 0);
    *(volatile uint8_t *)bytes = 1;
    return survived();
}
