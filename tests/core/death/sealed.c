/* A program that reads the secret itself while its pages are closed. */
#include "death.h"

int main(int argc, char **argv)
{
    prepare(argc, argv, FAULT, "F N - S plain");
    MUST(slot_set_access(arena_slot(&arena), OS_NONE) == 0);
    (void)*(volatile uint8_t *)bytes;
    return survived();
}
