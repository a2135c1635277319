/* Reserves address space for slots, maps pages onto them in batches, keeps closed
 * ones parked and gives them back. All of it runs with the vault's lock held. */
#include "vault_state.h"

#include <errno.h>

enum { NAME_SLOT_BITS = 20 }; /* a slot's name: segment above, index below */
#define SEGMENT_BYTES ((size_t)1 << 30)

/* ---- address space --------------------------------------------------------------- */

static struct slot slot_named(uint32_t id)
{
    return (struct slot){&segments[id >> NAME_SLOT_BITS], id & ((1u << NAME_SLOT_BITS) - 1)};
}

static uint32_t name_of(struct slot s)
{
    return (uint32_t)(s.region - segments) << NAME_SLOT_BITS | s.index;
}

static size_t power_of_two_below(size_t n)
{
    return n ? (size_t)1 << (63 - __builtin_clzll(n)) : 0;
}

/* ---- giving back ------------------------------------------------------------------ */

static uint32_t unpark(struct class *c, uint32_t nth)
{
    uint32_t *first = &c->ring[c->head % PARKED];
    uint32_t *chosen = &c->ring[(c->head + nth) % PARKED];
    uint32_t id = *chosen;
    *chosen = *first;
    c->head++;
    c->parked--;
    return id;
}

static uint32_t random_below(uint32_t n)
{
    vault.random ^= vault.random << 13; /* xorshift64: spreads addresses, keeps no secret */
    vault.random ^= vault.random >> 7;
    vault.random ^= vault.random << 17;
    return (uint32_t)((vault.random >> 32) * n >> 32);
}

/* One of the older half at random, but not the one that was parked last, so that
 * its address does not come back at once. */
static uint32_t unpark_any(struct class *c)
{
    uint32_t nth = random_below((c->parked + 1) / 2);
    if (c->parked > 1 && c->ring[(c->head + nth) % PARKED] + 1 == c->latest)
        nth = (nth + 1) % c->parked;
    return unpark(c, nth);
}

static void push_free(struct class *c, struct slot s)
{
    atomic_store(slot_hold(s), SLOT_FREE | (uint64_t)c->free << HOLD_NEXT_SHIFT);
    c->free = name_of(s) + 1;
}

static struct class *class_of(struct slot s)
{
    return &vault.classes[__builtin_ctzll(s.region->data / vault.page)];
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
    r->given += r->data; /* a hole from here on, and nobody's */
    r->slots = slots;
    return true;
}

/* Turn a slot without secret back into address space. */
static bool give_back(struct slot s)
{
    struct class *c = class_of(s);
    bool hole;
    if (os_unplace_pages(slot_data(s), s.region->data, &hole) && !hole && !replace_by_end(s)) {
        atomic_store(slot_hold(s), SLOT_LOST); /* noise stays mapped: only address space */
        return false;
    }
    pages_uncount(s);
    c->mapped--;
    vault.maps -= 2;
    if (hole)
        atomic_store(slot_hold(s), SLOT_LOST);
    else
        push_free(c, s);
    return true;
}

bool pages_give_some_back(void)
{
    size_t bytes = 0;
    bool any = false;
    for (unsigned i = CLASSES; i-- > 0 && bytes < BATCH_PAGES * vault.page;) {
        struct class *c = &vault.classes[i];
        for (; c->parked && bytes < BATCH_PAGES * vault.page; any = true) {
            struct slot s = slot_named(unpark(c, 0));
            bytes += s.region->data;
            (void)give_back(s); /* a failure leaves it lost, which is one less all the same */
        }
    }
    return any;
}

void pages_give_all_back(void)
{
    while (pages_give_some_back())
        ;
}

/* A further segment for slots of `data` bytes. */
static enum sa_code add_segment(size_t data, struct sa_why *why)
{
    uint32_t count = atomic_load(&vault.segment_count);
    size_t least = 4 * (data + vault.page);
    size_t bytes = power_of_two_below(os_address_space_left() / 8);
    bytes = bytes > SEGMENT_BYTES ? SEGMENT_BYTES : bytes < least ? least : bytes;
    bytes = (bytes + vault.page - 1) / vault.page * vault.page;
    int error = ENOMEM;
    void *base = NULL;
    /* Halved where the whole is refused: under mlockall(MCL_FUTURE) even a
     * reservation counts as locked until it is settled. */
    while (count < SEGMENTS && !(base = os_reserve(bytes, &error)))
        if (bytes / 2 >= least)
            bytes = bytes / 2 / vault.page * vault.page;
        else if (error != EAGAIN || !pages_give_some_back())
            break;
    if (!base) {
        *why = (struct sa_why){.call = "mmap", .error = error,
                               .mend = "raise the address space limit (ulimit -v)"};
        return SA_NO_MEMORY;
    }
    struct sa_region *r = &segments[count];
    r->bytes = bytes;
    r->given = 0;
    r->data = data;
    r->slots = (uint32_t)((bytes - vault.page) / (data + vault.page));
    void *table;
    enum sa_code code = vault_map_table(&table, TABLE_BYTES(r->slots), why);
    if (code) {
        (void)os_release(base, bytes); /* fresh, whole and ours */
        return code;
    }
    r->words = table;
    r->owners = (void *)(r->words + r->slots);
    atomic_store(&r->used, 0);
    atomic_store(&r->base, base);
    atomic_store(&vault.segment_count, count + 1); /* from here on wipers see it */
    return SA_OK;
}

/* ---- mapping ------------------------------------------------------------------------ */

/* Where secretmem is charged until all of its file is gone, each slot has a file of its own:
 * else one live slot would keep a whole batch from those who need it. */
