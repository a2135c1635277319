/* A program that uses a pointer into an arena that was closed. */
#include "death.h"

int main(int argc, char **argv)
{
    prepare(argc, argv, FAULT, "F N - S plain");
    struct sa_arena a = {0};
    MUST(sa_arena_make(&a, size, 1, &why) == SA_OK && sa_fill_end(&a, true) == SA_OK);
    volatile uint8_t *stale = (uint8_t *)sa_address_of(&a);
    sa_close(&a);
    *stale = 1;
    return survived();
}
