/* This file gives each thread that touches the library a signal stack, and records beside it
 * where the thread's own stack lies. */
#include "fatal/alt_stack.h"

#include "os/os.h"

#include <pthread.h>

_Thread_local bool alt_stack_seen THREAD_FEW;
static pthread_key_t key; /* holds the thread's stack and frees it at thread end */
static bool usable;

/* Other libraries' handlers run on it too, and want room: crash reporters unwind. */
enum { ROOMY = 256 << 10, TOUCHED = 16 << 10 };

/* Right above the stack, where a handler finds it without a thread-local. */
struct record {
    uint64_t mark; /* the record's own address, changed: no other memory says that */
    uintptr_t low, high; /* the thread's own stack; 0: not known */
};
enum { RECORD = 64 }; /* bytes left for it, so that it never straddles pages */
_Static_assert(sizeof(struct record) <= RECORD, "the record has to fit");

static uint64_t mark_of(uintptr_t at) { return at ^ UINT64_C(0x9e3779b97f4a7c15); }

static size_t in_pages(size_t bytes)
{
    size_t page = os_page_size();
    return (bytes + page - 1) / page * page;
}

static size_t all_bytes(void)
{
    size_t twice = 2 * os_alt_stack_least();
    return in_pages(twice < ROOMY ? ROOMY : twice);
}

static void free_stack(void *stack)
{
    stack_t now;
    alt_stack_seen = false;
    if (os_alt_stack(&now) && !(now.ss_flags & SS_DISABLE) && now.ss_sp == stack) {
        stack_t off = {.ss_flags = SS_DISABLE};
        if (sigaltstack(&off, NULL))
            return; /* in use: rather lose it than pull it away */
    }
    os_unmap_stack(stack, all_bytes());
}

/* When the library is loaded, not by pthread_once: see identity.c. */
__attribute__((constructor)) static void make_key(void)
{
    usable = pthread_key_create(&key, free_stack) == 0;
}

/* A new one, with its record. NULL: refused. */
static void *new_stack(void)
{
    size_t bytes = all_bytes(), used = os_alt_stack_least() / 2 + 4096;
    char *stack = os_map_stack(bytes);
    if (!stack)
        return NULL;
    /* What the kernel's frame and ours take is touched now: a page that has to be
     * found first would hold the wipe up, and may be refused. */
    used = in_pages(used < TOUCHED ? TOUCHED : used);
    for (size_t at = bytes - used; at < bytes; at += os_page_size())
        ((volatile char *)stack)[at] = 0;
    struct record *record = (struct record *)(void *)(stack + bytes - RECORD);
    uintptr_t low, high;
    if (os_stack_bounds(&low, &high)) {
        record->low = low;
        record->high = high;
    }
    record->mark = mark_of((uintptr_t)record);
    return stack;
}

SA_COLD void alt_stack_set(void)
{
    if (!usable)
        return;
    void *kept = pthread_getspecific(key);
    stack_t ours = {.ss_sp = kept ? kept : new_stack(), .ss_size = all_bytes() - RECORD};
    if (!ours.ss_sp)
        return;
    if ((!kept && pthread_setspecific(key, ours.ss_sp)) || (sigaltstack(&ours, NULL) && !kept)) {
        (void)pthread_setspecific(key, NULL); /* it was NULL before, so there is room */
        os_unmap_stack(ours.ss_sp, all_bytes());
    }
}

enum sa_alt_stack alt_stack_kind(void)
{
    stack_t now;
    if (!os_alt_stack(&now) || now.ss_flags & SS_DISABLE)
        return SA_STACK_NONE;
    if (usable && now.ss_sp == pthread_getspecific(key))
        return SA_STACK_OURS;
    return now.ss_size < os_alt_stack_least() ? SA_STACK_SMALL : SA_STACK_FOREIGN;
}

bool alt_stack_bounds(uintptr_t *low, uintptr_t *high)
{
    stack_t now;
    if (!os_alt_stack(&now) || now.ss_flags & SS_DISABLE)
        return false;
    uintptr_t at = (uintptr_t)now.ss_sp + now.ss_size;
    const struct record *record = (const struct record *)at;
    if (at % RECORD || !os_may_read(record) || record->mark != mark_of(at) || !record->high)
        return false;
    *low = record->low;
    *high = record->high;
    return true;
}
