/* What the core asks of the operating system, against the contracts of os.h. */
#include "check.h"
#include "os/os.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#ifdef __linux__
#include "linux.h"
#include <ucontext.h>
#else
#include <mach/mach.h>
#endif

static size_t page(void) { return os_page_size(); }

/* Pages made and opened. */
static struct os_pages map_open(size_t bytes, bool secretmem)
{
    struct os_pages p;
    SAME(os_map_pages(bytes, secretmem, 0, &p), 0);
    CHECK(!readable(p.at)); /* they come inaccessible */
    SAME(os_protect(p.at, bytes, OS_WRITE), 0);
    return p;
}

TEST(entropy)
{
    static uint8_t many[70000], again[70000];
    OK(os_entropy(many, 0));
    OK(os_entropy(many + 1, sizeof many - 2));
    OK(os_entropy(again + 1, sizeof again - 2));
    SAME(many[0], 0);
    SAME(many[sizeof many - 1], 0);
    unsigned same = 0;
    for (size_t i = 0; i < sizeof many; i++)
        same += many[i] == again[i];
    CHECK(same < 500); /* 273 by chance */
}

TEST(reservations)
{
    int error = 0;
    uint8_t *at = os_reserve(16 * page(), &error);
    CHECK(at && !readable(at) && !readable(at + 16 * page() - 1));
    SAME(os_reserve_at(at, 16 * page()), EEXIST);
    SAME(os_release(at + 4 * page(), 4 * page()), 0);
    SAME(os_reserve_at(at + 3 * page(), 5 * page()), EEXIST); /* partly taken */
    SAME(os_reserve_at(at + 4 * page(), 4 * page()), 0);
    SAME(os_reserve_at(at + 4 * page(), 4 * page()), EEXIST);
    SAME(os_release(at, 16 * page()), 0);
    if (!UNDER_ASAN)
        CHECK(!os_reserve(SIZE_MAX / 2 / page() * page(), &error) && error);
}

static void read_at(void *at) { (void)*(volatile char *)at; }

TEST(access)
{
    struct os_pages p = map_open(2 * page(), true);
    uint8_t *at = p.at;
    CHECK(at[0] == 0 && at[2 * page() - 1] == 0);
    memset(at, 0x5a, 2 * page());
    errno = 4711;
    SAME(os_protect(at, 2 * page(), OS_NONE), 0);
    SAME(errno, 4711);
    CHECK(!readable(at));
    SAME(os_protect(at, 2 * page(), OS_READ), 0);
    CHECK(readable(at));
    SAME(os_protect(at, 2 * page(), OS_WRITE), 0);
    at[0] = 0x5a;
    SAME(at[2 * page() - 1], 0x5a);
    errno = 4711;
    CHECK(os_protect((void *)page(), page(), OS_NONE) != 0); /* nothing is there */
    SAME(errno, 4711);
    CHECK(is_fault(death_of(in_child(read_at, at)))); /* not inherited */
    SAME(os_release(at, 2 * page()), 0);
}

TEST(place_and_unplace)
{
    for (int secretmem = 0; secretmem < 2; secretmem++) {
        int error;
        bool hole = true;
        uint8_t *base = os_reserve(16 * page(), &error);
        CHECK(base);
        struct os_pages p;
        SAME(os_map_pages(4 * page(), secretmem, 0, &p), 0);
        SAME(os_place_pages((uint8_t *)p.at + page(), 2 * page(), base + 5 * page(), &hole), 0);
        CHECK(!hole && !readable(base + 5 * page()));
        SAME(os_protect(base + 5 * page(), 2 * page(), OS_WRITE), 0);
        memset(base + 5 * page(), 0x5a, 2 * page());
        CHECK(!readable(base + 5 * page() - 1) && !readable(base + 7 * page()));
        SAME(os_protect(base + 5 * page(), 2 * page(), OS_NONE), 0);
        hole = true;
        SAME(os_unplace_pages(base + 5 * page(), 2 * page(), &hole), 0);
        CHECK(!hole && !readable(base + 5 * page()));
        SAME(os_reserve_at(base + 5 * page(), 2 * page()), EEXIST); /* still taken */
        SAME(os_release(p.at, page()), 0);
        SAME(os_release((uint8_t *)p.at + 3 * page(), page()), 0);
        SAME(os_release(base, 16 * page()), 0);
    }
}

TEST(drop)
{
    for (int secretmem = 0; secretmem < 2; secretmem++) {
        struct os_pages p = map_open(page(), secretmem);
        memset(p.at, 0x5a, page());
        errno = 4711;
        SAME(os_drop_pages(p.at, page()), 0);
        SAME(errno, 4711);
        CHECK(!readable(p.at));
        if (os_protect(p.at, page(), OS_WRITE) == 0)
            for (size_t i = 0; i < page(); i++)
                SAME(((uint8_t *)p.at)[i], 0);
    }
}

