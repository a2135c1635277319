/* The address space, and the pages that hold secrets, on macOS 11 and later, arm64 and x86-64.
 *
 * Memory is mapped with vm_map rather than mmap where it can be: one call sets
 * place, protection and inheritance, so that no fork in another thread sees a
 * mapping between two of them. A fixed mapping replaces what was there under one
 * lock of the map and puts it back when refused, so that no call here leaves a
 * hole in a reservation. There is no limit on the number of maps. */
#include "os/os.h"

#include <errno.h>
#include <mach/mach.h>
#include <sys/mman.h>

/* ---- address space --------------------------------------------------------- */

enum { REPLACING = VM_FLAGS_FIXED | VM_FLAGS_OVERWRITE };

/* Inaccessible pages of zeros, never executable. */
static int map_nothing(vm_address_t *at, size_t bytes, int flags, vm_inherit_t inherit)
{
    kern_return_t result = vm_map(mach_task_self(), at, bytes, 0, flags, MACH_PORT_NULL, 0, FALSE,
                                  VM_PROT_NONE, VM_PROT_READ | VM_PROT_WRITE, inherit);
    if (result == KERN_SUCCESS)
        return 0;
    return result == KERN_INVALID_ADDRESS || result == KERN_INVALID_ARGUMENT ? EINVAL : ENOMEM;
}

void *os_reserve(size_t bytes, int *error)
{
    vm_address_t at = 0;
    *error = map_nothing(&at, bytes, VM_FLAGS_ANYWHERE, VM_INHERIT_NONE);
    return *error ? NULL : (void *)at;
}

/* VM_FLAGS_FIXED alone refuses a place where anything is mapped. In the atfork
 * child the task port is the child's own: the system library renews it first. */
int os_reserve_at(void *at, size_t bytes)
{
    vm_address_t place = (vm_address_t)at;
    int error = map_nothing(&place, bytes, VM_FLAGS_FIXED, VM_INHERIT_COPY);
    return error == ENOMEM ? EEXIST : error;
}

/* ---- data pages ------------------------------------------------------------ */

unsigned os_known_protections(void) { return SA_GUARD | SA_LOCK | SA_NOFORK; }

/* Lock inaccessible pages. mlock touches each of them, for which they must be
 * accessible; the lock outlasts the way back. */
static int lock_pages(void *at, size_t bytes)
{
    if (mprotect(at, bytes, PROT_READ | PROT_WRITE))
        return errno;
    int error = mlock(at, bytes) ? errno : 0;
    if (!error) /* advice: should we be killed, the kernel zeroes what is writable just then;
                   not what is sealed, nor what munlock let go first (vm_fault_unwire) */
        (void)madvise(at, bytes, MADV_ZERO_WIRED_PAGES);
    if (mprotect(at, bytes, PROT_NONE))
        return errno;
    return error;
}

int os_map_pages(size_t bytes, bool secretmem, unsigned least, struct os_pages *out)
{
    (void)secretmem; /* no such thing here */
    *out = (struct os_pages){.never_secretmem = true};
    vm_address_t at = 0;
    int error = map_nothing(&at, bytes, VM_FLAGS_ANYWHERE, VM_INHERIT_NONE);
    if (error) {
        out->why = (struct sa_why){.call = "vm_map", .error = error};
        return error;
    }
    error = lock_pages((void *)at, bytes);
    if (error) {
        out->refused = SA_LOCK;
        out->why = (struct sa_why){
            .call = "mlock",
            .error = error,
            .hint = "raise it with ulimit -l, or sysctl vm.user_wire_limit",
            .limit = "RLIMIT_MEMLOCK or vm.user_wire_limit",
            .allowed = os_lock_limit(),
        };
        out->scarce = true;
        if (least & SA_LOCK) {
            (void)munmap((void *)at, bytes); /* just made, whole: it cannot fail */
            return error;
        }
    } else {
        out->granted = SA_LOCK;
    }
    out->at = (void *)at;
    return 0;
}

