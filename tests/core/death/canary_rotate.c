/* A program that writes into the last byte of the slack, which a rotation finds. */
#include "death.h"

int main(int argc, char **argv)
{
    prepare(argc, argv, SIGABRT, "F N F N told");
    struct sa_arena a = {0};
    MUST(sa_arena_make(&a, 5000, 4096, &why) == SA_OK && sa_fill_end(&a, true) == SA_OK);
    ((volatile uint8_t *)sa_address_of(&a))[8191] ^= 1;
    (void)!sa_rotate(&a, 0, &why);
    return survived();
}