#ifdef __linux__
/* Else mlock takes its place, which fetches all pages: under valgrind, and where a kernel in
 * user space has no such call. */
static bool locks_on_fault(void)
{
    enum { ON_FAULT = 1 }; /* MLOCK_ONFAULT, which headers before 4.4 lack */
    return syscall(SYS_mlock2, NULL, 0, ON_FAULT) == 0 || errno != ENOSYS;
}
#endif

TEST(touched)
{
    enum { PAGES = 40 };
    unsigned char vec[PAGES];
    os_probe();
    for (int secretmem = 0; secretmem < 2; secretmem++) {
        struct os_pages p = map_open(PAGES * page(), secretmem);
        uint8_t *at = p.at;
        at[3 * page()] = 1;
        at[39 * page() + 5] = 1;
        SAME(os_touched(at, PAGES * page(), vec), 0);
        CHECK(vec[3] & 1 && vec[39] & 1);
        unsigned count = 0;
        for (int i = 0; i < PAGES; i++)
            count += vec[i] & 1;
#ifdef __linux__
        if (p.granted & SA_SECRETMEM && os_charges_users())
            SAME(count, PAGES); /* all were fetched */
        else if (p.granted & SA_LOCK)
            SAME(count, locks_on_fault() || p.granted & SA_SECRETMEM ? 2 : PAGES);
#else
        CHECK(count >= 2); /* a lock fetches all of them */
#endif
    }
}

/* ---- what is mapped --------------------------------------------------------------------- */

static struct os_map map_of(uintptr_t at)
{
    struct os_maps walk;
    struct os_map found = {0}, none = {0};
    struct sa_why why;
    OK(os_maps_begin(&walk, &why));
    while (os_maps_next(&walk, &found) && found.end <= at) {
    }
    OK(os_maps_end(&walk));
    return found.start <= at && at < found.end ? found : none;
}

