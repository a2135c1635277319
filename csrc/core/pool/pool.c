/* A pool: many small arenas in the cells of its slabs, made, closed and freed together. */
#include "arena/make.h"
#include "pool/state.h"
#include "vault/vault.h"

#include <stdlib.h>

enum sa_code sa_pool_make(struct sa_pool **out, struct sa_why *why)
{
    enum sa_code code = vault_enter(why);
    if (code)
        return code;
    struct sa_pool *p = calloc(1, sizeof *p);
    if (!p || pthread_mutex_init(&p->sealing, NULL)) {
        free(p);
        *why = (struct sa_why){.call = "malloc"};
        return SA_NO_MEMORY;
    }
    p->epoch = vault_epoch();
    if ((code = slab_set_make(&p->set, why)))
        free(p);
    else
        *out = p;
    return code;
}

enum sa_code pool_alive(struct sa_pool *p, struct sa_why *why)
{
    if (slab_set_is_closed(p->set))
        return SA_CLOSED;
    if (vault_here() == p->epoch)
        return SA_OK;
    enum sa_code code = vault_enter(why);
    return !code && p->epoch != vault_epoch() ? SA_FORKED : code;
}

enum sa_code sa_pool_alloc_of(struct sa_pool *p, struct sa_arena *a, size_t size,
                              struct sa_content content, unsigned required, struct sa_why *why)
{
    enum sa_code code = pool_alive(p, why);
    if (code || (code = arena_prepare(&required, false, why)))
        return code;
    return arena_make_in(p->set, a, size, content, required, why);
}

enum sa_code sa_pool_alloc_with(struct sa_pool *p, struct sa_arena *a, size_t size,
                                unsigned required, struct sa_why *why)
{
    return sa_pool_alloc_of(p, a, size, (struct sa_content){.from = NULL}, required, why);
}

enum sa_code sa_pool_alloc(struct sa_pool *p, struct sa_arena *a, size_t size, struct sa_why *why)
{
    return sa_pool_alloc_with(p, a, size, 0, why);
}

/* False: an arena of the slab is made or moved just now. */
static bool close_slab(struct sa_slab *s)
{
    bool all = true;
    slab_lock(s);
    for (uint32_t i = 0; i < slab_cells(s); i++) {
        struct sa_arena *a = slab_owner(s, i);
        if (a && !arena_close_cell(a))
            all = false;
    }
    slab_retain_or_unmap(s);
    slab_unlock(s);
    return all;
}

void sa_pool_close(struct sa_pool *p)
{
    struct sa_why unused;
    if (pool_alive(p, &unused))
        return; /* closed, or a parent's: nothing of it is here */
    slab_set_close(p->set);
    for (struct sa_slab *s = NULL; (s = slab_walk(p->set, s));)
        for (unsigned turn = 0; !close_slab(s); turn++)
            os_wait(turn);
}

void sa_pool_free(struct sa_pool *p)
{
    sa_pool_close(p);
    slab_set_free(p->set);
    free(p);
}

void sa_pool_status(struct sa_pool *p, struct sa_pool_status *out)
{
    struct sa_why unused;
    bool closed = slab_set_is_closed(p->set);
    *out = (struct sa_pool_status){.closed = true, .sealed = slab_set_access(p->set) == OS_NONE};
    if (pool_alive(p, &unused) && !(closed && p->epoch == vault_epoch()))
        return; /* nothing of it is here */
    struct slab_totals totals = slab_set_totals(p->set);
    out->closed = closed;
    out->arenas = totals.arenas;
    out->bytes = totals.bytes;
    out->mapped = totals.mapped;
}
