/* Filters that end the process for a system call: which calls the library cannot do without,
 * and that it lives without each of the others. */
#include "check.h"

#ifdef __linux__
#include "arenas.h"
#include "linux.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>

/* What everything below takes, the C library's part in it too. docs/platforms.md has the same
 * lists. */
static const struct {
    const char *name;
    long number;
} essential[] = {
#define CALL(name) \
    { \
        #name, SYS_##name \
    }
    CALL(close),          CALL(exit_group),   CALL(fcntl),
    CALL(fstat),          CALL(ftruncate),    CALL(futex),
    CALL(getpid),         CALL(getrandom),    CALL(gettid),
    CALL(lseek),          CALL(madvise),      CALL(mmap),
    CALL(mprotect),       CALL(mremap),       CALL(munlock),
    CALL(munmap),         CALL(newfstatat),   CALL(openat),
    CALL(pread64),        CALL(prlimit64),    CALL(read),
    CALL(recvmsg),        CALL(rt_sigaction), CALL(rt_sigpending),
    CALL(rt_sigprocmask), CALL(rt_sigreturn), CALL(rt_tgsigqueueinfo),
    CALL(sched_yield),    CALL(sendmsg),      CALL(sigaltstack),
    CALL(write),
#ifdef SYS_poll
    CALL(poll),
#else
    CALL(ppoll),
#endif
};
/* What it does without, and of that what it asks a child about, which takes two more. */
static const struct {
    const char *name;
    long number;
} optional[] = {
    {"memfd_secret", 447}, CALL(mlock2),  CALL(pwritev2),         CALL(mincore), CALL(capget),
    CALL(prctl),           CALL(sysinfo), CALL(process_vm_readv), CALL(ioctl),
};
static const long asking[] = {SYS_clone, SYS_wait4};
#undef CALL
enum {
    ESSENTIAL = sizeof essential / sizeof essential[0],
    OPTIONAL = sizeof optional / sizeof optional[0],
    NUMBERS = 480,
    AT_ONCE = 40,
};

static void reads_the_clock(void *unused)
{
    struct timespec now;
    (void)unused;
    if (filter(SYS_clock_gettime, SECCOMP_RET_KILL_PROCESS))
        SAME(clock_gettime(CLOCK_MONOTONIC, &now), 0);
}

/* Where the clock is not one that a process can read by itself, as the HPET. */
static bool the_clock_is_a_call(void)
{
    static int is = -1;
    if (is < 0)
        is = in_child(reads_the_clock, NULL) != 0;
    return is;
}

static bool is_essential(long number)
{
    if (number == SYS_clock_gettime && the_clock_is_a_call())
        return true;
    for (size_t i = 0; i < ESSENTIAL; i++)
        if (essential[i].number == number)
            return true;
    return number == asking[0] || number == asking[1];
}

/* Shared with the child, to whom every call may be fatal. */
static struct {
    int stage;
    bool secretmem, locked;
} *told;
static int marker[2], ends[2];
static struct sa_why why;
static struct sa_arena small, large, pooled, other, work;
static _Atomic bool give;
static pthread_t giver;

static void *gives(void *with)
{
    struct sa_why mine;
    while (!atomic_load(&give))
        continue;
    return sa_hand_over(&small, ends[0], 5000, &mine) ? NULL : with;
}

static bool never(void *context, size_t done, size_t total) { return !context && done < total; }
static const struct sa_progress progress = {.tell = never, .wants_total = true};

