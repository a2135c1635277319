/* Calls that concern the whole process. */
#include "fatal/alt_stack.h"
#include "fatal/fatal.h"
#include "vault/locks.h"
#include "fatal/marker.h"
#include "vault/noise.h"
#include "vault/prekey.h"
#include "os/os.h"
#include "slab/slab.h"
#include "vault/spans.h"
#include "vault/vault.h"

static _Atomic uint64_t lockdowns;

/* Before the program closes descriptors, or goes where there is no /proc. */
__attribute__((constructor)) static void at_load(void)
{
    marker_start();
    os_learn_stack();
}

enum sa_code sa_clear(void *p, size_t n, struct sa_why *why)
{
    enum sa_code code = vault_enter(why);
    if (!code)
        noise_wipe(p, n);
    return code;
}

enum sa_code sa_rekey(struct sa_why *why) { return noise_ready() ? noise_rekey(why) : SA_OK; }

enum sa_code sa_lockdown_begin(struct sa_why *why)
{
    enum sa_code code = vault_enter(why);
    if (code)
        return code;
    if (!vault_is_ours())
        return SA_WRONG_PROCESS;
    alt_stack_ensure();
    return lock_try(LOCK_LOCKDOWN) ? SA_OK : SA_BUSY;
}

void sa_lockdown_wait(void)
{
    lock_take(LOCK_LOCKDOWN);
    lock_give(LOCK_LOCKDOWN);
}

/* How many arenas live in that many slots: each slab among them holds as many as it does. */
static size_t arenas_in(size_t slots, struct slab_totals slabs)
{
    return slabs.arenas + (slots > slabs.slots ? slots - slabs.slots : 0);
}

size_t sa_lockdown_small(void)
{
    wipers_enter();
    prekey_wipe(); /* first: what is encrypted is noise by that alone */
    return vault_wipe_sized(0, SA_LOCKDOWN_SMALL);
}

static enum sa_code end(size_t slots, bool only_set, size_t *wiped, struct sa_why *why)
{
    slots += vault_wipe_sized(SA_LOCKDOWN_SMALL + 1, SIZE_MAX);
    *wiped = arenas_in(slots, slabs_totals());
    atomic_fetch_add(&lockdowns, 1);
    marker_write('L', only_set);
    wipers_leave();
    lock_give(LOCK_LOCKDOWN);
    return noise_rekey(why);
}

enum sa_code sa_lockdown_end(size_t slots, size_t *wiped, struct sa_why *why)
{
    return end(slots, false, wiped, why);
}

enum sa_code sa_lockdown_end_quietly(size_t slots, size_t *wiped, struct sa_why *why)
{
    return end(slots, true, wiped, why);
}

enum sa_code sa_lockdown(size_t *wiped, struct sa_why *why)
{
    *wiped = 0;
    enum sa_code code;
    while ((code = sa_lockdown_begin(why)) == SA_BUSY)
        sa_lockdown_wait();
    return code ? code : sa_lockdown_end(sa_lockdown_small(), wiped, why);
}

enum sa_code sa_set_lockdown_fd(int fd, int *previous, struct sa_why *why)
{
    return marker_set(fd, previous, why);
}

enum sa_code sa_take_lockdown_fd(int fd, struct sa_why *why) { return marker_take(fd, why); }

void sa_leave_lockdown_fd(int fd) { marker_leave(fd); }

void sa_no_standard_error(void) { marker_no_default(); }

void sa_status(struct sa_status *out)
{
    *out = (struct sa_status){0};
    vault_notice_fork();
    if (alt_stack_seen) /* or else a look would give a thread one */
        alt_stack_make();
    struct slab_totals slabs = slabs_totals();
    vault_status(out);
    out->arenas -= spans_slots();
    out->arenas = arenas_in(out->arenas, slabs);
    out->bytes += slabs.bytes;
    fatal_status(out);
    out->lockdown_fd = marker_fd();
    out->rekeys = noise_rekeys();
    out->lockdowns = atomic_load(&lockdowns);
    out->alt_stack = alt_stack_kind();
}

void sa_trim(void)
{
    if (!vault_started())
        return;
    slabs_trim();
    vault_trim();
}
