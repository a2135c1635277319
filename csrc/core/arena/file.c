/* This file makes arenas of files in memory. */
#include "arena/file.h"

#include "arena/make.h"
#include "arena/use.h"
#include "vault/file.h"

enum sa_code arena_make_file(struct sa_arena *a, size_t size, struct sa_lent *lent,
                             struct sa_why *why)
{
    unsigned required = 0;
    struct cell place = {0};
    *a = (struct sa_arena){0};
    enum sa_code code = arena_prepare(&required, true, why);
    if (code || (code = vault_take_file(size, required, &place.slot, lent, why)) || !size)
        return code;
    place.tail = place.slot.region->data - size; /* the file begins with the first page */
    return arena_start(a, &place, size, HOLDS_ZEROS, (struct sa_content){.from = NULL}, USE_FILL,
                       why);
}