static void everything(void)
{
    struct sa_pool *pool;
    struct sa_copy copies[4];
    struct sa_hardening hardening;
    size_t bytes, count, much = (size_t)2 << 20; /* so much is looked at in place */
    void *gave;
    bool shared;
    make(&small, 100, 1, 1);
    make(&large, 40 * sa_page_size(), 1, 2); /* of these only pages that were touched are wiped */
    told->secretmem = sa_protection_of(&small) & SA_SECRETMEM;
    told->locked = sa_protection_of(&small) & SA_LOCK;
    told->stage = 1;
    OK(sa_rotate(&small, 0, &why));
    OK(sa_rotate(&large, 0, &why));
    CHECK(is_content(raw(&small), 100, 1));
    told->stage = 2;
    OK(sa_seal(&small, &why));
    struct sa_block block;
    OK(sa_open(&small, true, &block, &why));
    OK(sa_open_end(&block, &why));
    OK(sa_open(&small, false, &block, &why));
    told->stage = 3;
    OK(sa_pool_make(&pool, &why));
    OK(sa_pool_alloc(pool, &pooled, 32, &why));
    OK(sa_fill_end(&pooled, true));
    sa_close(&pooled);
    told->stage = 4;
    OK(sa_find_room(&small, false, &bytes));
    make(&work, bytes, 64, 0);
    memset(raw(&work), 0, bytes);
    void *heap = mmap(NULL, much, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(heap != MAP_FAILED);
    memset(heap, 1, much);
    OK(sa_find(&small, &work, false, copies, 4, &count, &progress, &why));
    sa_close(&work);
    told->stage = 5;
    atomic_store(&give, true);
    OK(sa_take_over(&other, 100, ends[1], 5000, &shared, &why));
    CHECK(is_content(raw(&other), 100, 1));
    SAME(pthread_join(giver, &gave), 0);
    CHECK(gave);
    told->stage = 6;
    (void)status();
    sa_harden(&hardening);
    told->stage = 7;
    sa_close(&large);
    make(&large, 40 * sa_page_size(), 1, 2);
    lockdown();
    told->stage = 8;
    char *volatile nowhere = (char *)8;
    *nowhere = 1;
}

/* Whether all of it is gone through, down to the marker of the crash, with a filter on. */
static bool lives(bool set_filter(const void *), const void *with, bool opt_out)
{
    memset(told, 0, sizeof *told);
    SAME(pipe(marker), 0);
    SAME(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        int before;
        alarm(30);
        limit(RLIMIT_CORE, 0, 0);
        CHECK(freopen("/dev/null", "w", stderr));
        OK(sa_set_lockdown_fd(marker[1], &before, &why));
        SAME(pthread_create(&giver, NULL, gives, told), 0);
        if (set_filter && !set_filter(with))
            _exit(CHECK_SKIPPED);
        if (opt_out)
            sa_use_secretmem(false);
        everything();
        _exit(1);
    }
    int ended = check_wait(child);
    char said[4] = "";
    close(marker[1]);
    ssize_t n = read(marker[0], said, sizeof said);
    close(marker[0]);
    close(ends[0]);
    close(ends[1]);
    if (WIFEXITED(ended) && WEXITSTATUS(ended) == CHECK_SKIPPED) {
        fprintf(stderr, "test_sandbox: skipped: filters cannot be had\n");
        exit(CHECK_SKIPPED);
    }
    return death_of(ended) == SIGSEGV && told->stage == 8 && n == 2 && !memcmp(said, "LF", 2);
}

static void share(void)
{
    told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(told != MAP_FAILED);
}

struct one {
    long number;
    uint32_t answer;
};

static bool set_one(const void *with)
{
    const struct one *one = with;
    return filter(one->number, one->answer);
}

static bool lives_without(long number, uint32_t answer)
{
    return lives(set_one, &(struct one){number, answer}, false);
}

struct some {
    long numbers[AT_ONCE];
    unsigned count;
};

static bool set_some(const void *with)
{
    const struct some *some = with;
    return filter_all(some->numbers, some->count);
}

TEST(optional_calls)
{
    static const uint32_t answers[] = {SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD,
                                       SECCOMP_RET_TRAP, SECCOMP_RET_ERRNO | EPERM};
    enum { REFUSED = 3 };
    if (under_tool())
        SKIP("a tool makes calls of its own");
    alarm(300);
    share();
    CHECK(lives(NULL, NULL, false)); /* or nothing below says anything */
    bool secretmem = told->secretmem, locked = told->locked;
    CHECK(!lives_without(SYS_mmap, SECCOMP_RET_KILL_PROCESS));
    for (size_t i = 0; i < OPTIONAL; i++)
        for (size_t k = 0; k < sizeof answers / sizeof answers[0]; k++) {
            bool lived = lives_without(optional[i].number, answers[k]);
            if (!lived)
                fprintf(stderr, "%s, answer %#x: stage %d\n", optional[i].name,
                        (unsigned)answers[k], told->stage);
            CHECK(lived);
            /* The child that asks makes prctl first: so that it leaves no core file. */
            bool asked = optional[i].number != 447 &&
                         (optional[i].number != SYS_prctl || k == REFUSED);
            SAME(told->secretmem, secretmem && asked);
            if (secretmem && asked)
                SAME(told->locked, locked);
        }
}

/* A process that may not even make a child has a way out. */
TEST(no_child_to_ask)
{
    if (under_tool())
        SKIP("a tool makes calls of its own");
    alarm(300);
    share();
    CHECK(lives(NULL, NULL, true));
    CHECK(!told->secretmem);
    bool locked = told->locked;
    for (size_t i = 0; i < sizeof asking / sizeof asking[0]; i++) {
        struct one one = {asking[i], SECCOMP_RET_KILL_PROCESS};
        CHECK(!lives(set_one, &one, false));
        CHECK(lives(set_one, &one, true));
        SAME(told->locked, locked);
        CHECK(lives_without(asking[i], SECCOMP_RET_ERRNO | EPERM)); /* then all counts as refused */
        CHECK(!told->secretmem);
    }
    struct one mincore = {SYS_mincore, SECCOMP_RET_KILL_PROCESS};
    CHECK(lives(set_one, &mincore, true)); /* as SystemCallFilter=@system-service has it */
}

static bool set_no_vfork(const void *unused)
{
    struct sock_filter lines[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_VFORK, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof lines / sizeof lines[0], lines};
    (void)unused;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* The child that asks makes such a one first. */
TEST(no_child_that_shares)
{
    if (under_tool())
        SKIP("a tool makes calls of its own");
    share();
    CHECK(lives(set_no_vfork, NULL, false));
}

/* The child that asks would be the first of another PID namespace, and that end with it. */
TEST(another_namespace)
{
    if (under_tool() || unshare(CLONE_NEWPID))
        SKIP("no namespace to be had, or a tool that makes processes");
    if (!filter(SYS_sysinfo, SECCOMP_RET_ERRNO | EPERM))
        SKIP("no filters to be had");
    no_marker();
    make(&small, 100, 1, 1);
    namespace_lives();
}

TEST(all_others)
{
#ifndef __GLIBC__
    SKIP("this C library makes other calls of its own");
#endif
    if (under_tool())
        SKIP("a tool makes calls of its own");
    alarm(300);
    share();
    CHECK(lives(NULL, NULL, false));
    unsigned bad = 0;
    struct some some = {.count = 0};
    for (long number = 0; number < NUMBERS; number++) {
        if (!is_essential(number))
            some.numbers[some.count++] = number;
        if (some.count < AT_ONCE && number < NUMBERS - 1)
            continue;
        if (!lives(set_some, &some, false))
            for (unsigned i = 0; i < some.count; i++)
                if (!lives_without(some.numbers[i], SECCOMP_RET_KILL_PROCESS)) {
                    fprintf(stderr, "ended for call %ld in stage %d\n", some.numbers[i],
                            told->stage);
                    bad++;
                }
        some.count = 0;
    }
    SAME(bad, 0);
}

int main(int argc, char **argv)
{
    check_begin("test_sandbox", argc, argv);
    RUN(optional_calls);
    RUN(no_child_to_ask);
    RUN(no_child_that_shares);
    RUN(another_namespace);
    RUN(all_others);
    return check_end();
}
#else
int main(int argc, char **argv)
{
    check_begin("test_sandbox", argc, argv);
    return check_end();
}
#endif
