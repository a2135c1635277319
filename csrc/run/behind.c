/* This file finds the allocator that stands behind this library, once, while it is needed
 * itself. */
#include "behind.h"

#include <dlfcn.h>
#include <stdatomic.h>

static _Atomic(uintptr_t) found[BEHIND_FUNCTIONS];
/* There from the thread's beginning, since the library is loaded before the program. Volatile,
 * since dlsym is declared as what calls nothing in this file. */
static _Thread_local volatile bool asking __attribute__((tls_model("initial-exec")));

static uintptr_t ask(const char *name)
{
    asking = true;
    uintptr_t there = (uintptr_t)dlsym(RTLD_NEXT, name);
    asking = false;
    return there;
}

/* dlsym itself may take and free: see behind_early(). */
uintptr_t behind(enum behind function)
{
    static const char *const names[BEHIND_FUNCTIONS] = {
        "malloc",        "calloc",         "realloc", "free",    "memalign",
        "aligned_alloc", "posix_memalign", "valloc",  "pvalloc", "malloc_usable_size"};
    uintptr_t there = atomic_load_explicit(&found[function], memory_order_relaxed);
    if (!there && !asking)
        found[function] = there = ask(names[function]);
    return there;
}

/* Another allocator may come behind us, whose blocks look different. The address of malloc does
 * not tell: where the program takes it, and has a fixed place, it is one in the program. Nor does
 * __libc_malloc, which others define too. */
bool behind_is_glibcs(void)
{
    enum { UNKNOWN, GLIBCS, ANOTHERS };
    static _Atomic int whose;
    int known = atomic_load_explicit(&whose, memory_order_relaxed);
    if (known != UNKNOWN)
        return known == GLIBCS;
    Dl_info heap, glibc;
    uintptr_t there = behind(BEHIND_MALLOC);
    uintptr_t sure = asking ? 0 : ask("gnu_get_libc_version");
    if (!there || !sure || !dladdr((void *)there, &heap) || !dladdr((void *)sure, &glibc))
        return false;
    whose = heap.dli_fbase == glibc.dli_fbase ? GLIBCS : ANOTHERS;
    return whose == GLIBCS;
}

enum { EARLY = 4096, STEP = 16 };
static _Alignas(STEP) uint8_t early[EARLY];
static _Atomic size_t early_used;

void *behind_early(size_t bytes)
{
    size_t whole = (bytes + STEP - 1) / STEP * STEP;
    if (!asking || bytes > EARLY)
        return NULL;
    size_t at = atomic_fetch_add(&early_used, whole);
    return at + whole <= EARLY ? early + at : NULL;
}

bool behind_is_early(const void *block)
{
    return (uintptr_t)block - (uintptr_t)early < sizeof early;
}
