/* A fork that comes in between the calls by which secretmem is made, opened or mapped, and does
 * not wait: its child has none of the pages that then get a secret. Made to come just there by
 * a filter that traps one of those calls: the handler of SIGSYS, which nothing blocks, forks
 * and then makes the call itself. */
#include "check.h"

#ifdef __linux__
#include "arenas.h"
#include "linux.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <ucontext.h>

enum { OURS = 0x51ab, SEED = 5, BYTES = 70000 };

static struct sa_why why;
static _Atomic bool armed;
static pid_t child;
static int stored[2];
static int ends[2]; /* of the socket that a secret is handed over by */

static bool holds_secret(const uint8_t *at, size_t n)
{
    for (size_t i = 0; i + 64 <= n; i++) {
        size_t k = 0;
        while (k < 64 && at[i + k] == content_at(k, SEED))
            k++;
        if (k == 64)
            return true;
    }
    return false;
}

/* In the child, when the secret is stored: whether it can be read here. */
static _Noreturn void look(void)
{
    char line[512], path[64], to[128];
    int found = 0, seen = 0;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    alarm(20);
    close(stored[1]); /* a parent that failed is the end of it */
    for (int i = 0; i < 2; i++) /* or a peer in the parent would wait for this end of it */
        if (ends[i])
            close(ends[i]);
    if (read(stored[0], line, 1) != 1)
        _exit(9);
    FILE *maps = fopen("/proc/self/maps", "re");
    uintptr_t from, end;
    while (maps && fgets(line, sizeof line, maps))
        if (strstr(line, "secretmem") && sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &from, &end) == 2) {
            seen = 1;
            if (mprotect((void *)from, end - from, PROT_READ) == 0 &&
                holds_secret((uint8_t *)from, end - from))
                found |= 2;
        }
    for (int fd = 3; fd < 64; fd++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(path, to, sizeof to - 1);
        to[n > 0 ? n : 0] = 0;
        struct stat file;
        if (!strstr(to, "secretmem") || fstat(fd, &file))
            continue;
        seen = 1;
        size_t size = (size_t)file.st_size;
        void *at = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
        if (at != MAP_FAILED && holds_secret(at, size))
            found |= 4;
    }
    _exit(found | seen);
}

static bool is_secretmem(uintptr_t at)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    bool is = false;
    uintptr_t from, end;
    while (maps && fgets(line, sizeof line, maps))
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &from, &end) == 2 && from <= at && at < end)
            is = strstr(line, "secretmem");
    if (maps)
        fclose(maps);
    return is;
}

static void trapped(int sig, siginfo_t *info, void *context)
{
    (void)sig;
#ifdef __x86_64__
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    long long *result = &regs[REG_RAX];
    long a = (long)regs[REG_RDI], b = (long)regs[REG_RSI], c = (long)regs[REG_RDX];
#else
    __typeof__(((ucontext_t *)context)->uc_mcontext.regs[0]) *regs =
        ((ucontext_t *)context)->uc_mcontext.regs; /* whose type is the C library's choice */
    __typeof__(&regs[0]) result = &regs[0];
    long a = (long)regs[0], b = (long)regs[1], c = (long)regs[2];
#endif
    if (info->si_syscall != SYS_madvise || (c == MADV_DONTFORK && is_secretmem((uintptr_t)a)))
        if (atomic_exchange(&armed, false) && (child = fork()) == 0)
            look();
    long done = syscall(info->si_syscall, a, b, c, 0, 0, OURS);
    *result = (__typeof__(*result))(done < 0 ? -errno : done);
}

/* From here on that call is trapped on this thread, but in the handler. */
static void trap(long call)
{
    struct sock_filter lines[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[5])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OURS, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof lines / sizeof lines[0], lines};
    struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO | SA_NODEFER};
    SAME(sigaction(SIGSYS, &action, NULL), 0);
    SAME(pipe(stored), 0);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
        fprintf(stderr, "test_fork_between: skipped: filters cannot be had\n");
        exit(CHECK_SKIPPED);
    }
    atomic_store(&armed, true);
}

