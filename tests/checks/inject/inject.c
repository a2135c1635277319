/* Every system call fails once. A script makes, fills, rotates, pools, seals, locks
 * down, forks and closes; each call of each function by which the library asks the
 * system for something fails in turn, with each errno that it can give. Then either
 * all is closed, and nothing may be left behind, or the process faults, and all must
 * be wiped. The linker's --wrap puts us in between. */
#include "../../core/arenas.h"
#include "../../core/calls.h"
#include "../../core/linux.h"

#include "vault/state.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* ---- failing ----------------------------------------------------------------------- */

/* name, what it returns when it fails, and with which errnos */
// clang-format off
#define FUNCTIONS(X)                                                                   \
    X(mmap, ENOMEM, EAGAIN, EPERM) X(munmap, ENOMEM) X(mremap, ENOMEM, EAGAIN, EFAULT)  \
    X(mprotect, ENOMEM, EACCES) X(madvise, EINVAL, ENOMEM, EAGAIN) X(munlock, ENOMEM)   \
    X(mincore, EAGAIN, ENOMEM) X(ftruncate, EINVAL, EPERM, EFBIG) X(close, EIO, EINTR)  \
    X(sigaction, EINVAL) X(sigaltstack, ENOMEM, EPERM) X(fstat, EBADF, EOVERFLOW)       \
    X(write, EIO, EAGAIN, EINTR) X(poll, ENOMEM, EINTR) X(fcntl, EBADF)                 \
    X(open, EMFILE, ENOENT, EACCES) X(read, EIO, EINTR) X(getrlimit, EFAULT)            \
    X(setrlimit, EPERM) X(calloc, ENOMEM) X(aligned_alloc, ENOMEM)                      \
    X(pthread_setspecific, ENOMEM)                                                      \
    X(memfd_secret, ENOSYS, EPERM, EMFILE, ENOMEM) X(mlock2, ENOMEM, EPERM, EAGAIN)     \
    X(getrandom, ENOSYS, EAGAIN, EINTR) X(capget, EPERM)                                \
    X(memfd_create, ENOSYS, EMFILE) X(pipe2, EMFILE, ENFILE) X(fchmod, EPERM)            \
    X(rt_tgsigqueueinfo, EAGAIN, EPERM) X(pwritev2, EOPNOTSUPP, ENOSYS, EAGAIN, EPIPE)
// clang-format on

#define ENTRY(name, ...) WHICH_##name,
enum which { FUNCTIONS(ENTRY) KINDS };
#undef ENTRY
#define ENTRY(name, ...) {#name, {__VA_ARGS__}},
static const struct {
    const char *name;
    int errors[4];
} kinds[] = {FUNCTIONS(ENTRY)};

static unsigned *calls; /* of each kind, shared with who watches */
static bool enabled;
static enum which target;
static unsigned nth;
static int with_error;

static bool fails(enum which kind)
{
    if (!enabled || ++calls[kind] != nth || kind != target)
        return false;
    errno = with_error;
    return true;
}

#define WRAP(type, name, failure, parameters, ...) \
    type __real_##name parameters; \
    type __wrap_##name parameters; \
    type __wrap_##name parameters \
    { \
        return fails(WHICH_##name) ? failure : __real_##name(__VA_ARGS__); \
    }
WRAP(void *, mmap, MAP_FAILED, (void *a, size_t n, int p, int f, int d, off_t o), a, n, p, f, d, o)
WRAP(int, munmap, -1, (void *a, size_t n), a, n)
WRAP(int, mprotect, -1, (void *a, size_t n, int p), a, n, p)
WRAP(int, madvise, -1, (void *a, size_t n, int w), a, n, w)
WRAP(int, munlock, -1, (const void *a, size_t n), a, n)
WRAP(int, mincore, -1, (void *a, size_t n, unsigned char *v), a, n, v)
WRAP(int, pipe2, -1, (int *ends, int flags), ends, flags)
WRAP(int, fchmod, -1, (int d, mode_t m), d, m)
WRAP(int, ftruncate, -1, (int d, off_t n), d, n)
WRAP(int, sigaction, -1, (int s, const struct sigaction *a, struct sigaction *b), s, a, b)
WRAP(int, sigaltstack, -1, (const stack_t *a, stack_t *b), a, b)
WRAP(int, fstat, -1, (int d, struct stat *s), d, s)
WRAP(ssize_t, write, -1, (int d, const void *p, size_t n), d, p, n)
WRAP(ssize_t, read, -1, (int d, void *p, size_t n), d, p, n)
WRAP(int, poll, -1, (struct pollfd * p, nfds_t n, int t), p, n, t)
WRAP(int, getrlimit, -1, (int r, struct rlimit *l), r, l)
WRAP(int, setrlimit, -1, (int r, const struct rlimit *l), r, l)
WRAP(void *, calloc, NULL, (size_t n, size_t m), n, m)
WRAP(void *, aligned_alloc, NULL, (size_t a, size_t n), a, n)
WRAP(int, pthread_setspecific, errno, (pthread_key_t k, const void *p), k, p)

int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd) /* closes all the same, as Linux does */
{
    int closed = __real_close(fd);
    return fails(WHICH_close) ? -1 : closed;
}