/* A file's mapping has its path; memory just below it has none. */
TEST(names_of_mappings)
{
    char path[] = "/tmp/secalloc-test-os-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    SAME(ftruncate(fd, (off_t)page()), 0);
    uint8_t *at = mmap(NULL, 3 * page(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    CHECK(at != MAP_FAILED);
    memset(at, 1, 3 * page());
    uint8_t *file = mmap(at + page(), page(), PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0);
    CHECK(file == at + page());
    struct os_map of_file = map_of((uintptr_t)file), below = map_of((uintptr_t)at);
    SAME(unlink(path), 0);
    CHECK(of_file.readable && of_file.kind == OS_MAP_FILE);
    CHECK(strstr(of_file.name, strrchr(path, '/'))); /* /tmp may be a link */
    CHECK(below.end && below.kind != OS_MAP_FILE && !strstr(below.name, strrchr(path, '/')));
    close(fd);
}

/* Memory is copied into the pages that are there, which stay locked. */
TEST(reading_keeps_the_lock)
{
    enum { PAGES = 16 };
    struct os_maps walk;
    struct sa_why why;
    struct os_pages to = map_open(PAGES * page(), false), from = map_open(PAGES * page(), false);
    uint8_t *at = to.at, *source = from.at;
    memset(source, 0x5a, PAGES * page());
    OK(os_maps_begin(&walk, &why));
    SAME(os_maps_read(&walk, (uintptr_t)source, at, PAGES * page()), PAGES * page());
    SAME(memcmp(at, source, PAGES * page()), 0);
    SAME(os_maps_read(&walk, (uintptr_t)source + 5, at + 13, 2 * page()), 2 * page());
    SAME(os_protect(source + 2 * page(), page(), OS_NONE), 0);
    SAME(os_maps_read(&walk, (uintptr_t)source + 100, at, PAGES * page() - 100), 2 * page() - 100);
    SAME(os_maps_read(&walk, (uintptr_t)source + 2 * page(), at, 1), 0);
    OK(os_maps_end(&walk));
    if (!(to.granted & SA_LOCK))
        SKIP("may lock nothing");
#ifdef __linux__
    CHECK(map_has(at, "lo") && map_has(at + (PAGES - 1) * page(), "lo"));
#else
    for (size_t i = 0; i < PAGES; i++) {
        vm_address_t place = (vm_address_t)(at + i * page());
        vm_size_t bytes = 0;
        natural_t depth = 0;
        struct vm_region_submap_info_64 info;
        mach_msg_type_number_t count = VM_REGION_SUBMAP_INFO_COUNT_64;
        SAME(vm_region_recurse_64(mach_task_self(), &place, &bytes, &depth,
                                  (vm_region_recurse_info_t)&info, &count),
             0);
        CHECK(info.user_wired_count > 0);
    }
#endif
}

static void sees_zeros(void *with)
{
    for (size_t i = 0; i < 3 * page(); i++)
        SAME(((uint8_t *)with)[i], 0);
}

TEST(tables_are_empty_in_a_child)
{
    struct sa_why why;
    uint8_t *table = os_map_table(3 * page(), &why);
    CHECK(table);
    sees_zeros(table);
    memset(table, 0x5a, 3 * page());
#ifdef __linux__
    SAME(in_child(sees_zeros, table), 0);
#endif
    SAME(table[0], 0x5a);
}

TEST(signal_stacks)
{
    CHECK(os_alt_stack_least() >= 8192);
    size_t bytes = 4 * page();
    uint8_t *stack = os_map_stack(bytes);
    CHECK(stack);
    memset(stack, 0x5a, bytes);
    CHECK(!readable(stack - 1) && !readable(stack - 65536));
    os_unmap_stack(stack, bytes);
    CHECK(!readable(stack) && !readable(stack + bytes - 1));
}

/* ---- signals --------------------------------------------------------------------------- */

static siginfo_t seen;
static volatile sig_atomic_t times;
static _Atomic bool again;

static void note(int sig, siginfo_t *info, void *context)
{
    (void)context;
    seen = *info;
    times++;
    if (atomic_exchange(&again, false))
        SAME(os_requeue(sig, info), 0);
}

static void catch_signal(int sig)
{
    struct sigaction act = {.sa_flags = SA_SIGINFO};
    act.sa_sigaction = note;
    SAME(sigaction(sig, &act, NULL), 0);
}

TEST(requeue_comes_again)
{
    catch_signal(SIGUSR1);
    atomic_store(&again, true);
    SAME(kill(getpid(), SIGUSR1), 0);
    pause_ms(1); /* a race detector delivers late */
    SAME(times, 2);
    SAME(seen.si_signo, SIGUSR1);
#ifdef __linux__
    SAME(seen.si_code, SI_USER);
    SAME(seen.si_pid, getpid());
    SAME(seen.si_uid, getuid());
#endif
}

static bool same_action(const struct sigaction *a, const struct sigaction *b)
{
    for (int n = 1; n < NSIG; n++)
        if (sigismember(&a->sa_mask, n) != sigismember(&b->sa_mask, n))
            return false;
    return a->sa_flags == b->sa_flags && a->sa_handler == b->sa_handler;
}

/* What is set by the one way is what the other tells, and a handler returns. */
TEST(actions)
{
    static const int sigs[] = {SIGUSR1, SIGABRT, SIGSEGV};
    for (size_t i = 0; i < sizeof sigs / sizeof *sigs; i++) {
        struct sigaction wanted = {.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
        struct sigaction now, told;
        wanted.sa_sigaction = note;
        os_fill_mask(&wanted.sa_mask);
        sigdelset(&wanted.sa_mask, SIGTERM);
        SAME(os_action(sigs[i], NULL, &told), 0);
        CHECK(told.sa_handler == SIG_DFL);
        SAME(os_action(sigs[i], &wanted, NULL), 0);
        SAME(sigaction(sigs[i], NULL, &now), 0);
        SAME(os_action(sigs[i], NULL, &told), 0);
        CHECK(same_action(&now, &told) && now.sa_sigaction == note);
        CHECK(sigismember(&now.sa_mask, SIGHUP) == 1 && sigismember(&now.sa_mask, SIGTERM) == 0);
        SAME(now.sa_flags & (SA_SIGINFO | SA_RESTART | SA_ONSTACK | SA_NODEFER),
             SA_SIGINFO | SA_RESTART | SA_ONSTACK);
        times = 0;
        SAME(raise(sigs[i]), 0);
        pause_ms(1);
        SAME(times, 1);
        wanted = (struct sigaction){.sa_handler = SIG_IGN};
        SAME(sigaction(sigs[i], &wanted, NULL), 0);
        SAME(os_action(sigs[i], &now, &told), 0);
        CHECK(told.sa_handler == SIG_IGN);
        SAME(os_action(sigs[i], NULL, &told), 0);
        CHECK(same_action(&now, &told));
        SAME(sigaction(sigs[i], &now, NULL), 0); /* by the C library: from where it returns */
        SAME(os_action(sigs[i], NULL, &told), 0);
        SAME(os_action(sigs[i], &told, NULL), 0);
        SAME(raise(sigs[i]), 0);
        pause_ms(1);
        SAME(times, 2);
    }
    SAME(os_action(SIGKILL, NULL, NULL), 0);
    SAME(os_action(9999, NULL, NULL), EINVAL);
}

TEST(consume_takes_one)
{
    catch_signal(SIGUSR1);
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &one, NULL);
    errno = 4711;
    os_consume(SIGUSR1); /* none is pending: at once */
    SAME(raise(SIGUSR1), 0);
    os_consume(SIGUSR1);
    SAME(errno, 4711);
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    SAME(times, 0);
}

static bool blocks(const sigset_t *mask, int sig) { return sigismember(mask, sig) == 1; }

static sigset_t mask_now(void)
{
    sigset_t mask;
    sigemptyset(&mask);
#ifdef __linux__ /* the C library does not show the signals of its own */
    SAME(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, 8), 0);
#else
    SAME(pthread_sigmask(SIG_BLOCK, NULL, &mask), 0);
#endif
    return mask;
}

TEST(masks)
{
    sigset_t one, before, inner, now;
    sigemptyset(&one);
    sigaddset(&one, SIGUSR1);
    SAME(pthread_sigmask(SIG_SETMASK, &one, NULL), 0);
    os_mask_sent(&before);
    CHECK(blocks(&before, SIGUSR1) && !blocks(&before, SIGTERM));
    now = mask_now();
    CHECK(blocks(&now, SIGTERM) && !blocks(&now, SIGSEGV) && !blocks(&now, SIGABRT));
    os_mask_all(&inner);
    now = mask_now();
#ifdef __linux__
    CHECK(blocks(&now, SIGSEGV) && blocks(&now, SIGABRT));
    uint64_t bits, ever = 1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1);
    memcpy(&bits, &now, sizeof bits);
    CHECK((bits | ever) == UINT64_MAX); /* 32 and 33 too, which glibc keeps open */
    os_unmask(&inner);
    now = mask_now();
    memcpy(&bits, &now, sizeof bits);
    CHECK(bits >> 31 & bits >> 32 & 1); /* and they stay what they were */
#else
    CHECK(!blocks(&now, SIGSEGV));
    os_unmask(&inner);
#endif
    os_unmask(&before);
    now = mask_now();
    CHECK(blocks(&now, SIGUSR1) && !blocks(&now, SIGTERM));
}

