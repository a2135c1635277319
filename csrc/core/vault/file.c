/* This file takes slots for files in memory. Their pages are mapped aside with the file, and
 * then are a large slot as any other, so that every wiper finds them. */
#include "vault/file.h"

#include "vault/budget.h"
#include "vault/forks.h"
#include "vault/large.h"
#include "vault/lent.h"
#include "vault/parked.h"

#include <errno.h>

/* No child has any of it, unless it was forked without the library's being told. */
static int map_beside_forks(size_t size, size_t data, unsigned least, struct os_pages *out, int *fd)
{
    for (unsigned tries = 0; tries < 8; tries++) {
        struct alone alone;
        alone_begin(&alone);
        int error = os_map_file(size, data, least, out, fd);
        if (alone_end(&alone))
            return error;
        if (!error) {
            if (data)
                (void)os_release(out->at, data); /* nothing in it yet */
            os_close(*fd);
        }
    }
    *out = (struct os_pages){.why = {.call = "memfd_create beside forks", .error = EAGAIN}};
    return EAGAIN;
}

/* With the lock if it can be had, what is parked being given back for it. */
static enum sa_code map_file(size_t size, size_t data, unsigned least, struct os_pages *pages,
                             int *fd, struct sa_why *why)
{
    unsigned ask = data ? least | SA_LOCK : least;
    int error;
    budget_learn_limits(); /* they may have been changed */
    while ((error = map_beside_forks(size, data, ask, pages, fd))) {
        if (pages->scarce && parked_give_some_back())
            continue;
        if (!(pages->refused & ask & ~least)) {
            *why = pages->why;
            why->missing = pages->refused & least;
            if (why->missing)
                return SA_UNPROTECTED;
            return error == ENOMEM || error == EAGAIN ? SA_NO_MEMORY : SA_OS_ERROR;
        }
        ask = least;
    }
    budget_note_shortfall(pages->refused & ~pages->granted, &pages->why);
    return SA_OK;
}

static enum sa_code take(size_t size, size_t data, unsigned least, struct slot *out,
                         struct sa_lent *lent, struct sa_why *why)
{
    struct os_pages pages;
    int fd;
    enum sa_code code = map_file(size, data, least, &pages, &fd, why);
    if (code)
        return code;
    if (data && (code = large_take(data, least, &pages, out, why))) {
        os_close(fd);
        return code;
    }
    if (data) {
        out->region->is_file = true;
        vault.live++;
        vault.live_bytes += size;
    }
    lent_add(lent, fd);
    return SA_OK;
}

enum sa_code vault_take_file(size_t size, unsigned least, struct slot *out, struct sa_lent *lent,
                             struct sa_why *why)
{
    size_t data;
    *out = (struct slot){NULL, 0};
    if (__builtin_add_overflow(size, vault.page - 1, &data) || data > PTRDIFF_MAX / 2) {
        *why = (struct sa_why){.call = "mmap", .error = ENOMEM};
        return SA_NO_MEMORY;
    }
    data -= data % vault.page;
    least &= SA_LOCK | SA_SECRETMEM | SA_NODUMP;
    if (least & SA_SECRETMEM) {
        *why = (struct sa_why){.call = "memfd_create",
                               .error = ENOTSUP,
                               .hint = "no file can be secretmem: a pipe needs none",
                               .missing = SA_SECRETMEM};
        return SA_UNPROTECTED;
    }
    lock_take(LOCK_VAULT);
    enum sa_code code = take(size, data, least, out, lent, why);
    lock_give(LOCK_VAULT);
    if (code || !data)
        return code;
    int error = vault_open_owned(*out);
    if (!error)
        return SA_OK;
    *why = slot_refused(error);
    lent_close(lent);
    vault_put(*out, size, true);
    return SA_NO_MEMORY;
}
