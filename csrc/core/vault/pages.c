/* This file reserves address space for slots of up to sixteen pages, and maps pages onto them in
 * batches. */
#include "vault/pages.h"

#include "vault/budget.h"
#include "vault/mapping.h"
#include "vault/parked.h"

#include <errno.h>

#define SEGMENT_BYTES ((size_t)1 << 30)

/* ---- address space --------------------------------------------------------------- */

static size_t power_of_two_below(size_t n)
{
    return n ? (size_t)1 << (63 - __builtin_clzll(n)) : 0;
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
        else if (error != EAGAIN || !parked_give_some_back())
            break;
    if (!base) {
        *why = (struct sa_why){
            .call = "mmap", .error = error, .hint = "raise the address space limit (ulimit -v)"};
        return SA_NO_MEMORY;
    }
    struct sa_region *r = &segments[count];
    r->bytes = bytes;
    r->given = 0;
    r->data = data;
    r->slots = (uint32_t)((bytes - vault.page) / (data + vault.page));
    void *table;
    enum sa_code code = mapping_table(&table, SLOT_TABLE_BYTES(r->slots), why);
    if (code) {
        (void)os_release(base, bytes); /* fresh, whole and ours */
        return code;
    }
    r->words = table;
    r->owners = (void *)(r->words + r->slots);
    r->ciphers = (void *)(r->owners + r->slots);
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
    if (budget_is_shared())
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
    if (parked_take_free(c, out))
        return true;
    struct sa_region *r = open_segment(data);
    if (r)
        *out = (struct slot){r, atomic_fetch_add(&r->used, 1)};
    return r != NULL;
}

/* Move a batch of fresh pages over slots of the class, and park those; *placed tells how many. A
 * failure leaves the rest of the pages where they were. */
static enum sa_code place(struct class *c, size_t data, const struct os_pages *pages, size_t count,
                          size_t *placed, struct sa_why *why)
{
    struct slot s;
    bool hole;
    for (*placed = 0; *placed < count && next_free(c, data, &s); ++*placed) {
        int error = os_place_pages((uint8_t *)pages->at + *placed * data, data, slot_data(s),
                                   &hole);
        if (error) {
            *why = (struct sa_why){.call = "mremap", .error = error};
            if (hole)
                atomic_store(slot_word(s), SLOT_LOST);
            else
                parked_add_free(c, s);
            return SA_NO_MEMORY;
        }
        parked_add(c, s, word_of(SLOT_PARKED, OS_NONE, pages->granted));
        c->mapped++;
        vault.maps += 2;
        budget_count(pages->granted, data);
    }
    return SA_OK;
}

/* Park a batch of fresh slots, or one that falls short; `giving` back what is parked, if need
 * be. */
SA_COLD static enum sa_code grow(struct class *c, size_t data, unsigned least, bool giving,
                                 struct sa_why *why)
{
    size_t count = batch_slots(data);
    while (count > 1 && !budget_maps_left(2 * count))
        count /= 2;
    if (!giving && !budget_maps_left(2 * count))
        return SA_NO_MEMORY;
    enum sa_code code = mapping_allows(2 * count, why);
    if (code)
        return code;
    /* Address space first: to get it, parked slots may have to go. */
    if (!c->free && !open_segment(data) && (code = add_segment(data, why)))
        return code;
    struct os_pages pages;
    code = mapping_slots(data, &count, least, giving, &pages, why);
    if (code)
        return code;
    size_t placed;
    code = place(c, data, &pages, count, &placed, why);
    if (placed < count)
        (void)os_release((uint8_t *)pages.at + placed * data, (count - placed) * data);
    return placed ? SA_OK : code;
}

/* ---- taking ------------------------------------------------------------------------- */

static bool has(struct slot s, unsigned least)
{
    return !(least & ~word_granted(atomic_load(slot_word(s))));
}

static enum sa_code own(struct slot s, struct slot *out)
{
    uint64_t h = atomic_load(slot_word(s));
    atomic_store(slot_word(s), (h & ~(uint64_t)WORD_STATE) | SLOT_OWNED);
    *out = s;
    return SA_OK;
}

enum sa_code pages_take(unsigned class, unsigned least, struct slot *out, struct sa_why *why)
{
    struct class *c = &vault.classes[class];
    size_t data = vault.page << class;
    unsigned wanted = vault_wanted();
    bool usual = !(least & ~wanted); /* what is parked has it all */
    if (usual && parked_is_latest_alone(c) && budget_lock_room() >= data) {
        struct sa_why unused; /* only so that an address does not come back at once */
        (void)grow(c, data, wanted, false, &unused);
    }
    while (usual && c->parked) {
        struct slot s = parked_take_any(c);
        if (has(s, least))
            return own(s, out);
        parked_give_back(s);
    }
    enum sa_code code = grow(c, data, least, true, why);
    if (code)
        return code;
    if (usual && has(parked_newest(c), wanted)) /* and so has all that came with it */
        return own(parked_take_any(c), out);
    return own(parked_take_newest(c), out);
}
