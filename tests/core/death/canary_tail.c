/* A program that writes into the slack behind the bytes, which a close finds. */
#include "death.h"

int main(int argc, char **argv)
{
    prepare(argc, argv, SIGABRT, "F N F N told");
    struct sa_arena a = {0};
    MUST(sa_arena_make(&a, 100, 64, &why) == SA_OK && sa_fill_end(&a, true) == SA_OK);
    ((volatile uint8_t *)sa_address_of(&a))[100] ^= 1;
    sa_close(&a);
    return survived();
}
