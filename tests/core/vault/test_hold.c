/* A thread that is interrupted while it changes the access of a slot: handlers on it and elsewhere,
 * and it itself afterwards. */
#include "arenas.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/ucontext.h>

#ifdef __linux__
#include "linux.h"
#endif

static struct sa_why why;
static struct sa_arena arena;

static void whole_pass(void)
{
    wipers_enter();
    (void)vault_wipe_all(false);
    wipers_leave();
}

static bool is_held(void) { return atomic_load(slot_word(arena_slot(&arena))) & WORD_BUSY; }

static enum os_access noted(void)
{
    return word_access(atomic_load(slot_word(arena_slot(&arena))));
}

/* Whether the pages have just that access: the kernel reads and writes them for us. */
static bool pages_have(enum os_access access)
{
    int ends[2];
    uint8_t *at = slot_data(arena_slot(&arena)), byte = 0;
    SAME(pipe(ends), 0);
    bool readable = write(ends[1], at, 1) == 1 || write(ends[1], &byte, 1) != 1;
    bool writable = read(ends[0], at, 1) == 1;
    close(ends[0]);
    close(ends[1]);
    return readable == (access >= OS_READ) && writable == (access == OS_WRITE);
}

/* ---- interrupted at the very call, by a filter that traps it ---------------------------------- */

#ifdef __linux__
#define NEEDS_TRAPS() \
    do { \
        if (under_valgrind()) \
            SKIP("valgrind ends where a call is trapped"); \
    } while (0)

static bool has_filters;
static unsigned traps;
static void (*in_the_middle)(void);
static long call_came_to = -ENOMEM;

/* mprotect() is not made where it asks for just that; a pass asks for more. One with a further
 * argument is made. */
enum { LATE_CALL = 1 };
static void trap_access(unsigned access)
{
    struct sock_filter lines[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 0, 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, access, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[3])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, LATE_CALL, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof lines / sizeof lines[0], lines};
    has_filters = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                  prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static void comes_to(void *context, long result)
{
    ucontext_t *frame = context;
#ifdef __x86_64__
    frame->uc_mcontext.gregs[REG_RAX] = result;
#else
    frame->uc_mcontext.regs[0] = (uint64_t)result;
#endif
}

static void on_trap(int sig, siginfo_t *info, void *context)
{
    (void)sig, (void)info;
    CHECK(is_held());
    traps++;
    in_the_middle();
    comes_to(context, call_came_to);
}

/* A sealed arena, whose opening to read is interrupted by that. */
static void open_interrupted(void (*by)(void), enum sa_code comes_to)
{
    struct sigaction act = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    struct sa_block block;
    make(&arena, 32, 1, 1);
    OK(sa_seal(&arena, &why));
    in_the_middle = by;
    sigfillset(&act.sa_mask);
    SAME(sigaction(SIGSYS, &act, NULL), 0);
    trap_access(PROT_READ);
    if (!has_filters)
        SKIP("filters cannot be had");
    SAME(sa_open(&arena, false, &block, &why), comes_to);
    CHECK(!is_held());
}

static void pass_once(void)
{
    if (traps > 1)
        return;
    whole_pass();
    CHECK(is_held()); /* again */
    CHECK(pages_have(OS_WRITE));
    CHECK(slot_is_noise(arena_slot(&arena)));
}

/* Its own handler lets go of the slot, wipes it, and holds it again. The thread then finds that it
 * has to make its call anew. What is wiped cannot be read, and is sealed as before. */
TEST(a_handler_on_its_own_thread)
{
    NEEDS_TRAPS();
    open_interrupted(pass_once, SA_NO_MEMORY);
    SAME(traps, 2);
    SAME(why.error, ENOMEM);
    CHECK(sa_is_wiped(&arena));
    SAME(noted(), OS_NONE);
    CHECK(pages_have(OS_NONE));
    uint8_t fresh[32];
    put_content(fresh, sizeof fresh, 2);
    OK(sa_fill_begin(&arena, &why));
    OK(sa_store(&arena, 0, fresh, sizeof fresh));
    OK(sa_fill_end(&arena, true));
    SAME(noted(), OS_NONE);
    CHECK(pages_have(OS_NONE));
    sa_close(&arena);
}

