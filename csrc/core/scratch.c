#include "scratch.h"

#include "noise.h"
#include "registers.h"
#include "vault_state.h"

#include <errno.h>
#include <string.h>

/* A wiper may be in a page at any time, so that none is ever unmapped. */
enum { PAGES = 4 };
static struct {
    _Atomic(uint8_t *) at;
    _Atomic bool taken;
} pages[PAGES];

SA_HOT void scratch_wipe(void)
{
    for (int i = 0; i < PAGES; i++) {
        uint8_t *at = atomic_load(&pages[i].at);
        if (at)
            noise_wipe(at, os_page_size());
    }
}

void scratch_forked(void)
{
    for (int i = 0; i < PAGES; i++) {
        atomic_store(&pages[i].at, NULL);
        atomic_store(&pages[i].taken, false);
    }
}

static enum sa_code map(int i, struct sa_why *why)
{
    struct os_pages p;
    unsigned least = sa_required() & (SA_LOCK | SA_NODUMP);
    lock_take(LOCK_VAULT);
    int error = vault_map_pages(vault.page, false, least, &p);
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
    atomic_store(&pages[i].at, p.at);
    return SA_OK;
}

/* One that nobody uses; waits about a second where all are in use, each by a thread that
 * reads, perhaps from what never answers. -1: none came free. */
static int take(void)
{
    for (unsigned turn = 0; turn < 64 + 1000; os_wait(turn++))
        for (int i = 0; i < PAGES; i++)
            if (!atomic_exchange(&pages[i].taken, true))
                return i;
    return -1;
}

enum sa_code sa_read_by_page(int fd, void *to, size_t n, size_t *got, struct sa_why *why)
{
    *got = 0;
    enum sa_code code = vault_enter(why);
    if (code)
        return code;
    int i = take();
    if (i < 0) { /* as if a signal had come: the caller looks for one, and tries again */
        *why = (struct sa_why){.call = "read", .error = EINTR};
        return SA_OS_ERROR;
    }
    if (!atomic_load(&pages[i].at) && (code = map(i, why))) {
        atomic_store(&pages[i].taken, false);
        return code;
    }
    uint8_t *page = atomic_load(&pages[i].at);
    int error = os_read_page(fd, page, n < vault.page ? n : vault.page, got);
    memcpy(to, page, *got);
    registers_forget();
    noise_wipe(page, vault.page);
    atomic_store(&pages[i].taken, false);
    if (!error)
        return SA_OK;
    *why = (struct sa_why){.call = "read", .error = error};
    return SA_OS_ERROR;
}
