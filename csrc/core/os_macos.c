/* macOS 11 and later, arm64 and x86-64.
 *
 * Memory is mapped with vm_map rather than mmap where it can be: one call sets
 * place, protection and inheritance, so that no fork in another thread sees a
 * mapping between two of them. A fixed mapping replaces what was there under one
 * lock of the map and puts it back when refused, so that no call here leaves a
 * hole in a reservation. There is no limit on the number of maps. */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <mach/mach.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysctl.h>
#include <unistd.h>

/* Older headers lack it; the kernel has had it since macOS 11. */
#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0x80000
#endif

/* ---- limits --------------------------------------------------------------- */

size_t os_map_limit(void)
{
    return SIZE_MAX;
}

/* RLIMIT_AS bounds the size of the whole map, shared libraries included. */
size_t os_address_space_left(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) || limit.rlim_cur == RLIM_INFINITY)
        return SIZE_MAX;
    struct mach_task_basic_info info;
    mach_msg_type_number_t count = MACH_TASK_BASIC_INFO_COUNT;
    if (task_info(mach_task_self(), MACH_TASK_BASIC_INFO, (task_info_t)&info, &count))
        return (size_t)limit.rlim_cur / 2;
    return limit.rlim_cur > info.virtual_size ? (size_t)(limit.rlim_cur - info.virtual_size) : 0;
}

/* The kernel takes the lesser of the process's limit and the machine's. */
size_t os_lock_limit(void)
{
    size_t least = SIZE_MAX;
    struct rlimit limit;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        least = (size_t)limit.rlim_cur;
    uint64_t machine = 0;
    size_t length = sizeof machine;
    if (sysctlbyname("vm.user_wire_limit", &machine, &length, NULL, 0) == 0 &&
        length == sizeof machine && machine < least)
        least = (size_t)machine;
    return least;
}

/* ---- address space --------------------------------------------------------- */

enum { REPLACING = VM_FLAGS_FIXED | VM_FLAGS_OVERWRITE };

/* Inaccessible pages of zeros, never executable. */
static int map_nothing(vm_address_t *at, size_t bytes, int flags, vm_inherit_t inherit)
{
    kern_return_t result =
        vm_map(mach_task_self(), at, bytes, 0, flags, MACH_PORT_NULL, 0, FALSE, VM_PROT_NONE,
               VM_PROT_READ | VM_PROT_WRITE, inherit);
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

unsigned os_known_protections(void)
{
    return SA_GUARD | SA_LOCK | SA_NOFORK;
}

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
            .mend = "raise it with ulimit -l, or sysctl vm.user_wire_limit",
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
    error = map_nothing(&place, bytes, REPLACING, VM_INHERIT_NONE); /* an object of its own, freed with it */
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
            (void)map_nothing(&place, bytes, REPLACING, VM_INHERIT_NONE); /* inaccessible and empty anyway */
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

/* ---- entropy, threads, signals ----------------------------------------------- */

int os_entropy(void *out, size_t bytes)
{
    char *p = out;
    while (bytes) {
        size_t n = bytes < 256 ? bytes : 256; /* all that getentropy gives at a time */
        if (getentropy(p, n))
            return errno;
        p += n;
        bytes -= n;
    }
    return 0;
}

long os_process(void)
{
    return (long)getpid();
}

bool os_is_init(void)
{
    return getpid() == 1;
}

/* The siginfo cannot be queued, only the signal; a fault's is not blocked by itself. The
 * library's lock is not taken for a thread's own handle. ENOTSUP and ESRCH on a dispatch
 * worker thread, which takes no directed signal: there a forced one comes again by its
 * instruction. */
int os_requeue(int sig, siginfo_t *info)
{
    (void)info; /* lost: see above */
    int before = errno;
    sigset_t own;
    sigemptyset(&own);
    sigaddset(&own, sig);
    pthread_sigmask(SIG_BLOCK, &own, NULL); /* until the handler returns */
    int error = pthread_kill(pthread_self(), sig);
    if (error)
        pthread_sigmask(SIG_UNBLOCK, &own, NULL);
    errno = before;
    return error;
}

/* There is no sigtimedwait, and sigwait waits for ever where another thread took
 * the signal between a look and the call: it takes from any thread's. Ignoring a
 * signal for a moment drops a pending one, and never waits. */
void os_consume(int sig)
{
    int before = errno;
    sigset_t pending;
    struct sigaction ignore = {.sa_handler = SIG_IGN}, saved;
    if (sigpending(&pending) == 0 && sigismember(&pending, sig) == 1 &&
        sigaction(sig, &ignore, &saved) == 0)
        (void)sigaction(sig, &saved, NULL); /* it was this a moment ago */
    errno = before;
}

/* Whether a write past RLIMIT_FSIZE would follow. Here SIGXFSZ goes to the
 * process, where blocking it in the calling thread does not hold it back. */
static bool file_is_full(int fd, const struct stat *what)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) || limit.rlim_cur == RLIM_INFINITY)
        return false;
    int flags = fcntl(fd, F_GETFL);
    off_t at = flags >= 0 && flags & O_APPEND ? what->st_size : lseek(fd, 0, SEEK_CUR);
    return at >= 0 && (uint64_t)at >= limit.rlim_cur;
}

/* 0 where one byte can be written at once. poll knows pipes and terminals, but
 * not every device (/dev/tty), for which it says POLLNVAL and select must do. */
static int has_room(int fd)
{
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    if (poll(&ready, 1, 0) < 0)
        return errno;
    if (ready.revents & (POLLHUP | POLLERR))
        return EPIPE; /* not written to, as SIGPIPE too would go to the process */
    if (!(ready.revents & POLLNVAL))
        return ready.revents & POLLOUT ? 0 : EAGAIN;
    if (fd >= FD_SETSIZE)
        return EAGAIN;
    fd_set room;
    FD_ZERO(&room);
    FD_SET(fd, &room);
    struct timeval at_once = {0, 0};
    int count = select(fd + 1, NULL, &room, NULL, &at_once);
    return count > 0 ? 0 : count < 0 ? errno : EAGAIN;
}

/* A pipe, terminal or socket that others fill between the look and the write could
 * make us wait: its O_NONBLOCK is theirs too, and no call here writes without it,
 * nor a send with MSG_DONTWAIT. A channel of our own has one writer to each pipe. */
static int write_now(int fd, const struct stat *what, const char *byte)
{
    bool file = S_ISREG(what->st_mode);
    int error = file ? (file_is_full(fd, what) ? EFBIG : 0) : has_room(fd);
    if (error)
        return error;
    ssize_t wrote = S_ISSOCK(what->st_mode) ? send(fd, byte, 1, MSG_NOSIGNAL)
                                            : write(fd, byte, 1);
    return wrote == 1 ? 0 : wrote < 0 ? errno : EIO;
}

int os_look_at_pipe(int fd, struct stat *file) { return os_look_at(fd, file); }

int os_write_quietly(int fd, const struct stat *what, char byte)
{
    (void)fd, (void)what, (void)byte;
    return EOPNOTSUPP;
}

int os_write_byte(int fd, const struct stat *what, char byte)
{
    int before = errno, error;
    do
        error = write_now(fd, what, &byte);
    while (error == EINTR);
    errno = before;
    return error;
}

size_t os_alt_stack_least(void)
{
    size_t least = 2 * (size_t)MINSIGSTKSZ;
    return (least < (size_t)SIGSTKSZ ? (size_t)SIGSTKSZ : least) + 8192;
}

int os_touched_ever(void *at, size_t bytes, unsigned char *vec)
{
    return os_touched(at, bytes, vec);
}
