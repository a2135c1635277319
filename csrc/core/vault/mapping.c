/* This file maps pages. It asks for less where a limit or the system refuses, and gives back
 * what is parked before anything fails. */
#include "vault/mapping.h"

#include "vault/budget.h"
#include "vault/forks.h"
#include "vault/parked.h"
#include "vault/relock.h"

#include <errno.h>

enum sa_code mapping_table(void **out, size_t bytes, struct sa_why *why)
{
    *out = os_map_table((bytes + vault.page - 1) / vault.page * vault.page, why);
    if (*out)
        return SA_OK;
    return why->error == ENOMEM || why->error == EAGAIN ? SA_NO_MEMORY : SA_OS_ERROR;
}

int mapping_pages(size_t bytes, bool secretmem, unsigned least, struct os_pages *out)
{
    for (unsigned tries = 0; tries < 8; tries++) {
        struct alone alone;
        alone_begin(&alone);
        int error = os_map_pages(bytes, secretmem, least, out);
        if (alone_end(&alone))
            return error;
        if (!error)
            (void)os_release(out->at, bytes); /* never accessible */
    }
    *out = (struct os_pages){.why = {.call = "mmap beside forks", .error = EAGAIN}};
    return EAGAIN;
}

enum sa_code mapping_allows(size_t wanted, struct sa_why *why)
{
    while (!budget_maps_left(wanted))
        if (!parked_give_some_back()) {
            *why = (struct sa_why){.call = "mmap",
                                   .error = ENOMEM,
                                   .hint = "raise it with sysctl vm.max_map_count=, or keep "
                                           "small secrets together",
                                   .limit = "vm.max_map_count",
                                   .allowed = vault.map_limit};
            return SA_NO_MEMORY;
        }
    return SA_OK;
}

/* Where each page has to be fetched, a large arena is better off without secretmem, as little of
 * it may be used: 16 MiB take about 90 ms, 4 GiB would take 22 s. */
enum { FETCHED_MOST = 16 << 20 };

static bool try_secretmem(size_t data)
{
    return budget_has_secretmem() && !(os_charges_users() && data > FETCHED_MOST);
}

static enum sa_code refused(int error, unsigned least, const struct os_pages *pages,
                            struct sa_why *why)
{
    *why = pages->why;
    why->missing = pages->refused & least;
    if (why->missing)
        return SA_UNPROTECTED;
    return error == ENOMEM || error == EAGAIN ? SA_NO_MEMORY : SA_OS_ERROR;
}

/* Pages were refused: what they fell short of is remembered, the first refusal's reason where no
 * lock was refused. */
static void note(struct os_pages *fell, const struct os_pages *pages)
{
    if (pages->refused && (!fell->why.call || pages->refused & SA_LOCK))
        fell->why = pages->why;
    fell->refused |= pages->refused;
}

/* What the pages that came lack, and why. */
static void tell_shortfall(struct os_pages *fell, const struct os_pages *pages)
{
    if (!fell->why.call || pages->refused & SA_LOCK)
        fell->why = pages->why;
    if (atomic_load(&vault.no_secretmem) && !atomic_load(&vault.shun_secretmem)) {
        fell->refused |= SA_SECRETMEM; /* it was asked for once */
        if (!fell->why.call)
            fell->why = vault.never_why;
    }
    budget_note_shortfall((fell->refused | pages->refused) & ~pages->granted, &fell->why);
}

/* Make room where a limit was met: what is kept for the next arena goes first, then locks that
 * encrypted content does without. */
static bool give_some_back(const struct os_pages *pages)
{
    return parked_give_some_back() || (pages->refused & SA_LOCK && relock_give_some());
}

enum sa_code mapping_slots(size_t data, size_t *count, unsigned least, bool giving,
                           struct os_pages *pages, struct sa_why *why)
{
    struct os_pages fell = {0}; /* what was refused on the way */
    size_t n = *count;
    unsigned ask = least | SA_LOCK | (try_secretmem(data) ? SA_SECRETMEM : 0);
    int error;
    budget_learn_limits(); /* they may have been changed */
    while ((error = mapping_pages(n * data, ask & SA_SECRETMEM, ask, pages))) {
        if (pages->never_secretmem) {
            atomic_store(&vault.no_secretmem, true);
            vault.never_why = pages->why;
        }
        if (pages->scarce && n > 1) {
            n /= 2;
        } else if (!pages->scarce || !giving || !give_some_back(pages)) {
            note(&fell, pages);
            if (!(pages->refused & ask & ~least))
                return refused(error, least, pages, why);
            ask = pages_ask_less(ask, least);
        }
    }
    *count = n;
    tell_shortfall(&fell, pages);
    vault.got_secretmem = pages->granted & SA_SECRETMEM;
    return SA_OK;
}
