/* This file tells who uses an arena, and when it was used last. Expiry asks it, which wipes what
 * nobody used for long. */
#include "arena/use.h"

int64_t sa_since_boot_ms(void) { return os_since_boot_ms(); }

void sa_watch(struct sa_arena *a, bool whether)
{
    if (arena_alive(a))
        return;
    atomic_store(&a->used, os_since_boot_ms());
    if (whether)
        atomic_fetch_or(&a->use, USE_WATCHED);
    else
        atomic_fetch_and(&a->use, ~USE_WATCHED);
}

bool sa_uses(struct sa_arena *a, struct sa_uses *out)
{
    if (arena_alive(a))
        return false;
    uint64_t u = atomic_load(&a->use);
    *out = (struct sa_uses){u & USE_EXPORTS, u & (USE_BLOCKS | USE_FILL), atomic_load(&a->used)};
    return !(u & USE_CLOSED);
}
