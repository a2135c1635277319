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
    bool readable = write(ends[1], at, 1) == 1;
    if (!readable)
        SAME(write(ends[1], &byte, 1), 1);
    bool writable = read(ends[0], at, 1) == 1;
    close(ends[0]);
    close(ends[1]);
    return readable == (access >= OS_READ) && writable == (access == OS_WRITE);
}

/* ---- interrupted at the very call, by a filter that traps it ---------------------------------- */

#ifdef __linux__
static bool has_filters;
static unsigned traps;
static void (*in_the_middle)(void);

/* mprotect() is not made where it asks for reading alone; a pass asks for more. */
static void trap_reading(void)
{
    struct sock_filter lines[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PROT_READ, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof lines / sizeof lines[0], lines};
    has_filters = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                  prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static void on_trap(int sig, siginfo_t *info, void *context)
{
    ucontext_t *frame = context;
    (void)sig, (void)info;
    CHECK(is_held());
    traps++;
    in_the_middle();
#ifdef __x86_64__
    frame->uc_mcontext.gregs[REG_RAX] = -ENOMEM;
#else
    frame->uc_mcontext.regs[0] = (uint64_t)-ENOMEM;
#endif
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
    trap_reading();
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

TEST(a_pass_gives_up_a_thread_that_does_not_go_on)
{
    SAME(pthread_create(&other, NULL, passes_when_told, NULL), 0);
    int64_t begun = os_now_ms();
    open_interrupted(wait_for_a_pass, SA_WIPED);
    CHECK(os_now_ms() - begun >= 1000);
    SAME(pthread_join(other, NULL), 0);
    SAME(traps, 1); /* there is nothing to be opened any more */
    CHECK(atomic_load(slot_word(arena_slot(&arena))) & WORD_GONE);
    CHECK(pages_have(OS_NONE));
    sa_close(&arena);
}

static void lock_down_beside(void)
{
    atomic_store(&told, true);
    for (int i = 0; traps == 1 && i < 1500; i++)
        os_wait(100);
    CHECK(traps > 1 || !atomic_load(&done));
}

/* A lockdown goes on afterwards, so that the pages are still wanted. */
TEST(a_lockdown_waits_for_it)
{
    no_marker();
    SAME(pthread_create(&other, NULL, locks_down_when_told, NULL), 0);
    open_interrupted(lock_down_beside, SA_NO_MEMORY);
    SAME(pthread_join(other, NULL), 0);
    CHECK(!(atomic_load(slot_word(arena_slot(&arena))) & WORD_DROPPED));
    CHECK(sa_is_wiped(&arena));
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
    for (int i = 0, n = rounds(4000); i < n || !atomic_load(&opened) || !atomic_load(&hit); i++) {
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
    RUN(a_handler_elsewhere_waits_for_that_on_its_own_thread);
    RUN(a_pass_gives_up_a_thread_that_does_not_go_on);
    RUN(a_lockdown_waits_for_it);
#endif
    RUN(handlers_anywhere);
    return check_end();
}
