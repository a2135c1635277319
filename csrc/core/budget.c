/* What pages may be had: which protections, and how much of what is limited. All but what vault.h
 * says otherwise of runs with the vault's lock held. */
#include "vault_state.h"

#include <errno.h>

/* ---- what counts --------------------------------------------------------------------- */

void pages_count(unsigned granted, size_t data)
{
    if (granted & SA_LOCK)
        vault.locked_bytes += data;
    if (granted & SA_SECRETMEM)
        vault.secretmem_bytes += data;
}

void pages_uncount(struct slot s)
{
    unsigned granted = hold_granted(atomic_load(slot_hold(s)));
    if (granted & SA_LOCK)
        vault.locked_bytes -= s.region->data;
    if (granted & SA_SECRETMEM)
        vault.secretmem_bytes -= s.region->data;
}

bool pages_want_secretmem(void)
{
    return !atomic_load_explicit(&vault.no_secretmem, memory_order_relaxed) &&
           !atomic_load_explicit(&vault.shun_secretmem, memory_order_relaxed);
}

bool pages_share_budget(void) { return pages_want_secretmem() && os_charges_users(); }

unsigned vault_wanted(void)
{
    unsigned wanted = os_known_protections() & (SA_LOCK | SA_NODUMP | SA_SECRETMEM);
    return pages_want_secretmem() ? wanted : wanted & ~(unsigned)SA_SECRETMEM;
}

void pages_learn_limits(void)
{
    vault.lock_limit = os_lock_limit();
    vault.secretmem_limit = os_secretmem_limit();
}

size_t pages_lock_room(void)
{
    size_t limit = pages_share_budget() ? vault.secretmem_limit : vault.lock_limit;
    size_t used = pages_share_budget() ? vault.secretmem_bytes : vault.locked_bytes;
    if (limit == SIZE_MAX)
        return SIZE_MAX;
    return limit > used ? limit - used : 0;
}

/* ---- mapping ------------------------------------------------------------------------ */

/* Pages were handed out that fell short. */
static void note_shortfall(unsigned refused, const struct sa_why *why)
{
    if (!refused || vault.missing)
        return;
    vault.missing = refused;
    vault.missing_why = *why;
    atomic_store(&vault.untold, true);
}

bool pages_maps_left(size_t wanted)
{
    if (vault.maps + wanted <= vault.map_limit / 16 * 15)
        return true;
    vault.map_limit = os_map_limit(); /* it may have been raised */
    return vault.maps + wanted <= vault.map_limit / 16 * 15;
}

enum sa_code pages_allow_maps(size_t wanted, struct sa_why *why)
{
    while (!pages_maps_left(wanted))
        if (!pages_give_some_back()) {
            *why = (struct sa_why){.call = "mmap", .error = ENOMEM,
                                   .mend = "raise it with sysctl vm.max_map_count=, or keep "
                                           "small secrets together",
                                   .limit = "vm.max_map_count", .allowed = vault.map_limit};
            return SA_NO_MEMORY;
        }
    return SA_OK;
}

/* What to ask for after `ask` was refused, on the way down to `least`. */
unsigned pages_ask_less(unsigned ask, unsigned least)
{
    return ask & SA_SECRETMEM & ~least ? ask & ~(unsigned)SA_SECRETMEM : least;
}

/* Where each page has to be fetched, large arenas of which little may be used are better
 * off without secretmem: 16 MiB take about 90 ms, 4 GiB would take 22 s. */
enum { FETCHED_MOST = 16 << 20 };

enum sa_code pages_map(size_t data, size_t *count, unsigned least, bool giving,
                       struct os_pages *pages, struct sa_why *why)
{
    struct os_pages fell = {0}; /* what was refused on the way */
    size_t n = *count;
    bool secretmem = pages_want_secretmem() && !(os_charges_users() && data > FETCHED_MOST);
    unsigned ask = least | SA_LOCK | (secretmem ? SA_SECRETMEM : 0);
    int error;
    pages_learn_limits(); /* they may have been changed */
    while ((error = vault_map_pages(n * data, ask & SA_SECRETMEM, ask, pages))) {
        if (pages->never_secretmem) {
            atomic_store(&vault.no_secretmem, true);
            vault.never_why = pages->why;
        }
        if (pages->scarce && n > 1) {
            n /= 2;
        } else if (!pages->scarce || !giving || !pages_give_some_back()) {
            if (pages->refused && (!fell.why.call || pages->refused & SA_LOCK))
                fell.why = pages->why;
            fell.refused |= pages->refused;
            if (!(pages->refused & ask & ~least))
                break;
            ask = pages_ask_less(ask, least);
        }
    }
    if (error) {
        *why = pages->why;
        why->missing = pages->refused & least;
        return why->missing ? SA_UNPROTECTED
               : error == ENOMEM || error == EAGAIN ? SA_NO_MEMORY : SA_OS_ERROR;
    }
    *count = n;
    if (!fell.why.call || pages->refused & SA_LOCK)
        fell.why = pages->why;
    if (atomic_load(&vault.no_secretmem) && !atomic_load(&vault.shun_secretmem)) {
        fell.refused |= SA_SECRETMEM; /* asked for once, and perhaps by who then refused less */
        if (!fell.why.call)
            fell.why = vault.never_why;
    }
    note_shortfall((fell.refused | pages->refused) & ~pages->granted, &fell.why);
    vault.got_secretmem = pages->granted & SA_SECRETMEM;
    return SA_OK;
}
