/* Which thread it is, and where its stack lies, on Linux, glibc and musl. */
#include "os/os.h"
#include "os/linux/syscall.h"

#include <pthread.h>
#include <sys/resource.h>

/* The thread pointer, which is where the ABI has it: pthread_self() would be a call into code that is
 * cold after a system call. */
SA_HOT uintptr_t os_thread(void)
{
    uintptr_t thread;
#ifdef __x86_64__
    __asm__("mov %%fs:0, %0" : "=r"(thread));
#else
    __asm__("mrs %0, tpidr_el0" : "=r"(thread));
#endif
    return thread;
}

static uintptr_t first_low, first_high; /* once learned, never changed */

static bool is_first_thread(void)
{
    return os_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0) == os_process();
}

/* The first thread's grows, down to the limit: without one, into addresses where anything
 * may be mapped later. glibc's answer ends where something is now, musl's at what the
 * stack is now. */
static uintptr_t lowest(uintptr_t low, uintptr_t high)
{
    struct rlimit limit;
    uintptr_t most = 64 << 20;
    if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur < most)
        most = (uintptr_t)limit.rlim_cur;
    uintptr_t least = high - most;
#ifdef __GLIBC__
    return low < least ? least : low;
#else
    return low < least ? low : least;
#endif
}

static bool ask(uintptr_t *low, uintptr_t *high)
{
    const uintptr_t word = sizeof(uint64_t);
    pthread_attr_t attributes;
    void *at;
    size_t bytes;
    if (pthread_getattr_np(pthread_self(), &attributes))
        return false; /* as without /proc, for the first thread */
    bool known = pthread_attr_getstack(&attributes, &at, &bytes) == 0 && bytes;
    (void)pthread_attr_destroy(&attributes); /* it cannot fail */
    if (!known)
        return false;
    *high = (uintptr_t)at + bytes;
    *low = is_first_thread() ? lowest((uintptr_t)at, *high) : (uintptr_t)at;
    *low = (*low + word - 1) / word * word;
    return *low < *high;
}

void os_learn_stack(void)
{
    uintptr_t low, high;
    if (!is_first_thread() || !ask(&low, &high))
        return;
    first_low = low;
    first_high = high;
}

bool os_stack_bounds(uintptr_t *low, uintptr_t *high)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    if (!is_first_thread() || here < first_low || here >= first_high)
        return ask(low, high); /* or that of a thread which forked */
    *low = first_low;
    *high = first_high;
    return true;
}