static size_t batch_slots(size_t data)
{
    if (pages_share_budget())
        return 1;
    size_t pages = vault.lock_limit / vault.page / 8;
    pages = pages > BATCH_PAGES ? BATCH_PAGES : pages;
    return pages * vault.page > data ? pages * vault.page / data : 1;
}

/* A segment with slots that were never used; NULL: none is left. */
static struct sa_region *open_segment(size_t data)
{
    for (uint32_t i = atomic_load(&vault.segment_count); i-- > 0;)
        if (segments[i].data == data && atomic_load(&segments[i].used) < segments[i].slots)
            return &segments[i];
    return NULL;
}

/* The next slot of the class that has no pages; false: the segments are full. */
static bool next_free(struct class *c, size_t data, struct slot *out)
{
    if (c->free) {
        *out = slot_named(c->free - 1);
        c->free = (uint32_t)(atomic_load(slot_hold(*out)) >> HOLD_NEXT_SHIFT);
        return true;
    }
    struct sa_region *r = open_segment(data);
    if (r)
        *out = (struct slot){r, atomic_fetch_add(&r->used, 1)};
    return r != NULL;
}

static void park(struct class *c, struct slot s, uint64_t hold)
{
    atomic_store(slot_hold(s), hold);
    c->ring[(c->head + c->parked++) % PARKED] = name_of(s);
}

/* Park a batch of fresh slots, or one that falls short; `giving` back what is parked, if need
 * be. */
static enum sa_code grow(struct class *c, size_t data, unsigned least, bool giving,
                         struct sa_why *why)
{
    struct slot s;
    size_t count = batch_slots(data);
    while (count > 1 && !pages_maps_left(2 * count))
        count /= 2;
    if (!giving && !pages_maps_left(2 * count))
        return SA_NO_MEMORY;
    enum sa_code code = pages_allow_maps(2 * count, why);
    if (code)
        return code;
    /* Address space first: to get it, parked slots may have to go. */
    if (!c->free && !open_segment(data) && (code = add_segment(data, why)))
        return code;
    struct os_pages pages;
    code = pages_map(data, &count, least, giving, &pages, why);
    if (code)
        return code;
    size_t placed = 0;
    for (; placed < count && next_free(c, data, &s); placed++) {
        bool hole;
        int error = os_place_pages((uint8_t *)pages.at + placed * data, data, slot_data(s), &hole);
        if (error) {
            *why = (struct sa_why){.call = "mremap", .error = error};
            code = SA_NO_MEMORY;
            if (hole)
                atomic_store(slot_hold(s), SLOT_LOST);
            else
                push_free(c, s);
            break;
        }
        park(c, s, hold_of(SLOT_PARKED, OS_NONE, pages.granted));
        c->mapped++;
        vault.maps += 2;
        pages_count(pages.granted, data);
    }
    if (placed < count)
        (void)os_release((uint8_t *)pages.at + placed * data, (count - placed) * data);
    return placed ? SA_OK : code;
}

/* ---- taking and putting small slots --------------------------------------------------- */

static bool has(struct slot s, unsigned least)
{
    return !(least & ~hold_granted(atomic_load(slot_hold(s))));
}

static enum sa_code own(struct slot s, struct slot *out)
{
    uint64_t h = atomic_load(slot_hold(s));
    atomic_store(slot_hold(s), (h & ~(uint64_t)HOLD_STATE) | SLOT_OWNED);
    *out = s;
    return SA_OK;
}

enum sa_code pages_take(unsigned class, unsigned least, struct slot *out, struct sa_why *why)
{
    struct class *c = &vault.classes[class];
    size_t data = vault.page << class;
    unsigned wanted = vault_wanted();
    bool usual = !(least & ~wanted); /* what is parked has it all */
    if (usual && c->parked == 1 && c->ring[c->head % PARKED] + 1 == c->latest &&
        pages_lock_room() >= data) {
        struct sa_why unused; /* only so that an address does not come back at once */
        (void)grow(c, data, wanted, false, &unused);
    }
    while (usual && c->parked) {
        struct slot s = slot_named(unpark_any(c));
        if (has(s, least))
            return own(s, out);
        (void)give_back(s);
    }
    enum sa_code code = grow(c, data, least, true, why);
    if (code)
        return code;
    struct slot newest = slot_named(c->ring[(c->head + c->parked - 1) % PARKED]);
    if (usual && has(newest, wanted)) /* then they are alike, and parked ones there were none */
        return own(slot_named(unpark_any(c)), out);
    return own(slot_named(unpark(c, c->parked - 1)), out);
}

/* What may stay parked for speed. Others of the user may need what they share. */
static bool park_has_room(const struct class *c, size_t data)
{
    if (c->parked >= PARKED * vault.page / data)
        return false;
    size_t share = pages_share_budget() ? vault.secretmem_limit / 16 : SIZE_MAX, parked = data;
    for (unsigned i = 0; i < CLASSES; i++)
        parked += vault.classes[i].parked * (vault.page << i);
    return parked <= share || (c->parked < 2 && data <= share);
}

/* Whether it is worth keeping: a slot that fell short of what can be had now and
 * then is not. */
static bool keep_parked(const struct class *c, struct slot s)
{
    unsigned wanted = vault_wanted(), granted = hold_granted(atomic_load(slot_hold(s)));
    return !(wanted & ~granted) && !(granted & SA_SECRETMEM & ~wanted) &&
           park_has_room(c, s.region->data);
}

void pages_put(struct slot s, bool whole)
{
    struct class *c = class_of(s);
    uint64_t h = atomic_load(slot_hold(s)) & ~(uint64_t)HOLD_STATE;
    if (whole && keep_parked(c, s)) {
        park(c, s, h | SLOT_PARKED);
        c->latest = name_of(s) + 1;
    } else {
        (void)give_back(s); /* at worst it is lost */
    }
}

