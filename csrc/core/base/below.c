/* This file overwrites the dead stack below a function, as libgcrypt's _gcry_burn_stack() does. */
#include "base/below.h"

#include "base/wipe.h"

enum { BELOW = 4096 }; /* ChaCha20-Poly1305 and BLAKE2b take less than half of it */

OWN_FRAME void wipe_below(void)
{
    char below[BELOW];
    wipe_scratch(below, sizeof below);
}