/* The same just after the call. */
static void open_and_pass(void)
{
    struct slot s = arena_slot(&arena);
    call_came_to = syscall(SYS_mprotect, slot_data(s), s.region->data, PROT_READ, LATE_CALL);
    SAME(call_came_to, 0);
    if (traps == 1)
        whole_pass();
}

TEST(a_handler_on_its_own_thread_after_the_call)
{
    NEEDS_TRAPS();
    open_interrupted(open_and_pass, SA_WIPED);
    SAME(traps, 2);
    CHECK(!(atomic_load(slot_word(arena_slot(&arena))) & WORD_TOUCHED));
    SAME(noted(), OS_NONE);
    CHECK(pages_have(OS_NONE));
    sa_close(&arena);
}

/* A thread that waits to be told, since a handler makes none. */
static pthread_t other;
static _Atomic bool told, done;

static void *passes_when_told(void *unused)
{
    while (!atomic_load(&told))
        os_wait(100);
    whole_pass();
    atomic_store(&done, true);
    return unused;
}

static void *locks_down_when_told(void *unused)
{
    while (!atomic_load(&told))
        os_wait(100);
    (void)lockdown();
    atomic_store(&done, true);
    return unused;
}

/* Another thread's handler comes first, and waits for the slot; that of its own thread lets go. */
static void pass_beside_another(void)
{
    atomic_store(&told, true);
    for (int i = 0; traps == 1 && i < 50; i++)
        os_wait(100);
    if (traps > 1)
        return;
    CHECK(!atomic_load(&done));
    whole_pass();
}

TEST(a_handler_elsewhere_waits_for_that_on_its_own_thread)
{
    NEEDS_TRAPS();
    SAME(pthread_create(&other, NULL, passes_when_told, NULL), 0);
    open_interrupted(pass_beside_another, SA_NO_MEMORY);
    SAME(pthread_join(other, NULL), 0);
    CHECK(sa_is_wiped(&arena));
    CHECK(pages_have(OS_NONE));
    sa_close(&arena);
}

/* It is kept by a handler of somebody else's that waits for the one that makes a pass. */
static void wait_for_a_pass(void)
{
    atomic_store(&told, true);
    while (!atomic_load(&done))
        os_wait(100);
}

/* There is nothing to be opened any more. */
static void open_given_up(void (*by)(void))
{
    SAME(pthread_create(&other, NULL, passes_when_told, NULL), 0);
    open_interrupted(by, SA_WIPED);
    SAME(pthread_join(other, NULL), 0);
    SAME(traps, 1);
    CHECK(atomic_load(slot_word(arena_slot(&arena))) & WORD_GONE);
    CHECK(pages_have(OS_NONE));
    sa_close(&arena);
}

TEST(a_pass_gives_up_a_thread_that_does_not_go_on)
{
    NEEDS_TRAPS();
    int64_t begun = os_now_ms();
    open_given_up(wait_for_a_pass);
    CHECK(os_now_ms() - begun >= 1000);
}

/* The same, but that then it goes on with the call. */
static void wait_and_open(void)
{
    struct slot s = arena_slot(&arena);
    wait_for_a_pass();
    if (traps == 1)
        SAME(syscall(SYS_mprotect, slot_data(s), s.region->data, PROT_READ, LATE_CALL), 0);
}

TEST(a_call_that_comes_late_opens_nothing)
{
    NEEDS_TRAPS();
    open_given_up(wait_and_open);
}

static void pass_and_refuse(int sig, siginfo_t *info, void *context)
{
    (void)sig, (void)info;
    if (!traps++)
        whole_pass();
    comes_to(context, -ENOMEM);
}

