/* Sealing an arena that has pages of its own. */
#include "arena/use.h"

enum sa_code sa_seal(struct sa_arena *a, struct sa_why *why)
{
    enum sa_code code = arena_alive(a);
    if (code)
        return code;
    if (arena_shares(a))
        return atomic_load(&a->use) & USE_CLOSED ? SA_CLOSED : SA_POOLED;
    if ((code = arena_begin_moving(a, USE_EXPORTS | USE_FILL | USE_BLOCKS)))
        return code;
    if (!(atomic_load(&a->use) & USE_SEALED)) {
        atomic_fetch_or(&a->use, USE_SEALED);
        if ((code = arena_apply_access(a, why)))
            atomic_fetch_and(&a->use, ~USE_SEALED);
    }
    arena_leave(a, USE_MOVING);
    return code;
}