TEST(wait_keeps_errno)
{
    for (unsigned turn = 0; turn < 70; turn++) {
        errno = 4711;
        os_wait(turn);
        SAME(errno, 4711);
    }
}

/* ---- a handler's frame -------------------------------------------------------------- */

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__))
static uint8_t loaded[32][16], stored[32][16];
static size_t left_in_frame, cleared;

/* How often the frame holds eight bytes of what was in the registers. */
static size_t in_frame(void *context)
{
#if defined(__x86_64__)
    const uint8_t *at = (const uint8_t *)((ucontext_t *)context)->uc_mcontext.fpregs;
#else
    const uint8_t *at = (const uint8_t *)((ucontext_t *)context)->uc_mcontext.__reserved;
#endif
    size_t found = 0;
    for (size_t i = 0; i < 540; i++) /* the parts that every machine has */
        found += !memcmp(at + i, loaded[3], 8);
    return found;
}

static void clears(int sig, siginfo_t *info, void *context)
{
    (void)sig;
    (void)info;
    CHECK(in_frame(context) > 0);
    os_clear_registers(context);
    cleared++;
    left_in_frame = in_frame(context);
    CHECK(os_stack_pointer(context) > (uintptr_t)loaded); /* of a stack above all data */
}

#if defined(__x86_64__)
#define LOAD(n) "movdqu " #n "*16(%1), %%xmm" #n "\n"
#define STORE(n) "movdqu %%xmm" #n ", " #n "*16(%2)\n"
#else
#define LOAD(n) "ldr q" #n ", [%1, " #n "*16]\n"
#define STORE(n) "str q" #n ", [%2, " #n "*16]\n"
#endif
#define ALL(W) W(0) W(1) W(2) W(3) W(4) W(5) W(6) W(7) W(8) W(9) W(10) W(11) W(12) W(13) W(14) W(15)

