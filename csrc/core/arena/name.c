/* Names of arenas: what people call them. Few arenas have one, so names lie on the heap, apart.
 * They are read under the lock of the vault, since a census reads those of other threads'
 * arenas. */
#include "arena/name.h"
#include "vault/locks.h"

#include <stdlib.h>
#include <string.h>

/* NULL without memory. */
static char *copy_of(const char *name, size_t n)
{
    char *copy = malloc(n + 1);
    if (!copy)
        return NULL;
    memcpy(copy, name, n);
    copy[n] = 0;
    return copy;
}

enum sa_code sa_set_name(struct sa_arena *a, const char *name, size_t n, struct sa_why *why)
{
    char *fresh = NULL;
    if (!name && !atomic_load(&a->name))
        return SA_OK;
    if (name && n >= SA_NAME_ROOM)
        return SA_BAD_RANGE;
    if (name && !(fresh = copy_of(name, n))) {
        *why = (struct sa_why){.call = "malloc"};
        return SA_NO_MEMORY;
    }
    lock_take(LOCK_VAULT);
    char *old = atomic_exchange(&a->name, fresh);
    lock_give(LOCK_VAULT);
    free(old);
    return SA_OK;
}

void arena_name_locked(struct sa_arena *a, char out[SA_NAME_ROOM])
{
    const char *name = atomic_load(&a->name);
    size_t n = name ? strlen(name) : 0;
    memcpy(out, name ? name : "", n + 1);
}

void sa_name(struct sa_arena *a, char out[SA_NAME_ROOM])
{
    out[0] = 0;
    if (!atomic_load(&a->name))
        return; /* most have none, and pay no lock */
    lock_take(LOCK_VAULT);
    arena_name_locked(a, out);
    lock_give(LOCK_VAULT);
}
