/* This file maps and unmaps slots of more than sixteen pages: it reserves, places and registers
 * them. They are never parked. */
#include "vault/large.h"

#include "vault/budget.h"
#include "vault/mapping.h"

static struct sa_region *free_entry(void)
{
    uint32_t count = atomic_load(&vault.large_count);
    for (uint32_t i = 0; i < count; i++)
        if (!atomic_load(&larges[i].base))
            return &larges[i];
    return count < LARGES ? &larges[count] : NULL;
}

/* The address space, guards included. */
static enum sa_code reserve(size_t data, uint8_t **base, struct sa_why *why)
{
    int error = 0;
    *base = os_reserve(data + 2 * vault.page, &error);
    if (*base)
        return SA_OK;
    *why = (struct sa_why){.call = "mmap", .error = error};
    return SA_NO_MEMORY;
}

/* Pages between the guards; failing, all that was mapped went back. */
static enum sa_code place(uint8_t *base, size_t data, unsigned least, const struct os_pages *given,
                          unsigned *granted, struct sa_why *why)
{
    struct os_pages pages;
    size_t one = 1;
    enum sa_code code = SA_OK;
    if (given)
        pages = *given;
    else
        code = mapping_slots(data, &one, least, true, &pages, why);
    if (code) {
        (void)os_release(base, data + 2 * vault.page); /* nothing in it yet */
        return code;
    }
    *granted = pages.granted;
    bool hole;
    int error = os_place_pages(pages.at, data, base + vault.page, &hole);
    if (!error)
        return SA_OK;
    (void)os_release(pages.at, data); /* never accessible */
    (void)os_release(base, vault.page);
    if (!hole)
        (void)os_release(base + vault.page, data);
    (void)os_release(base + vault.page + data, vault.page);
    *why = (struct sa_why){.call = "mremap", .error = error};
    return SA_NO_MEMORY;
}

/* Tell wipers, the base last. */
static void enter(struct sa_region *r, uint8_t *base, size_t data, unsigned granted)
{
    uint32_t index = (uint32_t)(r - larges);
    r->bytes = data + 2 * vault.page;
    r->data = data;
    r->given = 0;
    r->slots = 1;
    r->is_file = false;
    atomic_store(&r->used, 1);
    if (!r->words) { /* once: wipers read it */
        _Atomic(struct sa_arena *) *owners = (void *)(vault.large_words + LARGES);
        struct slot_cipher *ciphers = (void *)(owners + LARGES);
        r->owners = owners + index;
        r->ciphers = ciphers + index;
        r->words = &vault.large_words[index];
    }
    atomic_store(&r->words->word, word_of(SLOT_OWNED, OS_NONE, granted));
    atomic_store(r->owners, NULL); /* where fork does not zero these two, a parent's */
    *r->ciphers = (struct slot_cipher){0};
    atomic_store(&r->base, base);
    if (index == atomic_load(&vault.large_count))
        atomic_store(&vault.large_count, index + 1);
}

enum { MAPS = 4 }; /* that one counts for */

/* An entry of the table, and address space for it. */
static enum sa_code make_room(size_t data, struct sa_region **r, uint8_t **base, struct sa_why *why)
{
    enum sa_code code = mapping_allows(MAPS, why);
    if (code)
        return code;
    if (!(*r = free_entry())) {
        *why = (struct sa_why){.hint = "close some of the large arenas"};
        return SA_NO_MEMORY;
    }
    return reserve(data, base, why);
}

enum sa_code large_take(size_t data, unsigned least, const struct os_pages *given, struct slot *out,
                        struct sa_why *why)
{
    struct sa_region *r;
    uint8_t *base;
    unsigned granted;
    enum sa_code code = make_room(data, &r, &base, why);
    if (code && given)
        (void)os_release(given->at, data); /* nothing in it yet */
    if (code || (code = place(base, data, least, given, &granted, why)))
        return code;
    enter(r, base, data, granted);
    vault.maps += MAPS;
    budget_count(granted, data);
    *out = (struct slot){r, 0};
    return SA_OK;
}

void large_put(struct slot s)
{
    struct sa_region *r = s.region;
    uint8_t *base = atomic_load(&r->base);
    budget_uncount(s);
    vault.maps -= MAPS;
    /* In pieces: guards may have merged with a neighbour's, and a map that has to
     * be split can be refused at the map limit; the data never has to. */
    (void)os_release(base + vault.page, r->data);
    (void)os_release(base, vault.page);                        /* refused: a page of */
    (void)os_release(base + vault.page + r->data, vault.page); /* address space lost */
    atomic_store(slot_word(s), SLOT_FREE);
    atomic_store(&r->base, NULL);
}
