/* This file reads from a descriptor by way of a page of its own: where the kernel cannot store
 * into secretmem, and for bytes that nobody wants. */
#include "vault/read_page.h"

#include "base/wipe.h"
#include "vault/mapping.h"
#include "vault/noise.h"
#include "base/registers.h"
#include "vault/scratch.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

static enum sa_code map(int which, struct sa_why *why)
{
    struct os_pages p;
    unsigned least = sa_required() & (SA_LOCK | SA_NODUMP);
    lock_take(LOCK_VAULT);
    int error = mapping_pages(vault.page, false, least, &p);
    if (!error && p.granted & SA_LOCK)
        vault.locked_bytes += vault.page;
    lock_give(LOCK_VAULT);
    if (error) {
        *why = p.why;
        return SA_OS_ERROR;
    }
    if ((error = os_protect(p.at, vault.page, OS_WRITE))) {
        *why = (struct sa_why){.call = "mprotect", .error = error};
        return SA_OS_ERROR; /* a page of address space is lost, and was never accessible */
    }
    scratch_set_page(which, p.at);
    return SA_OK;
}

enum sa_code sa_read_by_page(int fd, void *to, size_t n, size_t *got, struct sa_why *why)
{
    *got = 0;
    enum sa_code code = vault_enter(why);
    if (code)
        return code;
    int which = scratch_take();
    if (which < 0) { /* as if a signal had come: the caller looks for one, and tries again */
        *why = (struct sa_why){.call = "read", .error = EINTR};
        return SA_OS_ERROR;
    }
    if (!scratch_page(which) && (code = map(which, why))) {
        scratch_give(which);
        return code;
    }
    uint8_t *page = scratch_page(which);
    int error = os_read_page(fd, page, n < vault.page ? n : vault.page, got);
    memcpy(to, page, *got);
    registers_forget();
    noise_wipe(page, vault.page);
    scratch_give(which);
    if (!error)
        return SA_OK;
    *why = (struct sa_why){.call = "read", .error = error};
    return SA_OS_ERROR;
}

size_t read_page_drop(int fd)
{
    enum { LITTLE = 256 };
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    if (poll(&ready, 1, 0) != 1 || !(ready.revents & POLLIN))
        return 0; /* no page is mapped for nothing */
    uint8_t little[LITTLE] = {0}; /* where no page is to be had: it has to go all the same */
    struct sa_why unused;
    size_t got;
    int which = scratch_take();
    uint8_t *page = NULL;
    if (which >= 0 && (scratch_page(which) || map(which, &unused) == SA_OK))
        page = scratch_page(which);
    if (os_pipe_read(fd, page ? page : little, page ? vault.page : LITTLE, &got))
        got = 0; /* not to be read: the owner of the other end has it still */
    if (page)
        noise_wipe(page, vault.page);
    else
        wipe_scratch(little, sizeof little);
    if (which >= 0)
        scratch_give(which);
    return got;
}