/* The thread goes on behind the system call that sends itself the signal. */
TEST(registers_in_a_frame)
{
    if (under_tool())
        SKIP("tools keep registers of their own");
    struct sigaction act = {.sa_flags = SA_SIGINFO};
    act.sa_sigaction = clears;
    SAME(sigaction(SIGUSR1, &act, NULL), 0);
    os_learn_frame();
    OK(os_entropy(loaded, sizeof loaded));
    memcpy(stored, loaded, sizeof stored);
#if defined(__x86_64__)
    long number = SYS_kill;
    __asm__ __volatile__(ALL(LOAD) "syscall\n" ALL(STORE)
                         : "+a"(number)
                         : "r"(loaded), "r"(stored), "D"((long)getpid()), "S"((long)SIGUSR1)
                         : "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
                           "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",
                           "xmm14", "xmm15");
#else
    long self = getpid(); /* first: the call may change the registers below */
    register long number __asm__("x8") = SYS_kill;
    register long to __asm__("x0") = self;
    register long sig __asm__("x1") = SIGUSR1;
    __asm__ __volatile__(ALL(LOAD) "svc #0\n" ALL(STORE)
                         : "+r"(to)
                         : "r"(loaded), "r"(stored), "r"(number), "r"(sig)
                         : "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9",
                           "v10", "v11", "v12", "v13", "v14", "v15");
#endif
    SAME(cleared, 1); /* the handler ran, and once */
    SAME(left_in_frame, 0);
    for (size_t i = 0; i < 16; i++)
        for (size_t k = 0; k < 16; k++)
            SAME(stored[i][k], 0);
}
#endif

TEST(asking_without_a_fault)
{
    if (under_valgrind())
        SKIP("what the kernel refuses is an error to valgrind");
    struct os_pages p = map_open(2 * page(), false);
    uint8_t *at = p.at;
    SAME(os_protect(at + page(), page(), OS_NONE), 0);
    errno = 4711;
    CHECK(os_may_read(at) && os_may_write(at) && os_may_read(at + page() - 8));
    CHECK(!os_may_read(at + page()) && !os_may_write(at + page()));
    SAME(os_protect(at, page(), OS_READ), 0);
    CHECK(os_may_read(at) && !os_may_write(at));
    SAME(os_release(at, 2 * page()), 0);
    CHECK(!os_may_read(at) && !os_may_write(at));
    SAME(errno, 4711);
    sigset_t mask;
    SAME(pthread_sigmask(SIG_BLOCK, NULL, &mask), 0);
    CHECK(!sigismember(&mask, SIGUSR1));
}

TEST(process)
{
    SAME(os_process(), getpid());
    SAME(os_is_init(), getpid() == 1);
}

#if defined(__linux__)
/* A queued value and a fault's address survive requeueing. */
TEST(requeue_keeps_what_came_with_it)
{
    catch_signal(SIGUSR2);
    atomic_store(&again, true);
    SAME(sigqueue(getpid(), SIGUSR2, (union sigval){.sival_ptr = (void *)0x123456}), 0);
    pause_ms(1); /* a race detector delivers late */
    SAME(times, 2);
    SAME(seen.si_code, SI_QUEUE);
    CHECK(seen.si_value.sival_ptr == (void *)0x123456);

    siginfo_t fault = {.si_signo = SIGUSR2, .si_code = SEGV_ACCERR};
    fault.si_addr = (void *)0xabc000;
    SAME(os_requeue(SIGUSR2, &fault), 0);
    pause_ms(1);
    SAME(times, 3);
    SAME(seen.si_code, SEGV_ACCERR);
    CHECK(seen.si_addr == (void *)0xabc000);
}

TEST(requeue_without_room_for_signals)
{
    if (under_tool())
        SKIP("tools queue signals themselves");
    catch_signal(SIGUSR1);
    limit(RLIMIT_SIGPENDING, 0, 0);
    atomic_store(&again, true);
    SAME(raise(SIGUSR1), 0);
    SAME(times, 2);
}

#if defined(__x86_64__)
static intptr_t stepped(int sig, int code, const uint8_t *at)
{
    ucontext_t context = {0};
    siginfo_t info = {.si_signo = sig, .si_code = code};
    context.uc_mcontext.gregs[REG_RIP] = (greg_t)(intptr_t)at;
    os_step_back(sig, &info, &context);
    return (intptr_t)context.uc_mcontext.gregs[REG_RIP] - (intptr_t)at;
}

TEST(stepping_back)
{
    static const uint8_t code[] = {0x90, 0xcc, 0x90, 0xcd, 0x03, 0x90, 0x0f, 0x05, 0x90, 0x90};
    SAME(stepped(SIGTRAP, SI_KERNEL, code + 2), -1);
    SAME(stepped(SIGTRAP, SI_KERNEL, code + 5), -2);
    SAME(stepped(SIGSYS, 1, code + 8), -2);
    SAME(stepped(SIGSEGV, SEGV_MAPERR, code + 2), 0); /* these come again by themselves */
    SAME(stepped(SIGILL, ILL_ILLOPN, code + 2), 0);
    SAME(stepped(SIGFPE, FPE_INTDIV, code + 2), 0);
    CHECK(stepped(SIGTRAP, TRAP_TRACE, code + 9) != 0); /* to where it traps again */
}
#endif

/* ---- limits and protections ------------------------------------------------------------- */

