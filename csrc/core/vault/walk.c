/* Walks over all slots: finding the one that holds an address, and overwriting every live one. A
 * walk takes no lock but where it asks for reservations. */
#include "vault/prekey.h"
#include "vault/scratch.h"
#include "vault/state.h"

static bool find_in(struct sa_region *r, const uint8_t *p, size_t n, struct slot *out)
{
    const uint8_t *base = atomic_load(&r->base);
    size_t bytes = r->bytes, data = r->data;
    /* A large entry may be given to another arena meanwhile: all three belong
     * together while the base stays the same. */
    if (!base || p < base || (size_t)(p - base) >= bytes || atomic_load(&r->base) != base)
        return false;
    size_t page = os_page_size(), stride = data + page, offset = (size_t)(p - base);
    size_t index = offset / stride, within = offset % stride;
    if (within == 0 && n == 0 && index > 0)
        index--, within = stride; /* the very end of the slot before */
    if (index >= atomic_load(&r->used) || within < page || n > stride - within)
        return false;
    *out = (struct slot){r, (uint32_t)index};
    return true;
}

bool vault_find(const void *p, size_t n, struct slot *out)
{
    if (!vault_started())
        return false;
    uint32_t count = atomic_load(&vault.segment_count);
    for (uint32_t i = 0; i < count; i++)
        if (find_in(&segments[i], p, n, out))
            return true;
    count = atomic_load(&vault.large_count);
    for (uint32_t i = 0; i < count; i++)
        if (find_in(&larges[i], p, n, out))
            return true;
    return false;
}

bool vault_next(struct slot *s)
{
    uint32_t segment_count = atomic_load(&vault.segment_count);
    uint32_t count = segment_count + atomic_load(&vault.large_count);
    bool large = s->region >= larges && s->region < larges + LARGES;
    uint32_t at = !s->region ? 0
                  : large    ? segment_count + (uint32_t)(s->region - larges)
                             : (uint32_t)(s->region - segments);
    uint32_t index = s->region ? s->index + 1 : 0;
    for (; at < count; at++, index = 0) {
        struct sa_region *r = at < segment_count ? &segments[at] : &larges[at - segment_count];
        if (atomic_load(&r->base) && index < atomic_load(&r->used)) {
            *s = (struct slot){r, index};
            return true;
        }
    }
    return false;
}

static void lower_of(struct sa_region *r, uintptr_t at, uintptr_t *start, uintptr_t *end)
{
    uintptr_t base = (uintptr_t)atomic_load(&r->base), past = base + (r->bytes - r->given);
    if (base && past > at && base < *start) {
        *start = base;
        *end = past;
    }
}

bool vault_reserved(uintptr_t at, uintptr_t *start, uintptr_t *end)
{
    *start = UINTPTR_MAX;
    lock_take(LOCK_VAULT);
    uint32_t count = atomic_load(&vault.segment_count);
    for (uint32_t i = 0; i < count; i++)
        lower_of(&segments[i], at, start, end);
    count = atomic_load(&vault.large_count);
    for (uint32_t i = 0; i < count; i++)
        lower_of(&larges[i], at, start, end);
    lock_give(LOCK_VAULT);
    return *start != UINTPTR_MAX;
}

/* Slots that a lockdown comes back to when all others are wiped, as their holders may be kept for
 * long, or for ever. */
struct late {
    struct slot slots[16];
    unsigned count;
};

static bool put_off(struct late *late, struct slot s)
{
    bool room = late->count < sizeof late->slots / sizeof late->slots[0];
    if (!room || !slot_is_kept(s))
        return false;
    late->slots[late->count++] = s;
    return true;
}

/* With `late`, where the access is put back. */
SA_HOT static size_t wipe_region(struct sa_region *r, struct late *late)
{
    size_t wiped = 0;
    uint32_t used = atomic_load(&r->base) ? atomic_load(&r->used) : 0;
    for (uint32_t i = 0; i < used; i++) {
        struct slot s = {r, i};
        if (word_state(atomic_load(slot_word(s))) != SLOT_LIVE)
            continue;
        if (!late)
            wiped += slot_wipe(s);
        else if (!put_off(late, s))
            wiped += slot_wipe_and_restore(s);
    }
    return wiped;
}

static size_t wipe_late(const struct late *late)
{
    size_t wiped = 0;
    for (unsigned i = 0; i < late->count; i++)
        wiped += slot_wipe_and_restore(late->slots[i]);
    return wiped;
}

SA_HOT static bool let_go_in(struct sa_region *r, uintptr_t thread, struct slot *out)
{
    uint32_t used = atomic_load(&r->base) ? atomic_load(&r->used) : 0;
    for (uint32_t i = 0; i < used; i++) {
        *out = (struct slot){r, i};
        if (slot_let_go(*out, thread))
            return true;
    }
    return false;
}

/* Let go of the slot that a thread holds which a handler has interrupted: one at most. */
SA_HOT static bool let_go(uintptr_t thread, struct slot *out)
{
    uint32_t count = atomic_load(&vault.segment_count);
    for (uint32_t i = 0; i < count; i++)
        if (let_go_in(&segments[i], thread, out))
            return true;
    count = atomic_load(&vault.large_count);
    for (uint32_t i = 0; i < count; i++)
        if (let_go_in(&larges[i], thread, out))
            return true;
    return false;
}

SA_HOT size_t vault_wipe_all(bool restore)
{
    size_t wiped = 0;
    struct slot ours;
    struct late late = {.count = 0};
    uintptr_t thread = os_thread();
    prekey_wipe(); /* first: what is encrypted is noise by that alone */
    bool held = !restore && let_go(thread, &ours); /* a lockdown interrupts nobody */
    uint32_t count = atomic_load(&vault.segment_count);
    for (uint32_t i = 0; i < count; i++)
        wiped += wipe_region(&segments[i], restore ? &late : NULL);
    count = atomic_load(&vault.large_count);
    for (uint32_t i = 0; i < count; i++)
        wiped += wipe_region(&larges[i], restore ? &late : NULL);
    wiped += wipe_late(&late);
    scratch_wipe();
    if (held)
        slot_hold_again(ours, thread);
    return wiped;
}

static size_t wipe_sized(struct sa_region *r, size_t least, size_t most, struct late *late)
{
    size_t data = atomic_load(&r->data);
    return data >= least && data <= most ? wipe_region(r, late) : 0;
}

size_t vault_wipe_sized(size_t least, size_t most)
{
    size_t wiped = 0;
    struct late late = {.count = 0};
    uint32_t count = atomic_load(&vault.segment_count);
    for (uint32_t i = 0; i < count; i++)
        wiped += wipe_sized(&segments[i], least, most, &late);
    count = atomic_load(&vault.large_count);
    for (uint32_t i = 0; i < count; i++)
        wiped += wipe_sized(&larges[i], least, most, &late);
    return wiped + wipe_late(&late);
}