#define REST(type, last) \
    va_list rest; \
    va_start(rest, last); \
    type more = va_arg(rest, type); \
    va_end(rest)

void *__real_mremap(void *a, size_t old, size_t new, int flags, ...);
void *__wrap_mremap(void *a, size_t old, size_t new, int flags, ...);
void *__wrap_mremap(void *a, size_t old, size_t new, int flags, ...)
{
    REST(void *, flags);
    return fails(WHICH_mremap) ? MAP_FAILED : __real_mremap(a, old, new, flags, more);
}

int __real_fcntl(int fd, int what, ...);
int __wrap_fcntl(int fd, int what, ...);
int __wrap_fcntl(int fd, int what, ...)
{
    REST(long, what);
    return fails(WHICH_fcntl) ? -1 : __real_fcntl(fd, what, more);
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    return fails(WHICH_open) ? -1 : __real_open(path, flags, 0600);
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    long a[6];
    TAKE_SIX(number, a);
    enum which kind = number == 447                     ? WHICH_memfd_secret
                      : number == SYS_mlock2            ? WHICH_mlock2
                      : number == SYS_getrandom         ? WHICH_getrandom
                      : number == SYS_capget            ? WHICH_capget
                      : number == SYS_memfd_create      ? WHICH_memfd_create
                      : number == SYS_rt_tgsigqueueinfo ? WHICH_rt_tgsigqueueinfo
                                                        : KINDS;
    if (kind != KINDS && fails(kind))
        return -1;
    return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

long __real_os_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_os_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_os_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    enum which kind = number == SYS_fstat         ? WHICH_fstat
                      : number == SYS_pwritev2    ? WHICH_pwritev2
                      : number == SYS_mprotect    ? WHICH_mprotect
                      : number == SYS_sigaltstack ? WHICH_sigaltstack
                                                  : KINDS;
    int before = errno;
    bool failed = kind != KINDS && fails(kind);
    errno = before;
    return failed ? -with_error : __real_os_syscall(number, a, b, c, d, e, f);
}

/* ---- the script ------------------------------------------------------------------------ */

enum { ARENAS = 7, FIRST_POOLED = 4, LARGE = 3 };
static const size_t sizes[ARENAS] = {32, 4096, 9000, 80000, 40, 300, 5000};
static struct sa_arena all[ARENAS];
static bool usable[ARENAS];
static struct sa_pool *pool;
static struct sa_why why;

/* A call may fail once, and says why. */
static bool worked(enum sa_code code)
{
    CHECK(code == SA_OK || code == SA_NO_MEMORY || code == SA_OS_ERROR || code == SA_UNPROTECTED);
    CHECK(code == SA_OK || why.call);
    return code == SA_OK;
}

#define AT_LAST(call) \
    do { \
        why = (struct sa_why){0}; \
        if (!worked(call)) \
            OK(call); \
    } while (0)

static void are_whole(void)
{
    for (int i = 0; i < ARENAS; i++)
        if (usable[i]) {
            const uint8_t *bytes;
            OK(sa_borrow(&all[i], &bytes));
            CHECK(is_content(bytes, sizes[i], (unsigned)i));
            OK(sa_return(&all[i]));
        }
}

static void fill(int i)
{
    static uint8_t text[80000];
    put_content(text, sizes[i], (unsigned)i);
    OK(sa_store(&all[i], 0, text, sizes[i]));
    OK(sa_fill_end(&all[i], true));
    usable[i] = true;
}

static void make_one(int i)
{
    if (i < FIRST_POOLED)
        AT_LAST(sa_arena_make(&all[i], sizes[i], 1, &why));
    else
        AT_LAST(sa_pool_alloc(pool, &all[i], sizes[i], &why));
    fill(i);
}