TEST(protections_are_real)
{
    for (int secretmem = 0; secretmem < 2; secretmem++) {
        struct os_pages p = map_open(2 * page(), secretmem);
        CHECK(p.granted & SA_NODUMP && map_has(p.at, "dd"));
        CHECK(map_has(p.at, "dc"));
        bool by_nature = p.granted & SA_SECRETMEM && os_charges_users();
        SAME(!!(p.granted & SA_LOCK) && !by_nature, map_has(p.at, "lo"));
        CHECK(!(p.granted & p.refused));
        if (!secretmem)
            CHECK(!(p.granted & SA_SECRETMEM));
        else
            SAME(!!(p.granted & SA_SECRETMEM), !(p.refused & SA_SECRETMEM));
    }
}

/* A huge one would make 512 touched pages of one, and a copy of each to make it of. */
TEST(no_huge_pages)
{
    if (under_tool())
        SKIP("tools need memory of their own");
    if (access("/sys/kernel/mm/transparent_hugepage", F_OK))
        SKIP("this kernel makes no huge pages");
    enum { PAGES = 4096 };
    static unsigned char held[PAGES];
    os_probe(); /* for os_touched */
    struct os_pages p = map_open(PAGES * page(), false);
    CHECK(map_has(p.at, "nh"));
    ((volatile uint8_t *)p.at)[PAGES / 2 * page()] = 1;
    SAME(os_touched(p.at, PAGES * page(), held), 0);
    for (size_t i = 0; i < PAGES; i++)
        SAME(held[i] & 1, i == PAGES / 2);
}