/* What is refused after a pass leaves pages whose access is known: or nothing could be copied. */
TEST(pages_that_stay_open_can_be_copied_from)
{
    struct sigaction act = {.sa_sigaction = pass_and_refuse, .sa_flags = SA_SIGINFO};
    struct sa_pool *pool;
    uint64_t generation;
    uint8_t fresh[32];
    if (under_tool())
        SKIP("a tool changes the access of pages itself");
    NEEDS_LOCKED(1 << 16);
    put_content(fresh, sizeof fresh, 4);
    OK(sa_pool_make(&pool, &why));
    OK(sa_pool_alloc(pool, &arena, 32, &why));
    OK(sa_fill_end(&arena, true));
    sigfillset(&act.sa_mask);
    SAME(sigaction(SIGSYS, &act, NULL), 0);
    trap_access(PROT_NONE);
    if (!has_filters)
        SKIP("filters cannot be had");
    OK(sa_pool_seal(pool, &why));
    CHECK(traps > 1);
    OK(sa_pool_open(pool, true, &generation, &why));
    OK(sa_fill_begin(&arena, &why));
    OK(sa_store(&arena, 0, fresh, sizeof fresh));
    OK(sa_fill_end(&arena, true));
    OK(sa_rotate(&arena, 0, &why));
    CHECK(is_content(raw(&arena), sizeof fresh, 4));
    OK(sa_pool_open_end(pool, true, generation, &why));
    sa_close(&arena);
    sa_pool_free(pool);
}

static struct sa_arena others[8];

/* A lockdown's thread may be kept in the middle of its wipe, too. */
TEST(a_handler_does_not_wait_for_ever_to_hold_again)
{
    make(&arena, 32, 1, 1);
    struct slot s = arena_slot(&arena);
    atomic_fetch_add(slot_word(s), WORD_PIN);
    int64_t begun = os_now_ms();
    slot_hold_again(s, os_thread());
    CHECK(os_now_ms() - begun >= 1000);
    CHECK(!is_held());
    atomic_fetch_sub(slot_word(s), WORD_PIN);
    slot_hold_again(s, os_thread());
    CHECK(is_held() && slot_let_go(s, os_thread()));
    sa_close(&arena);
}

static void lock_down_beside(void)
{
    if (traps > 1)
        return;
    for (int i = 0; i < 8; i++)
        make(&others[i], 32, 1, 1); /* behind it, where the lockdown comes later */
    atomic_store(&told, true);
    for (int i = 0; i < 1500; i++)
        os_wait(100);
    CHECK(!atomic_load(&done));
    for (int i = 0; i < 8; i++)
        CHECK(sa_is_wiped(&others[i]));
}

/* The process goes on, so that its pages are still wanted. But the rest does not wait. */
TEST(a_lockdown_waits_for_it)
{
    NEEDS_TRAPS();
    no_marker();
    SAME(pthread_create(&other, NULL, locks_down_when_told, NULL), 0);
    open_interrupted(lock_down_beside, SA_NO_MEMORY);
    SAME(pthread_join(other, NULL), 0);
    CHECK(!(atomic_load(slot_word(arena_slot(&arena))) & WORD_DROPPED));
    CHECK(sa_is_wiped(&arena));
    sa_close(&arena);
}
#endif

/* ---- step by step ------------------------------------------------------------------------------ */

#if defined(__linux__) && defined(__x86_64__)
/* Below what the compiler may keep under the stack's end. */
static inline void single_step(bool on)
{
    uint64_t flags;
    __asm__ volatile("subq $128, %%rsp; pushfq; popq %0; addq $128, %%rsp" : "=r"(flags));
    flags = on ? flags | 0x100 : flags & ~UINT64_C(0x100);
    __asm__ volatile("subq $128, %%rsp; pushq %0; popfq; addq $128, %%rsp" : : "r"(flags) : "cc");
}

static unsigned steps, held;

static void on_step(int sig)
{
    (void)sig;
    steps++;
    held += is_held();
}

