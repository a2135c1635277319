/* Takes and puts back slots: small ones from the parked, larger arenas with a reservation each. */
#include "budget.h"
#include "mapping.h"
#include "pages.h"
#include "parked.h"

#include <errno.h>

/* ---- large slots ------------------------------------------------------------------------- */

static struct sa_region *free_large(void)
{
    uint32_t count = atomic_load(&vault.large_count);
    for (uint32_t i = 0; i < count; i++)
        if (!atomic_load(&larges[i].base))
            return &larges[i];
    return count < LARGES ? &larges[count] : NULL;
}

static void drop_large(struct sa_region *r, uint8_t *base)
{
    /* In pieces: guards may have merged with a neighbour's, and a map that has to
     * be split can be refused at the map limit; the data never has to. */
    (void)os_release(base + vault.page, r->data);
    (void)os_release(base, vault.page);                       /* refused: a page of */
    (void)os_release(base + vault.page + r->data, vault.page); /* address space lost */
}

static enum sa_code take_large(size_t data, unsigned least, struct slot *out, struct sa_why *why)
{
    enum sa_code code = mapping_allows(4, why);
    if (code)
        return code;
    struct sa_region *r = free_large();
    if (!r) {
        *why = (struct sa_why){.mend = "close some of the large arenas"};
        return SA_NO_MEMORY;
    }
    size_t bytes = data + 2 * vault.page, one = 1;
    int error = 0;
    uint8_t *base = os_reserve(bytes, &error);
    if (!base) {
        *why = (struct sa_why){.call = "mmap", .error = error};
        return SA_NO_MEMORY;
    }
    struct os_pages pages;
    code = mapping_slots(data, &one, least, true, &pages, why);
    if (code) {
        (void)os_release(base, bytes); /* nothing in it yet */
        return code;
    }
    bool hole;
    error = os_place_pages(pages.at, data, base + vault.page, &hole);
    if (error) {
        (void)os_release(pages.at, data); /* never accessible */
        (void)os_release(base, vault.page);
        if (!hole)
            (void)os_release(base + vault.page, data);
        (void)os_release(base + vault.page + data, vault.page);
        *why = (struct sa_why){.call = "mremap", .error = error};
        return SA_NO_MEMORY;
    }
    uint32_t index = (uint32_t)(r - larges);
    r->bytes = bytes;
    r->data = data;
    r->given = 0;
    r->slots = 1;
    atomic_store(&r->used, 1);
    if (!r->words) { /* once: wipers read it */
        _Atomic(struct sa_arena *) *owners = (void *)(vault.large_words + LARGES);
        r->owners = owners + index;
        r->words = &vault.large_words[index];
    }
    atomic_store(&r->words->hold, hold_of(SLOT_OWNED, OS_NONE, pages.granted));
    atomic_store(r->owners, NULL); /* where fork does not zero it, a parent's */
    atomic_store(&r->base, base);
    if (index == atomic_load(&vault.large_count))
        atomic_store(&vault.large_count, index + 1);
    vault.maps += 4;
    budget_count(pages.granted, data);
    *out = (struct slot){r, 0};
    return SA_OK;
}

static void put_large(struct slot s)
{
    budget_uncount(s);
    vault.maps -= 4;
    uint8_t *base = atomic_load(&s.region->base);
    drop_large(s.region, base);
    atomic_store(slot_hold(s), SLOT_FREE);
    atomic_store(&s.region->base, NULL);
}

static bool is_large(struct slot s) { return s.region >= larges && s.region < larges + LARGES; }

/* ---- what the rest sees -------------------------------------------------------------------- */

static void set_owned_access(struct slot s, enum os_access access)
{
    atomic_store(slot_hold(s), hold_with(atomic_load(slot_hold(s)), access, access));
}

