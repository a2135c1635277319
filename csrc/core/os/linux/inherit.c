/* What a forked child gets of memory, and what it must do with that, on Linux. */
#include "os/os.h"

#include <errno.h>
#include <sys/mman.h>

void *os_map_plain(size_t bytes, struct sa_why *why)
{
    const char *call = "mmap";
    void *at = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at != MAP_FAILED) {
        /* Under MCL_FUTURE it was locked on arrival, and accessible it would have been fetched. */
        (void)munlock(at, bytes);
        if (mprotect(at, bytes, PROT_READ | PROT_WRITE) == 0)
            return at;
        call = "mprotect";
    }
    *why = (struct sa_why){.call = call, .error = errno};
    if (at != MAP_FAILED)
        (void)munmap(at, bytes); /* just made, whole: it cannot fail */
    return NULL;
}

int os_inherit(void *at, size_t bytes, bool whether)
{
    return madvise(at, bytes, whether ? MADV_DOFORK : MADV_DONTFORK) ? errno : 0;
}

int os_place_copy(void *from, size_t bytes, void *onto)
{
    bool hole; /* then its place is another's, and the error says so */
    return os_place_pages(from, bytes, onto, &hole);
}

int os_lock(void *at, size_t bytes) { return mlock(at, bytes) ? errno : 0; }

int os_unlock(void *at, size_t bytes) { return munlock(at, bytes) ? errno : 0; }

int os_forget_pages(void *at, size_t bytes)
{
    int error = madvise(at, bytes, MADV_DONTNEED) ? errno : 0; /* EINVAL: they are locked */
    return error == ENOMEM ? 0 : error; /* not all is mapped: what is was dropped */
}