static void refill(int i)
{
    why = (struct sa_why){0};
    if (worked(sa_fill_begin(&all[i], &why))) {
        fill(i);
        return;
    }
    sa_close(&all[i]); /* its pages were given up */
    make_one(i);
}

/* Nothing of what it held can be read. */
static void is_gone(int i)
{
    struct slot s = arena_slot(&all[i]);
    if (atomic_load(slot_word(s)) & WORD_DROPPED)
        return;
    CHECK(word_access(atomic_load(slot_word(s))) != OS_NONE);
    for (size_t k = 0; k + 8 <= sizes[i]; k += 8) {
        uint8_t held[8];
        for (unsigned j = 0; j < 8; j++)
            held[j] = content_at(k + j, (unsigned)i);
        CHECK(memcmp(arena_bytes(&all[i]) + k, held, 8));
    }
}

static void seal(int i)
{
    AT_LAST(sa_seal_as(&all[i], i == 2 ? SA_SEAL_ENCRYPTED : SA_SEAL_PLAIN, &why));
    SAME(sa_state_of(&all[i]), SA_IS_SEALED);
    struct sa_block block;
    AT_LAST(sa_open(&all[i], i % 2, &block, &why));
    SAME(sa_state_of(&all[i]), SA_USABLE);
    are_whole();
    (void)worked(sa_open_end(&block, &why)); /* refused: sealed, but for the pages */
    SAME(sa_state_of(&all[i]), SA_IS_SEALED);
    usable[i] = false;
}

/* A pipe and a file of what one holds: what they give is whole, and nothing is left of either. */
static void give_out(int i)
{
    static uint8_t got[80000];
    for (int file = 0; file < 2; file++) {
        struct sa_outlet way;
        size_t unread;
        int fd = -1;
        why = (struct sa_why){0};
        if (!worked((file ? sa_file_open : sa_pipe_open)(&way, &all[i], 0, sizes[i], &fd, &why)))
            continue;
        bool enabled_before = enabled;
        enabled = false;
        SAME(read(fd, got, sizes[i]), sizes[i]);
        enabled = enabled_before;
        CHECK(is_content(got, sizes[i], (unsigned)i));
        OK(sa_outlet_close(&way, &unread));
        SAME(unread, 0);
    }
}

static void in_the_child(void)
{
    for (int i = 0; i < ARENAS; i++) {
        SAME(sa_state_of(&all[i]), SA_IS_FORKED);
        sa_close(&all[i]);
        usable[i] = false;
    }
    all[0] = (struct sa_arena){0};
    make_one(0);
    AT_LAST(sa_rotate(&all[0], 0, &why));
    are_whole();
    sa_close(&all[0]);
    _exit(0);
}

static void script(void)
{
    int ends[2], before;
    size_t wiped;
    SAME(pipe(ends), 0);
    enabled = true;
    AT_LAST(sa_set_lockdown_fd(ends[1], &before, &why));
    for (int i = 0; i < ARENAS; i++) {
        if (i == FIRST_POOLED)
            AT_LAST(sa_pool_make(&pool, &why));
        make_one(i);
        are_whole();
    }
    for (int i = 0; i < ARENAS; i++) {
        why = (struct sa_why){0};
        (void)worked(sa_rotate(&all[i], 0, &why));
        are_whole();
        OK(sa_check(&all[i]));
    }
    give_out(0);
    give_out(LARGE - 1);
    usable[1] = false;
    OK(sa_wipe(&all[1], &why));
    is_gone(1);
    refill(1);
    are_whole();
    AT_LAST(sa_rekey(&why));
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        in_the_child();
    SAME(check_wait(child), 0);
    are_whole();
    for (int i = 0; i < ARENAS; i += 2) {
        sa_close(&all[i]);
        make_one(i);
    }
    are_whole();
    seal(2);
    seal(LARGE);
    memset(usable, 0, sizeof usable);
    why = (struct sa_why){0};
    (void)worked(sa_lockdown(&wiped, &why));
    SAME(wiped, ARENAS);
    for (int i = 0; i < ARENAS; i++) {
        bool sealed = sa_state_of(&all[i]) == SA_IS_SEALED;
        SAME(sealed, i == 2 || i == LARGE);
        CHECK(sa_is_wiped(&all[i]));
        struct slot s = arena_slot(&all[i]);
        if (slot_set_access(s, OS_WRITE))
            SAME(slot_set_access(s, OS_WRITE), 0);
        is_gone(i);
        if (!sealed) {
            refill(i);
            continue;
        }
        sa_close(&all[i]);
        make_one(i);
    }
    are_whole();
    AT_LAST(sa_disarm(&why));
    AT_LAST(sa_arm(NULL, 0, &why));
}

