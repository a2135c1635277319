/* What a forked child gets of memory, and what it must do with that, on macOS. */
#include "base/wipe.h"
#include "os/os.h"

#include <errno.h>
#include <mach/mach.h>
#include <sys/mman.h>

void *os_map_plain(size_t bytes, struct sa_why *why)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    if (at != MAP_FAILED)
        return at;
    *why = (struct sa_why){.call = "mmap", .error = errno};
    return NULL;
}

int os_inherit(void *at, size_t bytes, bool whether)
{
    return minherit(at, bytes, whether ? VM_INHERIT_COPY : VM_INHERIT_NONE) ? errno : 0;
}

/* Pages cannot be moved here, see os_place_pages. */
int os_place_copy(void *from, size_t bytes, void *onto)
{
    bool hole;
    int error = os_unplace_pages(onto, bytes, &hole);
    if (error || (error = os_protect(onto, bytes, OS_WRITE)))
        return error;
    memcpy(onto, from, bytes);
    wipe_scratch(from, bytes);
    return os_release(from, bytes);
}

int os_lock(void *at, size_t bytes) { return mlock(at, bytes) ? errno : 0; }

int os_unlock(void *at, size_t bytes) { return munlock(at, bytes) ? errno : 0; }

int os_forget_pages(void *at, size_t bytes)
{
    (void)at;
    (void)bytes;
    return ENOTSUP; /* MADV_FREE may leave what was there */
}