/* There is no secretmem. */
bool os_charges_users(void) { return false; }
size_t os_secretmem_limit(void) { return os_lock_limit(); }
int os_fetch_pages(void *at, size_t bytes)
{
    (void)at;
    (void)bytes;
    return ENOTSUP;
}

static int is_locked(void *at, bool *locked)
{
    vm_address_t place = (vm_address_t)at;
    vm_size_t bytes = 0;
    natural_t depth = 0;
    struct vm_region_submap_info_64 info;
    mach_msg_type_number_t count = VM_REGION_SUBMAP_INFO_COUNT_64;
    if (vm_region_recurse_64(mach_task_self(), &place, &bytes, &depth,
                             (vm_region_recurse_info_t)&info, &count))
        return EINVAL;
    *locked = info.user_wired_count > 0;
    return 0;
}

/* Pages cannot be moved here: a remapped page leaves its lock behind. As those
 * made aside are empty, pages that are as locked are made in the place itself,
 * and the ones aside given back. */
int os_place_pages(void *from, size_t bytes, void *onto, bool *hole)
{
    *hole = false;
    bool locked;
    int error = is_locked(from, &locked);
    if (error)
        return error;
    vm_address_t place = (vm_address_t)onto;
    error = map_nothing(&place, bytes, REPLACING,
                        VM_INHERIT_NONE); /* an object of its own, freed with it */
    if (error)
        return error;
    if (locked) {
        error = lock_pages(onto, bytes);
        if (error) { /* perhaps for want of room for both */
            (void)munlock(from, bytes); /* it is locked: is_locked says so */
            error = lock_pages(onto, bytes);
        }
        if (error) {
            (void)lock_pages(from, bytes); /* it was, a moment ago */
            (void)map_nothing(&place, bytes, REPLACING,
                              VM_INHERIT_NONE); /* inaccessible and empty anyway */
            return error;
        }
    }
    (void)munmap(from, bytes); /* whole and ours: it cannot fail */
    return 0;
}

int os_unplace_pages(void *at, size_t bytes, bool *hole)
{
    *hole = false;
    (void)munlock(at, bytes); /* not locked: nothing to do */
    vm_address_t place = (vm_address_t)at;
    return map_nothing(&place, bytes, REPLACING, VM_INHERIT_NONE);
}

/* vm_map is a message to the kernel, which a handler cannot send: mmap is a
 * system call. The kernel lets such pages go as they are: it zeroes writable ones only
 * (MADV_ZERO_WIRED_PAGES), and all of them when somebody gets them anew. */
int os_protect(void *at, size_t bytes, enum os_access access)
{
    static const int bits[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE};
    int before = errno;
    int error = mprotect(at, bytes, bits[access]) ? errno : 0;
    errno = before;
    return error;
}

int os_drop_pages(void *at, size_t bytes)
{
    int before = errno, error = 0;
    if (mmap(at, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANON | MAP_FIXED, -1, 0) != MAP_FAILED)
        (void)minherit(at, bytes, VM_INHERIT_NONE); /* else a child inherits an empty page */
    else if (munmap(at, bytes))
        error = errno;
    errno = before;
    return error;
}

/* A page that the compressor or swap holds is not in core, yet not untouched. */
int os_touched(void *at, size_t bytes, unsigned char *vec)
{
    int before = errno, error = 0;
    if (mincore(at, bytes, (char *)vec)) {
        error = errno;
    } else {
        for (size_t i = 0; i < bytes / os_page_size(); i++)
            vec[i] = (vec[i] & (MINCORE_INCORE | MINCORE_PAGED_OUT)) != 0;
    }
    errno = before;
    return error;
}

int os_touched_ever(void *at, size_t bytes, unsigned char *vec)
{
    return os_touched(at, bytes, vec);
}

/* ---- memory of our own ------------------------------------------------------ */

void *os_map_table(size_t bytes, struct sa_why *why)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    if (at == MAP_FAILED) {
        *why = (struct sa_why){.call = "mmap", .error = errno};
        return NULL;
    }
    return at;
}