/* What the child found, when all is stored: 1: secretmem; 2, 4: the secret. */
static int child_found(void)
{
    CHECK(!atomic_load(&armed)); /* the fork came */
    SAME(write(stored[1], "!", 1), 1);
    int status = check_wait(child);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_setting(void)
{
    struct sa_arena first = {0};
    if (under_tool())
        SKIP("a tool keeps signals back");
    NEEDS_LOCKED(1 << 20);
    no_marker();
    make(&first, 100, 1, 1); /* arms, and asks about calls */
    if (!(sa_protection_of(&first) & SA_SECRETMEM))
        SKIP("there is no secretmem here: other pages are copied on write");
}

static void made(long call)
{
    struct sa_arena a;
    test_setting();
    trap(call);
    make(&a, BYTES, 1, SEED); /* pages of its own, mapped for it alone */
    CHECK(sa_protection_of(&a) & SA_SECRETMEM);
    SAME(child_found(), 1); /* of pages that were given up: the control */
    CHECK(is_content(raw(&a), BYTES, SEED));
}

TEST(mapped_but_inherited) { made(SYS_madvise); }
TEST(descriptor_open) { made(SYS_ftruncate); }

/* ---- handing over ------------------------------------------------------------------------ */

static struct sa_arena given, taken, more[40];

static void *gives(void *with)
{
    struct sa_why unused;
    enum sa_code code = sa_hand_over(&given, ends[0], 8000, &unused);
    return code ? with : NULL;
}

static void *takes(void *with)
{
    struct sa_why unused;
    bool shared;
    enum sa_code code = sa_take_over(&taken, 3000, ends[1], 8000, &shared, &unused);
    close(ends[1]);
    return code ? with : NULL;
}

static void hand(long call, void *other(void *), bool taking)
{
    pthread_t thread;
    void *failed;
    bool shared;
    test_setting();
    for (int i = 0; i < 4;
         i++) /* so that there are parked pages, for both, one of them the last back */
        make(&more[i], 3000, 1, 1);
    for (int i = 0; i < 4; i++)
        sa_close(&more[i]);
    make(&given, 3000, 1, SEED);
    SAME(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    struct sa_status before, after;
    sa_status(&before);
    SAME(pthread_create(&thread, NULL, other, &failed), 0);
    trap(call);
    enum sa_code code = taking ? sa_take_over(&taken, 3000, ends[1], 8000, &shared, &why)
                               : sa_hand_over(&given, ends[0], 8000, &why);
    SAME(code, SA_OS_ERROR); /* a secret that a child could read is none */
    SAME(why.error, taking ? EAGAIN : ECONNABORTED);
    close(ends[taking]);
    SAME(pthread_join(thread, &failed), 0);
    CHECK(failed);
    sa_status(&after);
    if (taking) { /* of the pages that a child has, too, nobody knows when they are free */
        SAME(after.arenas, before.arenas);
        SAME(after.bytes, before.bytes);
        SAME(after.secretmem_bytes, before.secretmem_bytes - os_page_size());
        SAME(after.locked_bytes, before.locked_bytes - os_page_size());
    }
    for (int i = 0; i < 40; i++) /* on whatever pages there are */
        make(&more[i], 3000, 1, SEED);
    SAME(child_found(), 1);
}

TEST(taken_over) { hand(SYS_ftruncate, gives, true); }
TEST(handed_over) { hand(SYS_fstatfs, takes, false); }

int main(int argc, char **argv)
{
    check_begin("test_fork_between", argc, argv);
    RUN(mapped_but_inherited);
    RUN(descriptor_open);
    RUN(taken_over);
    RUN(handed_over);
    return check_end();
}
#else
int main(int argc, char **argv)
{
    check_begin("test_fork_between", argc, argv);
    return check_end();
}
#endif