/* ---- ends --------------------------------------------------------------------------------- */

/* Bytes of our mappings: those outside every segment that are secretmem or that a child
 * does not get, and those that it sees wiped. */
static void count_ours(size_t *outside, size_t *tables)
{
    FILE *maps = fopen("/proc/self/smaps", "re");
    CHECK(maps);
    char line[512];
    uintptr_t start = 0, end = 0, from, to;
    bool secretmem = false;
    *outside = *tables = 0;
    while (fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2 && strchr(line, '-')) {
            start = from;
            end = to;
            secretmem = strstr(line, "secretmem");
        } else if (!strncmp(line, "VmFlags:", 8)) {
            size_t inside = 0; /* segments may lie side by side, in one map */
            for (uint32_t i = 0; i < atomic_load(&vault.segment_count); i++) {
                uintptr_t base = (uintptr_t)atomic_load(&segments[i].base);
                from = start > base ? start : base;
                to = end < base + segments[i].bytes ? end : base + segments[i].bytes;
                inside += from < to ? to - from : 0;
            }
            if (strstr(line, " dc") || secretmem)
                *outside += end - start - inside;
            if (strstr(line, " wf"))
                *tables += end - start;
        }
    }
    fclose(maps);
}

static size_t whole_pages(size_t n)
{
    size_t page = os_page_size();
    return (n + page - 1) / page * page;
}

static void leaves_nothing(unsigned descriptors)
{
    for (int i = 0; i < ARENAS; i++)
        sa_close(&all[i]);
    sa_pool_free(pool);
    enabled = false;
    SAME(status().arenas, 0);
    SAME(count_descriptors(), descriptors + 2); /* the pipe */
    if (target == WHICH_munmap)
        return; /* what it was refused is left, and cannot be helped */
    size_t outside, tables, want = whole_pages(SLOT_TABLE_BYTES(LARGES)) + os_page_size();
    for (uint32_t i = 0; i < atomic_load(&vault.segment_count); i++)
        want += whole_pages(SLOT_TABLE_BYTES(segments[i].slots));
    count_ours(&outside, &tables);
    SAME(outside, 0);
    SAME(tables, want);
}

/* The handler that was there before ours, as it is called afterwards. */
static void looks(int sig)
{
    (void)sig;
    enabled = false;
    for (int i = 0; i < ARENAS; i++)
        is_gone(i);
    _exit(0);
}

static _Noreturn void run(bool crashes)
{
    alarm(20);
    unsigned descriptors = count_descriptors();
    signal(SIGSEGV, looks);
    script();
    if (!crashes) {
        leaves_nothing(descriptors);
        _exit(0);
    }
    seal(1);
    *(volatile char *)8 = 0;
    _exit(3);
}

static bool ends_well(bool crashes)
{
    memset(calls, 0, KINDS * sizeof *calls);
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        run(crashes);
    int end = check_wait(child);
    /* Where the action before ours cannot be put back, the signal kills. (Where ours
     * was never put in place, the earlier one looks, and finds everything.) */
    if (end == 0 || (crashes && target == WHICH_sigaction && death_of(end) == SIGSEGV))
        return true;
    printf("%s: call %u of %s, errno %d (%s): status %#x\n", crashes ? "crash" : "close", nth,
           target < KINDS ? kinds[target].name : "none", with_error, strerror(with_error), end);
    return false;
}

int main(void)
{
    calls = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(calls != MAP_FAILED);
    static unsigned total[2][KINDS];
    unsigned points = 0, runs = 0, failures = 0, functions = 0;
    for (int crashes = 0; crashes < 2; crashes++) {
        target = KINDS;
        failures += !ends_well(crashes);
        memcpy(total[crashes], calls, sizeof total[crashes]);
    }
    for (enum which kind = 0; kind < KINDS; kind++) {
        functions += total[1][kind] != 0;
        for (int crashes = 0; crashes < 2; crashes++) {
            points += total[crashes][kind];
            for (nth = 1; nth <= total[crashes][kind]; nth++)
                for (int i = 0; i < 4 && kinds[kind].errors[i]; i++, runs++) {
                    target = kind;
                    with_error = kinds[kind].errors[i];
                    failures += !ends_well(crashes);
                }
        }
    }
    printf("%u functions, %u injection points, %u runs, %u failures\n", functions, points, runs,
           failures);
    return failures != 0;
}
