/* The budget that secretmem takes from on Linux, and how a page of it is had without a signal. */
#include "os/linux/budget.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

/* Until the fix of CVE-2026-93243 (in 6.1.192, 6.12.118, 7.3.4) a map of it counted as
 * locked, and by its length. Since then the map is none, and a page is charged to the user
 * at the first fault on it; past RLIMIT_MEMLOCK that is SIGBUS, or a system call's EFAULT,
 * and CAP_IPC_LOCK helps no more. */
enum { UNKNOWN, TO_PROCESS, TO_USER };
static _Atomic int charged;

bool os_charges_users(void)
{
    return atomic_load_explicit(&charged, memory_order_relaxed) != TO_PROCESS;
}

/* That advice is refused of what is locked; of an untouched page it changes nothing. */
static bool map_is_locked(void *at)
{
    return madvise(at, os_page_size(), MADV_DONTNEED) && errno == EINVAL;
}

/* Under mlockall(MCL_FUTURE) every map is locked, and nothing can be told. */
void os_learn_who_is_charged(void *secretmem)
{
    if (atomic_load(&charged))
        return;
    if (!map_is_locked(secretmem)) {
        atomic_store(&charged, TO_USER);
        return;
    }
    void *plain = mmap(NULL, os_page_size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (plain == MAP_FAILED)
        return;
    if (!map_is_locked(plain))
        atomic_store(&charged, TO_PROCESS);
    (void)munmap(plain, os_page_size()); /* just made, whole: it cannot fail */
}

size_t os_secretmem_limit(void)
{
    struct rlimit limit;
    if (!os_charges_users())
        return os_lock_limit();
    if (getrlimit(RLIMIT_MEMLOCK, &limit) || limit.rlim_cur == RLIM_INFINITY)
        return SIZE_MAX;
    return (size_t)limit.rlim_cur;
}

int os_fetch_pages(void *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += os_page_size()) {
        if (!os_may_write((char *)at + i))
            return EFAULT;
        memset((char *)at + i, 0, sizeof(uint64_t)); /* what that stored */
    }
    return 0;
}
