/* What the program asks of all arenas. */
#include "vault/parked.h"

#include <errno.h>

static _Atomic unsigned required;

bool sa_use_secretmem(bool use)
{
    os_probe_in_child(use); /* no other call is worth a child, where a sandbox kills for clone */
    vault_notice_fork();
    lock_take(LOCK_VAULT);
    bool before = !atomic_exchange(&vault.shun_secretmem, !use);
    if (before != use && vault_started())
        parked_give_all_back();
    lock_give(LOCK_VAULT);
    return before;
}

unsigned sa_require(unsigned bits) { return atomic_exchange(&required, bits); }

unsigned sa_required(void) { return atomic_load_explicit(&required, memory_order_relaxed); }

enum sa_code vault_may_have(unsigned bits, struct sa_why *why)
{
    unsigned unknown = bits & ~os_known_protections();
    bool shunned = bits & SA_SECRETMEM && atomic_load(&vault.shun_secretmem);
    if (!unknown && !shunned)
        return SA_OK;
    *why = (struct sa_why){.error = ENOTSUP,
                           .hint = unknown ? "this platform does not have it"
                                           : "configure(secretmem=True)",
                           .missing = unknown ? unknown : (unsigned)SA_SECRETMEM};
    return SA_UNPROTECTED;
}
