/* The cells of one slab: which are free, where they lie, and what becomes of pages without any in
 * use. */
#include "vault/noise.h"
#include "slab/state.h"
#include "vault/vault.h"

#include <stdlib.h>

void slab_lock(struct sa_slab *s) { slab_lock_here(s); }
void slab_unlock(struct sa_slab *s) { slab_unlock_here(s); }

bool slab_lock_writable(struct sa_slab *s)
{
    if (s->class == SLAB_ALONE)
        return false;
    slab_lock_here(s);
    if (slab_access(s) == OS_WRITE)
        return true;
    slab_unlock_here(s);
    return false;
}

/* ---- cells --------------------------------------------------------------------------- */

size_t slab_cell_before_end(struct sa_slab *s, uint32_t index, size_t *bytes)
{
    *bytes = s->cell_bytes;
    return (size_t)(s->cells - index) * s->cell_bytes; /* the last meets the guard */
}

uint8_t *slab_cell_at(struct sa_slab *s, uint32_t index, size_t *bytes)
{
    return slot_data(s->slot) + s->slot.region->data - slab_cell_before_end(s, index, bytes);
}

static size_t tail_for(const struct sa_slab *s, uint32_t index, size_t size)
{
    if (s->class == SLAB_ALONE)
        return 0;
    return (size_t)(s->cells - index) * s->cell_bytes - size;
}

uint32_t slab_cells(const struct sa_slab *s) { return s->mapped ? s->cells : 0; }

struct sa_arena *slab_owner(const struct sa_slab *s, uint32_t index) { return s->owners[index]; }

struct slot slab_slot(const struct sa_slab *s) { return s->slot; }

struct cell slab_take_cell(struct sa_slab *s, struct sa_arena *owner, size_t size)
{
    uint32_t words = (s->cells + 63) / 64, w = s->hint;
    while (!~s->taken[w])
        w = w + 1 < words ? w + 1 : 0;
    uint64_t room = ~s->taken[w];
    uint32_t index = w * 64 + (uint32_t)__builtin_ctzll(room);
    s->taken[w] |= room & (0 - room);
    s->owners[index] = owner;
    s->bytes += size;
    s->hint = w;
    slab_set_free_cells(s, slab_free_cells(s) - 1);
    return (struct cell){s, index, s->slot, tail_for(s, index, size)};
}

void slab_set_owner(struct sa_slab *s, uint32_t index, struct sa_arena *owner)
{
    slab_lock_here(s);
    s->owners[index] = owner;
    slab_unlock_here(s);
}

void slab_free_cell(struct sa_slab *s, uint32_t index, size_t size)
{
    s->taken[index / 64] &= ~((uint64_t)1 << index % 64);
    s->owners[index] = NULL;
    s->bytes -= size;
    s->hint = index / 64;
    slab_set_free_cells(s, slab_free_cells(s) + 1);
}

void slab_give_back(struct sa_slab *s, uint32_t index, size_t size)
{
    slab_lock_here(s);
    slab_free_cell(s, index, size);
    slab_retain_or_unmap(s);
    slab_unlock_here(s);
}

void slab_wipe_lifted(struct sa_slab *s, uint32_t index)
{
    size_t bytes;
    uint8_t *cell = slab_cell_at(s, index, &bytes);
    noise_wipe(cell, bytes);
}

void slab_wipe_cell(struct sa_slab *s, uint32_t index)
{
    if (slab_lift(s)) {
        slab_overtaken(s);
        (void)slot_wipe(s->slot); /* with its neighbours, rather than not at all */
        return;
    }
    slab_wipe_lifted(s, index);
    slab_unlift(s);
}

void slab_add_up(const struct sa_slab *s, struct slab_totals *totals)
{
    if (!s->mapped)
        return;
    totals->slots++;
    totals->mapped += s->slot.region->data;
    totals->arenas += slab_used(s);
    totals->bytes += s->bytes;
}

/* ---- pages ------------------------------------------------------------------------------ */

static _Atomic uint32_t *pages_of(struct sa_slab *s) { return &s->set->pages[s->shard][s->class]; }

static uint32_t page_count(const struct sa_slab *s)
{
    return (uint32_t)(s->slot.region->data / os_page_size());
}

enum sa_code slab_cut(struct sa_slab *s, unsigned shard, size_t cell, struct sa_why *why)
{
    size_t data = s->slot.region->data;
    s->granted = word_granted(atomic_load(slot_word(s->slot)));
    s->cell_bytes = s->class == SLAB_ALONE ? data : cell;
    s->cells = (uint32_t)(data / s->cell_bytes);
    s->hint = 0;
    s->bytes = 0;
    s->shard = shard;
    s->taken = calloc((s->cells + 63) / 64, sizeof *s->taken);
    s->owners = calloc(s->cells, sizeof *s->owners);
    if (!s->taken || !s->owners) {
        free(s->taken);
        free((void *)s->owners);
        s->taken = NULL;
        s->owners = NULL;
        vault_put(s->slot, 0, true);
        *why = (struct sa_why){.call = "malloc"};
        return SA_NO_MEMORY;
    }
    if (s->cells % 64) /* bits beyond the last cell are never to be had */
        s->taken[s->cells / 64] = ~(uint64_t)0 << s->cells % 64;
    slot_publish(s->slot, true);
    slab_pages_came(s);
    atomic_fetch_add(pages_of(s), page_count(s));
    slab_set_free_cells(s, s->cells);
    return SA_OK;
}

static _Atomic(struct sa_slab *) *spare_of(struct sa_slab *s)
{
    return &s->set->spare[s->shard][s->class];
}

void slab_unmap(struct sa_slab *s)
{
    struct sa_slab *me = s;
    (void)atomic_compare_exchange_strong(spare_of(s), &me, NULL);
    atomic_fetch_sub(pages_of(s), page_count(s));
    slab_set_free_cells(s, 0);
    slab_pages_go(s);
    vault_put(s->slot, 0, slot_retire(s->slot));
    void *taken = s->taken, *owners = (void *)s->owners;
    s->taken = NULL; /* first: a child forked in between frees what is still here */
    s->owners = NULL;
    free(taken);
    free(owners);
}

bool slab_lock_limit_is_far(void) { return vault_lock_room() >= 64 * SLAB_PAGES * os_page_size(); }

/* One empty slab a class and shard keeps its pages, so that a single arena made and
 * closed again and again does not map them each time: not one that fell short of what may be
 * had again by now. Near the lock limit only a page is kept: more may be all that is allowed
 * to others. */
void slab_retain_or_unmap(struct sa_slab *s)
{
    bool closed = atomic_load(&s->set->closed);
    if (!s->mapped || slab_used(s) || (!closed && atomic_load(spare_of(s)) == s))
        return;
    struct sa_slab *none = NULL;
    if (closed || s->class == SLAB_ALONE || vault_wanted() & ~s->granted ||
        (s->slot.region->data > os_page_size() && !slab_lock_limit_is_far()) ||
        !atomic_compare_exchange_strong(spare_of(s), &none, s))
        slab_unmap(s);
}
