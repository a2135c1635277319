/* What pages may be had: which protections, and how much of what is limited. */
#include "vault/budget.h"

/* ---- what counts --------------------------------------------------------------------- */

void budget_count(unsigned granted, size_t data)
{
    if (granted & SA_LOCK)
        vault.locked_bytes += data;
    if (granted & SA_SECRETMEM)
        vault.secretmem_bytes += data;
}

void budget_uncount_pages(unsigned granted, size_t data)
{
    if (granted & SA_LOCK)
        vault.locked_bytes -= data;
    if (granted & SA_SECRETMEM)
        vault.secretmem_bytes -= data;
}

void budget_uncount(struct slot s)
{
    budget_uncount_pages(word_granted(atomic_load(slot_word(s))), s.region->data);
}

bool budget_has_secretmem(void)
{
    return !atomic_load_explicit(&vault.no_secretmem, memory_order_relaxed) &&
           !atomic_load_explicit(&vault.shun_secretmem, memory_order_relaxed);
}

bool budget_is_shared(void) { return budget_has_secretmem() && os_charges_users(); }

unsigned vault_wanted(void)
{
    unsigned wanted = os_known_protections() & (SA_LOCK | SA_NODUMP | SA_SECRETMEM);
    return budget_has_secretmem() ? wanted : wanted & ~(unsigned)SA_SECRETMEM;
}

unsigned pages_ask_less(unsigned ask, unsigned least)
{
    return ask & SA_SECRETMEM & ~least ? ask & ~(unsigned)SA_SECRETMEM : least;
}

/* ---- limits -------------------------------------------------------------------------- */

void budget_learn_limits(void)
{
    vault.lock_limit = os_lock_limit();
    vault.secretmem_limit = os_secretmem_limit();
}

size_t budget_lock_room(void)
{
    size_t limit = budget_is_shared() ? vault.secretmem_limit : vault.lock_limit;
    size_t used = budget_is_shared() ? vault.secretmem_bytes : vault.locked_bytes;
    if (limit == SIZE_MAX)
        return SIZE_MAX;
    return limit > used ? limit - used : 0;
}

bool budget_maps_left(size_t wanted)
{
    if (vault.maps + wanted <= vault.map_limit / 16 * 15)
        return true;
    vault.map_limit = os_map_limit(); /* it may have been raised */
    return vault.maps + wanted <= vault.map_limit / 16 * 15;
}

/* ---- falling short -------------------------------------------------------------------- */

void budget_note_shortfall(unsigned refused, const struct sa_why *why)
{
    unsigned news = refused & ~vault.missing;
    if (!news)
        return;
    vault.missing |= news;
    vault.missing_why = *why;
    atomic_fetch_or(&vault.untold, news);
}

bool sa_falls_short(void) { return atomic_load_explicit(&vault.untold, memory_order_relaxed) != 0; }

bool sa_shortfall(unsigned *missing, struct sa_why *why)
{
    if (!sa_falls_short())
        return false; /* asked after every arena: no lock for that */
    lock_take(LOCK_VAULT);
    unsigned news = atomic_exchange(&vault.untold, 0);
    if (news) {
        *missing = news;
        *why = vault.missing_why;
    }
    lock_give(LOCK_VAULT);
    return news != 0;
}
