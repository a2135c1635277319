/* This file keeps the pages of closed slots for the next arena, and gives them back: the oldest
 * first where a limit bites, all where nothing is left to keep them for. */
#include "vault/parked.h"

#include "vault/budget.h"

enum { NAME_SLOT_BITS = 20 }; /* a slot's name: segment above, index below */

static struct slot slot_named(uint32_t id)
{
    return (struct slot){&segments[id >> NAME_SLOT_BITS], id & ((1u << NAME_SLOT_BITS) - 1)};
}

static uint32_t name_of(struct slot s)
{
    return (uint32_t)(s.region - segments) << NAME_SLOT_BITS | s.index;
}

static struct class *class_of(struct slot s)
{
    return &vault.classes[__builtin_ctzll(s.region->data / vault.page)];
}

/* ---- the ring ------------------------------------------------------------------------ */

static struct slot unpark(struct class *c, uint32_t nth)
{
    uint32_t *first = &c->ring[c->head % PARKED];
    uint32_t *chosen = &c->ring[(c->head + nth) % PARKED];
    uint32_t id = *chosen;
    *chosen = *first;
    c->head++;
    c->parked--;
    return slot_named(id);
}

static uint32_t random_below(uint32_t n)
{
    vault.random ^= vault.random << 13; /* xorshift64: spreads addresses, keeps no secret */
    vault.random ^= vault.random >> 7;
    vault.random ^= vault.random << 17;
    return (uint32_t)((vault.random >> 32) * n >> 32);
}

struct slot parked_take_any(struct class *c)
{
    uint32_t nth = random_below((c->parked + 1) / 2);
    /* So that its address does not come back at once. */
    if (c->parked > 1 && c->ring[(c->head + nth) % PARKED] + 1 == c->latest)
        nth = (nth + 1) % c->parked;
    return unpark(c, nth);
}

struct slot parked_take_newest(struct class *c) { return unpark(c, c->parked - 1); }

struct slot parked_newest(const struct class *c)
{
    return slot_named(c->ring[(c->head + c->parked - 1) % PARKED]);
}

bool parked_is_latest_alone(const struct class *c)
{
    return c->parked == 1 && c->ring[c->head % PARKED] + 1 == c->latest;
}

void parked_add(struct class *c, struct slot s, uint64_t word)
{
    atomic_store(slot_word(s), word);
    c->ring[(c->head + c->parked++) % PARKED] = name_of(s);
}

/* ---- giving back ------------------------------------------------------------------ */

void parked_add_free(struct class *c, struct slot s)
{
    atomic_store(slot_word(s), SLOT_FREE | (uint64_t)c->free << WORD_NEXT_SHIFT);
    c->free = name_of(s) + 1;
}

bool parked_take_free(struct class *c, struct slot *out)
{
    if (!c->free)
        return false;
    *out = slot_named(c->free - 1);
    c->free = (uint32_t)(atomic_load(slot_word(*out)) >> WORD_NEXT_SHIFT);
    return true;
}

/* Under mlockall(MCL_FUTURE) even what is to take the pages' place counts as locked,
 * and is refused at the lock limit. The segment's own unused end does not. */
static bool replace_by_end(struct slot s)
{
    struct sa_region *r = s.region;
    size_t left = r->bytes - r->given - r->data;
    uint32_t slots = (uint32_t)((left - vault.page) / (r->data + vault.page));
    bool hole;
    if (slots < atomic_load(&r->used) ||
        os_place_pages(atomic_load(&r->base) + left, r->data, slot_data(s), &hole))
        return false;
    r->given += r->data; /* a hole from here on, which no slot owns */
    r->slots = slots;
    return true;
}

void parked_give_back(struct slot s)
{
    struct class *c = class_of(s);
    bool hole;
    if (os_unplace_pages(slot_data(s), s.region->data, &hole) && !hole && !replace_by_end(s)) {
        atomic_store(slot_word(s), SLOT_LOST); /* noise stays mapped: only address space */
        return;
    }
    budget_uncount(s);
    c->mapped--;
    vault.maps -= 2;
    if (hole)
        atomic_store(slot_word(s), SLOT_LOST);
    else
        parked_add_free(c, s);
}

bool parked_give_some_back(void)
{
    size_t bytes = 0;
    bool any = false;
    for (unsigned i = CLASSES; i-- > 0 && bytes < BATCH_PAGES * vault.page;) {
        struct class *c = &vault.classes[i];
        for (; c->parked && bytes < BATCH_PAGES * vault.page; any = true) {
            struct slot s = unpark(c, 0);
            bytes += s.region->data;
            parked_give_back(s);
        }
    }
    return any;
}

void parked_give_all_back(void)
{
    while (parked_give_some_back())
        ;
}

/* ---- which are worth keeping --------------------------------------------------------- */

/* What may stay parked for speed. Others of the user may need what they share. */
static bool park_has_room(const struct class *c, size_t data)
{
    if (c->parked >= PARKED * vault.page / data)
        return false;
    size_t share = budget_is_shared() ? vault.secretmem_limit / 16 : SIZE_MAX, parked = data;
    for (unsigned i = 0; i < CLASSES; i++)
        parked += vault.classes[i].parked * (vault.page << i);
    return parked <= share || (c->parked < 2 && data <= share);
}

/* Whether it is worth keeping: a slot that fell short of what can be had now and
 * then is not. */
static bool keep_parked(const struct class *c, struct slot s)
{
    unsigned wanted = vault_wanted(), granted = word_granted(atomic_load(slot_word(s)));
    return !(wanted & ~granted) && !(granted & SA_SECRETMEM & ~wanted) &&
           park_has_room(c, s.region->data);
}

void parked_put(struct slot s, bool whole)
{
    struct class *c = class_of(s);
    uint64_t h = atomic_load(slot_word(s)) & ~(uint64_t)WORD_STATE;
    if (whole && keep_parked(c, s)) {
        parked_add(c, s, h | SLOT_PARKED);
        c->latest = name_of(s) + 1;
    } else {
        parked_give_back(s);
    }
}
