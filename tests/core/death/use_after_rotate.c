/* A program that uses a pointer to where the secret was before a rotation. */
#include "death.h"

int main(int argc, char **argv)
{
    prepare(argc, argv, FAULT, "F N - S plain");
    volatile uint8_t *stale = bytes;
    for (int i = 0; sa_rotate(&arena, 0, &why) != SA_OK; i++) { /* an ordinary user's lock limit */
        MUST(i < 24);
        if (made[i])
            sa_close(&neighbours[i]);
    }
    bytes = (uint8_t *)sa_address_of(&arena);
    (void)*stale;
    return survived();
}