enum sa_code vault_take(size_t bytes, size_t size, unsigned least, struct slot *out, bool *zeroed,
                        struct sa_why *why)
{
    size_t pages = bytes / vault.page + (bytes % vault.page != 0);
    size_t data, all;
    pages = pages ? pages : 1;
    if (__builtin_mul_overflow(pages, vault.page, &data) ||
        __builtin_add_overflow(data, 2 * vault.page, &all) || all > PTRDIFF_MAX) {
        *why = (struct sa_why){.call = "mmap", .error = ENOMEM};
        return SA_NO_MEMORY;
    }
    least &= SA_LOCK | SA_SECRETMEM | SA_NODUMP; /* the others every slot has */
    bool large = pages > (size_t)1 << (CLASSES - 1);
    unsigned class = 0;
    while (!large && (size_t)1 << class < pages)
        class++;
    lock_take(LOCK_VAULT);
    enum sa_code code = large ? take_large(data, least, out, why)
                              : pages_take(class, least, out, why);
    if (!code) {
        vault.live++;
        vault.live_bytes += size;
    }
    lock_give(LOCK_VAULT);
    if (code)
        return code;
    *zeroed = large;
    int error = os_protect(slot_data(*out), out->region->data, OS_WRITE);
    if (!error) {
        set_owned_access(*out, OS_WRITE);
        return SA_OK;
    }
    *why = (struct sa_why){.call = "mprotect", .error = error,
                           .mend = "raise the data limit (ulimit -d) or vm.max_map_count"};
    vault_put(*out, size, true);
    return SA_NO_MEMORY;
}

/* Whether the last arena went, and none is likely to come soon: the time before, too, it is a
 * while since the last one went. While secretmem is kept the machine does not hibernate. */
static bool stays_empty(void)
{
    enum { WHILE_MS = 1000 };
    int64_t now = os_about_now_ms(), before = vault.emptied_ms;
    vault.emptied_ms = now;
    return now - before >= WHILE_MS;
}

void vault_put(struct slot s, size_t size, bool whole)
{
    bool large = is_large(s);
    if (!large && whole) {
        if (hold_access(atomic_load(slot_hold(s))) != OS_NONE)
            whole = os_protect(slot_data(s), s.region->data, OS_NONE) == 0;
        set_owned_access(s, OS_NONE);
    }
    lock_take(LOCK_VAULT);
    vault.live--;
    vault.live_bytes -= size;
    atomic_fetch_add_explicit(&vault.returns, 1, memory_order_relaxed);
    slot_set_owner(s, NULL);
    if (large)
        put_large(s);
    else
        parked_put(s, whole);
    if (vault.live == 0 && vault.secretmem_bytes && stays_empty())
        parked_give_all_back();
    lock_give(LOCK_VAULT);
}

void vault_lose(struct slot s, size_t size)
{
    lock_take(LOCK_VAULT);
    budget_uncount(s);
    atomic_store(slot_hold(s), SLOT_LOST);
    vault.live--;
    vault.live_bytes -= size;
    lock_give(LOCK_VAULT);
}

void vault_note_shared(struct slot s)
{
    lock_take(LOCK_VAULT);
    if (hold_granted(atomic_load(slot_hold(s))) & SA_SECRETMEM)
        vault.secretmem_bytes -= s.region->data; /* which nobody can tell any more */
    atomic_fetch_and(slot_hold(s), ~((uint64_t)(SA_SECRETMEM | SA_NODUMP) << HOLD_GRANTED_SHIFT));
    lock_give(LOCK_VAULT);
}

void vault_trim(void)
{
    lock_take(LOCK_VAULT);
    parked_give_all_back();
    lock_give(LOCK_VAULT);
}

uint64_t vault_returns(void)
{
    return atomic_load_explicit(&vault.returns, memory_order_relaxed);
}

size_t vault_lock_room(void)
{
    lock_take(LOCK_VAULT);
    size_t room = budget_lock_room(), parked = 0;
    for (unsigned i = 0; i < CLASSES; i++)
        parked += vault.classes[i].parked * (vault.page << i); /* given back on demand */
    lock_give(LOCK_VAULT);
    return room > SIZE_MAX - parked ? SIZE_MAX : room + parked;
}

void vault_status(struct sa_status *out)
{
    lock_take(LOCK_VAULT);
    out->started = vault_started();
    out->arenas = vault.live;
    out->bytes = vault.live_bytes;
    out->locked_bytes = vault.locked_bytes;
    out->lock_limit = os_lock_limit();
    out->secretmem_bytes = vault.secretmem_bytes;
    out->secretmem_limit = os_secretmem_limit();
    out->charges_users = os_charges_users();
    out->secretmem = vault.got_secretmem;
    lock_give(LOCK_VAULT);
}
