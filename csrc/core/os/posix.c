/* What POSIX systems do alike. */
#include "os/os.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/ucontext.h>
#include <time.h>
#include <unistd.h>

static _Atomic size_t page_size;

SA_COLD static size_t ask_page_size(void)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    atomic_store_explicit(&page_size, size, memory_order_relaxed);
    return size;
}

SA_HOT size_t os_page_size(void)
{
    size_t size = atomic_load_explicit(&page_size, memory_order_relaxed);
    return size ? size : ask_page_size();
}

bool os_held_run(const unsigned char *held, size_t count, uintptr_t from, uintptr_t *start,
                 uintptr_t *end)
{
    size_t first = 0, page = os_page_size();
    while (first < count && !(held[first] & 1))
        first++;
    size_t last = first;
    while (last < count && held[last] & 1)
        last++;
    *start = from + first * page;
    *end = from + last * page;
    return first < count;
}

void os_raise_lock_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_MEMLOCK, &limit); /* refused: the old limit stays in force */
    }
}

bool os_forbid_core_files(struct sa_why *why)
{
    struct rlimit none = {0, 0}, now;
    if (setrlimit(RLIMIT_CORE, &none) == 0 && getrlimit(RLIMIT_CORE, &now) == 0 &&
        now.rlim_cur == 0 && now.rlim_max == 0)
        return true;
    *why = (struct sa_why){.call = "setrlimit(RLIMIT_CORE)",
                           .error = errno,
                           .hint = "start the program with ulimit -c 0"};
    return false;
}

int os_release(void *at, size_t bytes) { return munmap(at, bytes) ? errno : 0; }

/* The kernel reads, and says EFAULT instead of faulting. */
bool os_peek(uintptr_t at, void *out, size_t bytes)
{
    int ends[2];
    if (bytes > 512 /* any pipe takes that at once: _POSIX_PIPE_BUF */ || pipe(ends))
        return false;
    bool got = write(ends[1], (const void *)at, bytes) == (ssize_t)bytes &&
               read(ends[0], out, bytes) == (ssize_t)bytes;
    (void)close(ends[0]); /* a pipe of our own: nothing to lose */
    (void)close(ends[1]);
    return got;
}

SA_HOT int os_read_byte(int fd, char *byte, bool *end)
{
    ssize_t got;
    do
        got = read(fd, byte, 1);
    while (got < 0 && errno == EINTR);
    *end = got == 0;
    return got < 0 ? errno == EWOULDBLOCK ? EAGAIN : errno : 0;
}

bool os_came_over_exec(int fd)
{
    int flags = fcntl(fd, F_GETFD);
    return flags >= 0 && !(flags & FD_CLOEXEC);
}

int os_look_at(int fd, struct stat *file)
{
    int before = errno, error = fstat(fd, file) ? errno : 0;
    errno = before;
    return error;
}

void os_wait(unsigned turn)
{
    int before = errno;
    if (turn < 64)
        (void)sched_yield();
    else
        (void)poll(NULL, 0, 1);
    errno = before;
}

static int64_t ms_by(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t os_now_ms(void) { return ms_by(CLOCK_MONOTONIC); }

/* macOS has no CLOCK_BOOTTIME; its CLOCK_MONOTONIC_RAW is mach_continuous_time(). */
int64_t os_since_boot_ms(void)
{
#ifdef CLOCK_BOOTTIME
    return ms_by(CLOCK_BOOTTIME);
#else
    return ms_by(CLOCK_MONOTONIC_RAW);
#endif
}

int64_t os_about_now_ms(void)
{
#ifdef CLOCK_MONOTONIC_COARSE
    return ms_by(CLOCK_MONOTONIC_COARSE);
#else
    return os_now_ms();
#endif
}

bool os_blocks_on_return(int sig, const void *context)
{
    return sigismember(&((const ucontext_t *)context)->uc_sigmask, sig) == 1;
}

void os_unblock_on_return(int sig, void *context)
{
    (void)sigdelset(&((ucontext_t *)context)->uc_sigmask, sig); /* a signal it surely is */
}

void os_block_on_return(int sig, void *context)
{
    (void)sigaddset(&((ucontext_t *)context)->uc_sigmask, sig); /* as above */
}

enum { STACK_GUARD = 65536 }; /* a multiple of every page size */

void *os_map_stack(size_t bytes)
{
    char *at = mmap(NULL, bytes + STACK_GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANON, -1, 0);
    if (at == MAP_FAILED)
        return NULL;
    (void)munlock(at, bytes + STACK_GUARD); /* under MCL_FUTURE it was locked on arrival */
    if (mprotect(at + STACK_GUARD, bytes, PROT_READ | PROT_WRITE)) {
        os_unmap_stack(at + STACK_GUARD, bytes);
        return NULL;
    }
    return at + STACK_GUARD;
}

void os_unmap_stack(void *stack, size_t bytes)
{
    (void)munmap((char *)stack - STACK_GUARD, bytes + STACK_GUARD); /* whole and ours */
}

static bool gives_whole_blocks(int fd)
{
#ifdef O_DIRECT
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && flags & O_DIRECT;
#else
    (void)fd;
    return false;
#endif
}

int os_read_page(int fd, void *page, size_t n, size_t *got)
{
    *got = 0;
    ssize_t done = read(fd, page, n);
    if (done < 0 && errno == EINVAL && gives_whole_blocks(fd)) {
        done = read(fd, page, os_page_size());
        if (done > (ssize_t)n)
            done = lseek(fd, (off_t)n - done, SEEK_CUR) < 0 ? -1 : (ssize_t)n;
    }
    if (done < 0)
        return errno;
    *got = (size_t)done;
    return 0;
}

void *os_symbol(const char *name) { return dlsym(RTLD_DEFAULT, name); }

int os_duplicate(int fd, int *copy)
{
    *copy = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    return *copy < 0 ? errno : 0;
}