/* Nor one with another process, where all memory is to be. */
TEST(no_merged_pages)
{
    enum { SET_MEMORY_MERGE = 67 }; /* PR_SET_MEMORY_MERGE, 6.4 */
    if (prctl(SET_MEMORY_MERGE, 1, 0, 0, 0))
        SKIP("this kernel merges no memory unasked");
    void *other = mmap(NULL, page(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(other != MAP_FAILED && map_has(other, " mg")); /* the control */
    for (int secretmem = 0; secretmem < 2; secretmem++) {
        struct os_pages p = map_open(4 * page(), secretmem);
        CHECK(!map_has(p.at, " mg"));
    }
}

TEST(at_the_lock_limit)
{
    if (under_tool())
        SKIP("tools need memory of their own");
    unsigned before;
    struct os_pages p;
    nobody_with_lock_limit(8 * page());
    SAME(os_lock_limit(), 8 * page());
    for (int secretmem = 0; secretmem < 2; secretmem++) {
        before = count_maps();
        SAME(os_map_pages(9 * page(), secretmem, SA_LOCK, &p), ENOMEM);
        SAME(count_maps(), before); /* nothing is left */
        CHECK(p.why.limit && !strcmp(p.why.limit, "RLIMIT_MEMLOCK"));
        SAME(p.why.allowed, 8 * page());
        CHECK(p.why.call && p.why.error && p.why.hint);
        SAME(os_map_pages(9 * page(), secretmem, 0, &p), 0);
        CHECK(!(p.granted & (SA_LOCK | SA_SECRETMEM)) && p.refused & SA_LOCK);
        CHECK(p.granted & SA_NODUMP && map_has(p.at, "dc"));
        SAME(os_release(p.at, 9 * page()), 0);
    }
    SAME(status_number("VmLck:"), 0);
}

TEST(no_descriptor_stays)
{
    struct os_pages p;
    unsigned before = count_descriptors();
    for (int i = 0; i < 10; i++)
        (void)!os_map_pages(page(), true, i % 2 ? SA_LOCK : 0, &p); /* well or not */
    SAME(count_descriptors(), before);
}

TEST(secretmem_refused)
{
    if (under_valgrind())
        SKIP("valgrind knows no secretmem");
    struct os_pages p;
    deny(447, ENOSYS); /* memfd_secret, on every architecture */
    SAME(os_map_pages(page(), true, SA_LOCK, &p), 0);
    CHECK(p.never_secretmem && p.refused & SA_SECRETMEM && !(p.granted & SA_SECRETMEM));
    CHECK(!strcmp(p.why.call, "memfd_secret"));
    SAME(p.why.error, ENOSYS);
    CHECK(p.why.hint);
}

/* Sizing secretmem counts as a file's growth. */
TEST(file_size_limit)
{
    if (under_valgrind())
        SKIP("valgrind knows no secretmem");
    struct os_pages p;
    limit(RLIMIT_FSIZE, 0, 0); /* with the default action of SIGXFSZ, death */
    SAME(os_map_pages(page(), true, SA_LOCK, &p), 0);
    CHECK(p.granted & SA_LOCK || p.refused & SA_LOCK);
    sigset_t pending;
    sigpending(&pending);
    CHECK(!sigismember(&pending, SIGXFSZ));
}

TEST(lock_limit_is_raised)
{
    if (under_valgrind())
        SKIP("valgrind has limits of its own");
    struct rlimit now;
    limit(RLIMIT_MEMLOCK, 4 * page(), 64 * page());
    os_raise_lock_limit();
    SAME(getrlimit(RLIMIT_MEMLOCK, &now), 0);
    SAME(now.rlim_cur, 64 * page());
    SAME(now.rlim_max, 64 * page());
}

TEST(address_space)
{
    if (under_tool())
        SKIP("tools take all of it");
    CHECK(os_address_space_left() == SIZE_MAX);
    limit(RLIMIT_AS, (size_t)1 << 32, (size_t)1 << 32);
    size_t left = os_address_space_left();
    CHECK(left < (size_t)1 << 32 && left > (size_t)1 << 31);
    int error;
    CHECK(!os_reserve((size_t)1 << 32, &error));
    SAME(error, ENOMEM);
    CHECK(os_map_limit() >= 1024);
}
#endif

/* ---- what is behind a descriptor ------------------------------------------------------ */

typedef int look_call(int fd, struct stat *file);

static void looks_as_fstat_does(look_call *call, int fd)
{
    struct stat ours, theirs;
    errno = 4711;
    OK(call(fd, &ours));
    SAME(errno, 4711);
    SAME(fstat(fd, &theirs), 0);
    CHECK(ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino);
    CHECK(ours.st_mode == theirs.st_mode && ours.st_rdev == theirs.st_rdev);
    CHECK(ours.st_nlink == theirs.st_nlink && ours.st_uid == theirs.st_uid);
    CHECK(ours.st_size == theirs.st_size && ours.st_blksize == theirs.st_blksize);
}

static void look_at_several(look_call *call)
{
    int ends[2], pair[2];
    SAME(pipe(ends), 0);
    SAME(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    FILE *file = tmpfile();
    CHECK(file && fputs("content", file) >= 0 && fflush(file) == 0);
    int fds[] = {ends[0], pair[0], fileno(file), open("/dev/null", O_RDONLY)};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        looks_as_fstat_does(call, fds[i]);
    fclose(file);
    close(fds[3]);
    for (int i = 0; i < 2; i++) {
        close(ends[i]);
        close(pair[i]);
    }
}

TEST(look)
{
    look_call *calls[] = {os_look_at, os_look_at_pipe};
    struct stat nothing;
    int closed = open("/dev/null", O_RDONLY);
    close(closed);
    for (int i = 0; i < 2; i++) {
        look_at_several(calls[i]);
        errno = 4711;
        SAME(calls[i](closed, &nothing), EBADF);
        SAME(calls[i](-1, &nothing), EBADF);
        SAME(errno, 4711);
    }
}

#if defined __linux__ && defined __GLIBC__
/* Where a sandbox knows only the call that the C library makes, since 2.33. */
TEST(look_by_another_call)
{
    if (under_tool())
        SKIP("tools are in the sandbox too");
    struct stat file;
    deny(SYS_fstat, EBADF);
    if (fstat(0, &file))
        SKIP("this C library makes the same call");
    look_at_several(os_look_at_pipe);
}
#endif

/* ---- one byte ------------------------------------------------------------------------------ */

typedef int write_call(int fd, const struct stat *what, char byte);

static int write_by(write_call *call, int fd)
{
    struct stat what;
    SAME(fstat(fd, &what), 0);
    return call(fd, &what, 'F');
}

/* Whether there is a call that raises no signal either: for sockets, and for pipes on
 * Linux since 6.18. */
static bool quiet(int fd)
{
    int error = write_by(os_write_quietly, fd);
    CHECK(error == 0 || error == EOPNOTSUPP);
    return error == 0;
}

static void to_a_pipe(write_call *call, void (*pipes)(int))
{
    int ends[2];
    char got;
    SAME(pipe(ends), 0);
    errno = 4711;
    SAME(write_by(call, ends[1]), 0);
    SAME(errno, 4711);
    SAME(read(ends[0], &got, 1), 1);
    SAME(got, 'F');
    close(ends[0]);
    signal(SIGPIPE, pipes);
    SAME(write_by(call, ends[1]), EPIPE);
    struct stat what;
    SAME(fstat(ends[1], &what), 0);
    close(ends[1]);
    CHECK(call(ends[1], &what, 'F') != 0); /* closed */
    SAME(errno, 4711);
}

TEST(byte_to_a_pipe) { to_a_pipe(os_write_byte, SIG_IGN); }

TEST(byte_to_a_pipe_quietly)
{
    os_probe(); /* for the call that raises none */
    int ends[2];
    SAME(pipe(ends), 0);
    if (!quiet(ends[1]))
        SKIP("no call that raises no signal");
    to_a_pipe(os_write_quietly, SIG_DFL); /* which would end us */
}

TEST(byte_from_a_pipe)
{
    int ends[2];
    char got = 0;
    bool end = true;
    SAME(pipe(ends), 0);
    SAME(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    SAME(os_read_byte(ends[0], &got, &end), EAGAIN);
    CHECK(!end);
    SAME(write(ends[1], "FL", 2), 2);
    OK(os_read_byte(ends[0], &got, &end));
    SAME(got, 'F');
    OK(os_read_byte(ends[0], &got, &end));
    SAME(got, 'L');
    CHECK(!end);
    close(ends[1]);
    OK(os_read_byte(ends[0], &got, &end));
    CHECK(end);
    close(ends[0]);
    SAME(os_read_byte(ends[0], &got, &end), EBADF);
    SAME(os_listen(ends[0], 0, &ends[1]), EBADF);
    SAME(ends[1], -1);
}

static void until_full(write_call *call, int fd)
{
    while (write_by(call, fd) == 0) {
    }
    int error = write_by(call, fd);
    CHECK(error == EAGAIN || error == ENOBUFS || error == EOPNOTSUPP);
    SAME(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
}

TEST(byte_to_what_is_full)
{
    write_call *calls[] = {os_write_byte, os_write_quietly};
    for (int i = 0; i < 2; i++) {
        int ends[2], pair[2];
        SAME(pipe(ends), 0);
        SAME(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
#ifdef __linux__
        (void)fcntl(ends[1], F_SETPIPE_SZ, 1); /* a page, not 16: of 64 KiB that is much */
#endif
        if (!i || quiet(ends[1]))
            until_full(calls[i], ends[1]);
        if (!i || quiet(pair[1]))
            until_full(calls[i], pair[1]);
    }
}

/* A blocking socket: what it does not take at once is for later, and nothing is lost. */
TEST(sending_to_what_blocks)
{
    int pair[2];
    size_t sent, got, total = 0, read_back = 0;
    static uint8_t bytes[100000], back[sizeof bytes];
    OK(os_entropy(bytes, sizeof bytes));
    SAME(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    int error = 0;
    while (!error) {
        size_t at = total % sizeof bytes;
        error = os_socket_send(pair[0], bytes + at, sizeof bytes - at, -1, &sent);
        CHECK(error ? sent == 0 : sent > 0);
        total += sent;
    }
    SAME(error, EAGAIN);
    CHECK(total > 0);
    SAME(fcntl(pair[0], F_GETFL) & O_NONBLOCK, 0);
    while (os_socket_receive(pair[1], back, sizeof back, NULL, NULL, &got) == 0)
        for (size_t i = 0; i < got; i++, read_back++)
            SAME(back[i], bytes[read_back % sizeof bytes]);
    SAME(read_back, total);
    close(pair[1]);
    SAME(os_socket_send(pair[0], bytes, 1, -1, &sent), EPIPE); /* SIGPIPE would end us */
    close(pair[0]);
    SAME(os_socket_send(pair[0], bytes, 1, -1, &sent), EBADF);
}

int main(int argc, char **argv)
{
    check_begin("test_os", argc, argv);
    RUN(entropy);
    RUN(look);
#if defined __linux__ && defined __GLIBC__
    RUN(look_by_another_call);
#endif
    RUN(reservations);
    RUN(access);
    RUN(place_and_unplace);
    RUN(drop);
    RUN(touched);
    RUN(names_of_mappings);
    RUN(reading_keeps_the_lock);
    RUN(tables_are_empty_in_a_child);
    RUN(signal_stacks);
    RUN(requeue_comes_again);
    RUN(actions);
    RUN(consume_takes_one);
    RUN(masks);
    RUN(wait_keeps_errno);
#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__))
    RUN(registers_in_a_frame);
#endif
    RUN(asking_without_a_fault);
    RUN(process);
#ifdef __linux__
    RUN(requeue_keeps_what_came_with_it);
    RUN(requeue_without_room_for_signals);
#ifdef __x86_64__
    RUN(stepping_back);
#endif
    RUN(protections_are_real);
    RUN(no_huge_pages);
    RUN(no_merged_pages);
    RUN(at_the_lock_limit);
    RUN(no_descriptor_stays);
    RUN(secretmem_refused);
    RUN(file_size_limit);
    RUN(lock_limit_is_raised);
    RUN(address_space);
#endif
    RUN(byte_to_a_pipe);
    RUN(byte_to_a_pipe_quietly);
    RUN(byte_from_a_pipe);
    RUN(byte_to_what_is_full);
    RUN(sending_to_what_blocks);
    return check_end();
}
