/* The vault's variables, in a file that calls nothing. */
#include "vault/state.h"

struct vault vault = {.epoch = 1};
struct sa_region segments[SEGMENTS];
struct sa_region larges[LARGES];
_Atomic(_Atomic uint64_t *) vault_token;
