/* What the program asks of all arenas. */
#include "vault_state.h"

#include <errno.h>

static _Atomic unsigned required;

bool sa_use_secretmem(bool use)
{
    os_probe_in_child(use); /* the only call worth a child, to whom a sandbox kills for clone */
    pthread_mutex_lock(&vault.lock);
    bool before = !vault.shun_secretmem;
    vault.shun_secretmem = !use;
    if (before != use && vault_started())
        pages_give_all_back();
    pthread_mutex_unlock(&vault.lock);
    return before;
}

unsigned sa_require(unsigned bits) { return atomic_exchange(&required, bits); }

unsigned sa_required(void) { return atomic_load_explicit(&required, memory_order_relaxed); }

void sa_refusal(unsigned missing, struct sa_why *why)
{
    static const unsigned bits[] = {SA_LOCK, SA_SECRETMEM, SA_NODUMP};
    *why = (struct sa_why){.error = ENOTSUP, .mend = "this platform does not have it"};
    pthread_mutex_lock(&vault.lock);
    for (unsigned i = 0; i < sizeof bits / sizeof bits[0]; i++)
        if (missing & bits[i] & os_known_protections()) {
            bool shunned = bits[i] == SA_SECRETMEM && vault.shun_secretmem;
            *why = vault.refusals[i];
            if (shunned || !why->call)
                *why = (struct sa_why){.error = ENOTSUP,
                                       .mend = shunned ? "configure(secretmem=True)" : NULL};
            break;
        }
    pthread_mutex_unlock(&vault.lock);
}
