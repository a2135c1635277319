/* A sheltered call's beginning and end. */
#include "fatal/alt_stack.h"
#include "fatal/fatal.h"
#include "fatal/levels.h"
#include "shelter/fork.h"
#include "shelter/heap.h"
#include "shelter/hooks.h"
#include "shelter/lend.h"
#include "shelter/stack.h"
#include "vault/vault.h"

static _Atomic bool fork_forbidden;

bool sa_shelter_possible(void) { return hooks_possible(); }

enum sa_code sa_shelter_begin(struct sa_why *why)
{
    enum sa_code code = vault_enter(why);
    if (code)
        return code;
    alt_stack_ensure();
    fatal_arm();
    int error = shelter_watch_forks();
    if (error) {
        *why = (struct sa_why){.call = "pthread_atfork", .error = error};
        return SA_NO_MEMORY;
    }
    if (!hooks_install()) {
        *why = (struct sa_why){.call = "dlsym(PyMem_SetAllocator)"};
        return SA_OS_ERROR;
    }
    lend_heap();
    hooks_enter();
    return SA_OK;
}

void sa_shelter_end(void)
{
    if (!hooks_leave())
        stack_forget();
}

bool sa_shelter_inside(void) { return hooks_depth() != 0; }

bool sa_is_sheltered(const void *p) { return heap_has(p); }

void sa_shelter_count(size_t *blocks, size_t *bytes) { heap_count(blocks, bytes); }

void sa_shelter_trim(void) { heap_trim(); }

void sa_shelter_lives_on(int sig) { levels_lives_on(sig); }

void sa_shelter_forbid_fork(void) { atomic_store(&fork_forbidden, true); }

bool sa_shelter_forbids_fork(void)
{
    size_t blocks, bytes;
    if (!atomic_load(&fork_forbidden))
        return false;
    heap_count(&blocks, &bytes);
    return blocks != 0;
}
