/* What lives in the vault, for people to look at. */
#include "arena/name.h"
#include "arena/place.h"
#include "slab/slab.h"
#include "vault/locks.h"
#include "vault/vault.h"

#include <string.h>

static void describe(struct slot s, uint64_t h, struct sa_arena *owner, struct sa_live *out)
{
    *out = (struct sa_live){
        .pages = (uintptr_t)slot_data(s),
        .data = s.region->data,
        .protection = word_granted(h) | SA_GUARD | SA_NOFORK,
        .may_read = word_wanted(h) != OS_NONE,
        .may_write = word_wanted(h) == OS_WRITE,
    };
    if (!owner)
        return;
    uint64_t use = atomic_load(&owner->use);
    out->arenas = 1;
    out->size = owner->size;
    out->address = out->pages + out->data - owner->tail - owner->size;
    out->exports = use & USE_EXPORTS;
    out->sealed = use & USE_SEALED;
    out->wiped = use & USE_FILL || !arena_whole(owner);
    arena_name_locked(owner, out->name);
}

/* Whether a slot is parked or an arena's own. With the vault's lock held: nobody takes an owner
 * out, so that it can be looked at. What is read of it is atomic, or stays what it was when the
 * owner was put in. */
static bool counts(struct slot s, uint64_t h, struct sa_arena **owner)
{
    *owner = NULL;
    if (word_state(h) != SLOT_LIVE || h & WORD_POOLED)
        return word_state(h) == SLOT_PARKED;
    *owner = slot_owner(s); /* or not settled yet, or content is on its way to or from here */
    return *owner && slot_is(arena_slot(*owner), s);
}

size_t sa_census(struct sa_live *out, size_t room)
{
    if (!vault_is_ours())
        return 0;
    size_t n = 0;
    lock_take(LOCK_VAULT);
    for (struct slot s = {NULL, 0}; vault_next(&s);) {
        struct sa_arena *owner;
        uint64_t h = atomic_load(slot_word(s));
        if (!counts(s, h, &owner))
            continue;
        if (n < room)
            describe(s, h, owner, &out[n]);
        n++;
    }
    lock_give(LOCK_VAULT);
    return slabs_census(out, room, n);
}

/* Those of one slab, which is locked: nobody takes an owner out. */
static size_t names_in(struct sa_slab *slab, struct sa_named *out, size_t room, size_t n)
{
    for (uint32_t i = 0; i < slab_cells(slab); i++) {
        struct sa_arena *owner = slab_owner(slab, i);
        char name[SA_NAME_ROOM];
        if (!owner)
            continue;
        sa_name(owner, name);
        if (!*name)
            continue;
        if (n < room) {
            out[n].pages = (uintptr_t)slot_data(slab_slot(slab));
            memcpy(out[n].name, name, strlen(name) + 1);
        }
        n++;
    }
    return n;
}

size_t sa_census_names(struct sa_named *out, size_t room)
{
    size_t n = 0;
    if (!vault_is_ours())
        return 0;
    for (struct sa_slab *s = NULL; (s = slabs_walk(s));)
        n = names_in(s, out, room, n);
    return n;
}