/* Its pages could be given up meanwhile, and others may be at work on them. */
TEST(what_changes_nothing_holds_nothing)
{
    struct sigaction act = {.sa_handler = on_step};
    struct sa_block block;
    if (under_tool())
        SKIP("a step is none there");
    make(&arena, 32, 1, 1);
    SAME(sigaction(SIGTRAP, &act, NULL), 0); /* on top of ours, which would make a pass */
    single_step(true);
    enum sa_code code = sa_open(&arena, true, &block, &why);
    single_step(false);
    OK(code);
    CHECK(steps);
    SAME(held, 0);
    OK(sa_open_end(&block, &why));
    sa_close(&arena);
}
#endif

/* ---- left to chance --------------------------------------------------------------------------- */

static _Atomic unsigned hit, passes, opened;
static _Atomic bool over;

static void on_signal(int sig)
{
    (void)sig;
    atomic_fetch_add(&hit, is_held());
    whole_pass();
    atomic_fetch_add(&passes, 1);
}

static void *opens_and_seals(void *unused)
{
    uint8_t fresh[32];
    put_content(fresh, sizeof fresh, 3);
    while (!atomic_load(&over)) {
        struct sa_block block;
        if (sa_open(&arena, false, &block, &why) == SA_OK) {
            enum sa_code code = sa_open_end(&block, &why);
            CHECK(code == SA_OK || code == SA_WIPED);
            atomic_fetch_add(&opened, 1);
        } else {
            OK(sa_fill_begin(&arena, &why));
            enum sa_code code = sa_store(&arena, 0, fresh, sizeof fresh);
            CHECK(code == SA_OK || code == SA_WIPED);
            code = sa_fill_end(&arena, true);
            CHECK(code == SA_OK || code == SA_WIPED);
        }
    }
    return unused;
}

static void *passes_and_locks_down(void *unused)
{
    while (!atomic_load(&over)) {
        whole_pass();
        (void)lockdown();
        os_wait(100); /* or nothing is opened */
    }
    return unused;
}

/* Handlers come anywhere, beside passes and lockdowns elsewhere. */
TEST(handlers_anywhere)
{
    if (UNDER_TSAN)
        SKIP("two passes write the same noise at once");
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    pthread_t opener, wiper;
    no_marker();
    sigfillset(&act.sa_mask);
    SAME(sigaction(SIGPROF, &act, NULL), 0);
    make(&arena, 32, 1, 1);
    OK(sa_seal(&arena, &why));
    SAME(pthread_create(&opener, NULL, opens_and_seals, NULL), 0);
    SAME(pthread_create(&wiper, NULL, passes_and_locks_down, NULL), 0);
    /* valgrind runs one thread at a time, and a signal hardly ever comes where it has to hit. */
    bool waits = !under_valgrind();
    for (int i = 0, n = rounds(4000);
         i < n || (waits && (!atomic_load(&opened) || !atomic_load(&hit))); i++) {
        pthread_kill(opener, SIGPROF);
        os_wait((unsigned)i % 70);
    }
    atomic_store(&over, true);
    SAME(pthread_join(opener, NULL), 0);
    SAME(pthread_join(wiper, NULL), 0);
    CHECK(!is_held());
    if (!sa_is_wiped(&arena))
        OK(sa_wipe(&arena, &why));
    SAME(noted(), OS_NONE);
    CHECK(pages_have(OS_NONE));
    sa_close(&arena);
}

int main(int argc, char **argv)
{
    check_begin("test_hold", argc, argv);
#ifdef __linux__
    RUN(a_handler_on_its_own_thread);
    RUN(a_handler_on_its_own_thread_after_the_call);
    RUN(a_handler_elsewhere_waits_for_that_on_its_own_thread);
    RUN(a_pass_gives_up_a_thread_that_does_not_go_on);
    RUN(a_call_that_comes_late_opens_nothing);
    RUN(pages_that_stay_open_can_be_copied_from);
    RUN(a_handler_does_not_wait_for_ever_to_hold_again);
    RUN(a_lockdown_waits_for_it);
#endif
#if defined(__linux__) && defined(__x86_64__)
    RUN(what_changes_nothing_holds_nothing);
#endif
    RUN(handlers_anywhere);
    return check_end();
}
