#include "alt_stack.h"

#include "os.h"

#include <pthread.h>

_Thread_local bool alt_stack_seen;
static pthread_key_t key; /* holds the thread's stack and frees it at thread end */
static bool usable;

static void free_stack(void *stack)
{
    stack_t now;
    alt_stack_seen = false;
    if (sigaltstack(NULL, &now) == 0 && !(now.ss_flags & SS_DISABLE) && now.ss_sp == stack) {
        stack_t off = {.ss_flags = SS_DISABLE};
        if (sigaltstack(&off, NULL))
            return; /* in use: rather lose it than pull it away */
    }
    os_unmap_stack(stack, os_alt_stack_size());
}

/* When the library is loaded, not by pthread_once: see identity.c. */
__attribute__((constructor)) static void make_key(void)
{
    usable = pthread_key_create(&key, free_stack) == 0;
}

void alt_stack_make(void)
{
    alt_stack_seen = true;
    stack_t now;
    if (sigaltstack(NULL, &now) || !(now.ss_flags & SS_DISABLE))
        return;
    if (!usable)
        return;
    size_t bytes = os_alt_stack_size();
    stack_t ours = {.ss_sp = os_map_stack(bytes), .ss_size = bytes};
    if (!ours.ss_sp)
        return;
    /* The half that the kernel's frame and ours take is touched now: a page that has to be
     * found first would hold the wipe up, and may be refused. */
    for (size_t at = bytes / 2; at < bytes; at += os_page_size())
        ((volatile char *)ours.ss_sp)[at] = 0;
    if (pthread_setspecific(key, ours.ss_sp) || sigaltstack(&ours, NULL)) {
        (void)pthread_setspecific(key, NULL); /* it was NULL before, so there is room */
        os_unmap_stack(ours.ss_sp, bytes);
    }
}

enum sa_alt_stack alt_stack_kind(void)
{
    stack_t now;
    if (sigaltstack(NULL, &now) || now.ss_flags & SS_DISABLE)
        return SA_STACK_NONE;
    if (usable && now.ss_sp == pthread_getspecific(key))
        return SA_STACK_OURS;
    return now.ss_size < os_alt_stack_size() ? SA_STACK_SMALL : SA_STACK_FOREIGN;
}
