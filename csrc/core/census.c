/* What lives in the vault, for people to look at. */
#include "arena_state.h"
#include "vault_state.h"

static void describe(struct slot s, uint64_t h, struct sa_arena *owner, struct sa_live *out)
{
    *out = (struct sa_live){
        .pages = (uintptr_t)slot_data(s),
        .data = s.region->data,
        .protection = hold_granted(h) | SA_GUARD | SA_NOFORK,
        .may_read = hold_wanted(h) != OS_NONE,
        .may_write = hold_wanted(h) == OS_WRITE,
    };
    if (!owner)
        return;
    uint64_t use = atomic_load(&owner->use);
    out->arenas = 1;
    out->size = owner->size;
    out->address = out->pages + out->data - owner->tail - owner->size;
    out->exports = use & EXPORTS;
    out->sealed = use & SEALED;
    out->wiped = use & FILL || !arena_whole(owner);
}

/* With the vault's lock held: nobody takes an owner out, so that it can be looked at. What
 * is read of it is atomic, or stays what it was when the owner was put in. */
static size_t count_region(struct sa_region *r, struct sa_live *out, size_t room, size_t n)
{
    uint32_t used = atomic_load(&r->base) ? atomic_load(&r->used) : 0;
    for (uint32_t i = 0; i < used; i++) {
        struct slot s = {r, i};
        uint64_t h = atomic_load(slot_hold(s));
        struct sa_arena *owner = NULL;
        if (hold_state(h) == SLOT_LIVE && !(h & HOLD_POOLED)) {
            owner = atomic_load_explicit(&r->owners[i], memory_order_acquire);
            if (!owner || !slot_is(arena_slot(owner), s))
                continue; /* not settled yet, or content is on its way to or from here */
        } else if (hold_state(h) != SLOT_PARKED) {
            continue;
        }
        if (n < room)
            describe(s, h, owner, &out[n]);
        n++;
    }
    return n;
}

size_t sa_census(struct sa_live *out, size_t room)
{
    if (!vault_is_ours())
        return 0;
    size_t n = 0;
    lock_take(LOCK_VAULT);
    for (uint32_t i = 0; i < atomic_load(&vault.segment_count); i++)
        n = count_region(&segments[i], out, room, n);
    for (uint32_t i = 0; i < atomic_load(&vault.large_count); i++)
        n = count_region(&larges[i], out, room, n);
    lock_give(LOCK_VAULT);
    return pool_census(out, room, n);
}
