/* Whose the vault is, and what a child process has of it. */
#include "arenas.h"
#include "os/os.h"
#include "vault/state.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#ifdef __linux__
#include "linux.h"
#endif

static struct sa_why why;
static struct sa_arena arenas[5];
static uintptr_t addresses[5];
static uint8_t parents_noise[NOISE_BYTES];

enum { MADE = 5 };
static const size_t sizes[MADE] = {0, 100, 5000, 60000, 300000};

static void make_all(void)
{
    no_marker();
    for (unsigned i = 0; i < MADE; i++) {
        make(&arenas[i], sizes[i], 1, i);
        addresses[i] = sa_address_of(&arenas[i]);
    }
    noise_wipe(parents_noise, sizeof parents_noise);
}

static void parent_is_whole(void)
{
    CHECK(vault_is_ours());
    for (unsigned i = 0; i < MADE; i++)
        CHECK(is_content(raw(&arenas[i]), sizes[i], i));
    SAME(status().arenas, MADE);
}

/* ---- before and after the start -------------------------------------------------------- */

TEST(nothing_before_first_use)
{
    struct slot found;
    size_t wiped = 7;
    CHECK(!vault_started() && !vault_is_ours());
    CHECK(!vault_find(&why, 1, &found) && !sa_is_secure(&why, 1));
    OK(sa_rekey(&why)); /* does nothing */
    CHECK(!noise_ready());
    CHECK(!status().started);
    SAME(status().arenas, 0);
    struct sa_arena never = {0};
    uint8_t *bytes;
    SAME(sa_state_of(&never), SA_IS_CLOSED);
    SAME(sa_export(&never, false, &bytes), SA_CLOSED);
    SAME(sa_address_of(&never), 0);
    sa_close(&never);
    no_marker();
    OK(sa_lockdown(&wiped, &why));
    SAME(wiped, 0);
    CHECK(vault_started() && vault_is_ours() && status().started);
}

TEST(one_epoch_for_life)
{
    OK(vault_enter(&why));
    uint32_t epoch = vault_epoch();
    for (int i = 0; i < 3; i++)
        OK(vault_enter(&why));
    SAME(vault_epoch(), epoch);
}

/* ---- any kind of child ------------------------------------------------------------------ */

static void is_forked(struct sa_arena *a)
{
    uint8_t *bytes;
    const uint8_t *look;
    SAME(sa_state_of(a), SA_IS_FORKED);
    SAME(sa_export(a, false, &bytes), SA_FORKED);
    SAME(sa_borrow(a, &look), SA_FORKED);
    SAME(sa_store(a, 0, "x", a->size > 0), SA_FORKED);
    SAME(sa_store_random(a, &why), SA_FORKED);
    SAME(sa_fill_begin(a, &why), SA_FORKED);
    SAME(sa_wipe(a, &why), SA_FORKED);
    SAME(sa_rotate(a, 0, &why), SA_FORKED);
    SAME(sa_check(a), SA_FORKED);
    SAME(sa_address_of(a), 0);
    SAME(sa_protection_of(a), 0);
    sa_close(a);
    SAME(sa_state_of(a), SA_IS_CLOSED);
    sa_close(a);
    SAME(sa_export(a, false, &bytes), SA_CLOSED);
}

/* The child has none of the parent's arenas, and can have its own. */
static void be_a_child(void)
{
    CHECK(!vault_started() && !vault_is_ours());
    for (unsigned i = 0; i < MADE; i++)
        CHECK(!sa_is_secure((void *)addresses[i], 1));
    for (unsigned i = 0; i < MADE; i++)
        is_forked(&arenas[i]);
    for (unsigned i = 0; i < MADE; i++) { /* inaccessible, and taken */
        void *at = (void *)(addresses[i] & ~(os_page_size() - 1));
        CHECK(!readable(at));
        SAME(os_reserve_at(at, os_page_size()), EEXIST);
    }
    SAME(status().arenas, 0);
    SAME(status().locked_bytes, 0);
    struct sa_arena own[3] = {{0}};
    for (unsigned i = 0; i < 3; i++)
        make(&own[i], sizes[i + 1], 1, i);
    CHECK(vault_is_ours());
    uint8_t noise[NOISE_BYTES];
    noise_wipe(noise, sizeof noise);
    CHECK(memcmp(noise, parents_noise, sizeof noise));
    for (unsigned i = 0; i < 3; i++) {
        CHECK(is_content(raw(&own[i]), sizes[i + 1], i));
        for (unsigned k = 0; k < MADE; k++)
            CHECK(sa_address_of(&own[i]) != addresses[k]);
    }
    SAME(lockdown(), 3);
    OK(sa_fill_begin(&own[1], &why));
    OK(sa_fill_end(&own[1], true));
    OK(sa_rotate(&own[1], 0, &why));
    for (unsigned i = 0; i < 3; i++)
        sa_close(&own[i]);
    SAME(status().arenas, 0);
}

static void child(void *unused)
{
    (void)unused;
    be_a_child();
}

TEST(fork)
{
    make_all();
    uint32_t epoch = vault_epoch();
    SAME(in_child(child, NULL), 0);
    SAME(vault_epoch(), epoch);
    parent_is_whole();
}

static void child_with_child(void *unused)
{
    (void)unused;
    be_a_child();
    make_all();
    SAME(in_child(child, NULL), 0);
    parent_is_whole();
}

TEST(fork_of_a_fork)
{
    make_all();
    SAME(in_child(child_with_child, NULL), 0);
    parent_is_whole();
}

/* The child of a child that never touched the library. */
static void idle_with_child(void *unused)
{
    (void)unused;
    SAME(in_child(child, NULL), 0);
}

TEST(fork_of_an_idle_fork)
{
    make_all();
    SAME(in_child(idle_with_child, NULL), 0);
    parent_is_whole();
}

/* Sealed, wiped, filling, exported, closed: all the same to a child. */
static void child_of_states(void *unused)
{
    (void)unused;
    for (int i = 0; i < MADE - 1; i++)
        is_forked(&arenas[i]);
    SAME(sa_state_of(&arenas[4]), SA_IS_CLOSED);
}

TEST(states_of_the_parent)
{
    uint8_t *bytes;
    make_all();
    OK(sa_wipe(&arenas[0], &why));
    OK(sa_export(&arenas[1], false, &bytes));
    OK(sa_fill_begin(&arenas[2], &why));
    SAME(slot_set_access(arena_slot(&arenas[3]), OS_NONE), 0);
    sa_close(&arenas[4]);
    SAME(in_child(child_of_states, NULL), 0);
    sa_unexport(&arenas[1]);
    CHECK(is_content(raw(&arenas[1]), sizes[1], 1));
}

/* An export that ends in the child gives nothing back there. */
static void child_unexports(void *unused)
{
    (void)unused;
    struct sa_arena own = {0};
    make(&own, 10, 1, 1);
    sa_unexport(&arenas[1]);
    sa_close(&arenas[1]);
    sa_unexport(&arenas[2]);
    sa_close(&arenas[2]);
    CHECK(is_content(raw(&own), 10, 1));
    SAME(status().arenas, 1);
}

TEST(exports_end_in_the_child)
{
    uint8_t *bytes;
    make_all();
    OK(sa_export(&arenas[1], false, &bytes));
    OK(sa_export(&arenas[2], false, &bytes));
    sa_close(&arenas[2]);
    SAME(in_child(child_unexports, NULL), 0);
}

/* Nothing of ours is touched when a child exits the usual way. */
static void child_exits(void *unused)
{
    (void)unused;
    exit(0);
}

TEST(exit_in_the_child)
{
    make_all();
    SAME(in_child(child_exits, NULL), 0);
    parent_is_whole();
}

/* A signal in a child that has not used the library must not touch a slot. */
static void child_faults(void *with)
{
    if (with)
        *(volatile char *)addresses[1] = 1;
    kill(getpid(), SIGABRT); /* raise() of musl would hit the parent of a raw clone */
}

TEST(signals_in_the_child)
{
    if (under_valgrind())
        SKIP("valgrind does not deliver what is queued again");
    make_all();
    SAME(death_of(in_child(child_faults, NULL)), SIGABRT);
    CHECK(is_fault(death_of(in_child(child_faults, arenas))));
    parent_is_whole();
}

/* ---- threads -------------------------------------------------------------------------------- */

static _Atomic bool over;

static void *makes_and_closes(void *with)
{
    struct sa_arena mine = {0};
    struct sa_why unused;
    for (unsigned i = 0; goes_on(&over); i++) {
        make(&mine, sizes[1 + i % 4], 1, i);
        CHECK(sa_rotate(&mine, 0, &unused) == SA_OK);
        sa_close(&mine);
        if (i % 8 == 0)
            OK(sa_rekey(&unused));
        if (i % 16 == 0)
            (void)status();
    }
    return with;
}

TEST(fork_while_threads_work)
{
    NEEDS_LOCKED(1 << 20);
    pthread_t threads[3];
    make_all();
    for (int i = 0; i < 3; i++)
        SAME(pthread_create(&threads[i], NULL, makes_and_closes, NULL), 0);
    for (int i = rounds(300); i--;)
        SAME(in_child(child, NULL), 0);
    atomic_store(&over, true);
    for (int i = 0; i < 3; i++)
        SAME(pthread_join(threads[i], NULL), 0);
    parent_is_whole();
}

/* Every call that takes a lock and that may come before the first arena. */
static void *asks_before(void *with)
{
    struct sa_why unused;
    unsigned missing;
    while (goes_on(&over)) {
        (void)status();
        (void)sa_shortfall(&missing, &unused);
        (void)sa_use_secretmem(true);
        OK(sa_rekey(&unused));
        OK(sa_disarm(&unused));
        OK(sa_arm(NULL, 0, &unused));
    }
    return with;
}

static int first; /* which call the child makes first */

static void child_asks_and_makes(void *unused)
{
    struct sa_arena mine = {0};
    alarm(5);
    (void)unused;
    if (first % 3 == 1)
        (void)sa_use_secretmem(true);
    if (first % 3 == 2)
        OK(sa_disarm(&why));
    (void)status();
    (void)sa_use_secretmem(true);
    OK(sa_disarm(&why));
    OK(sa_arm(NULL, 0, &why));
    make(&mine, 100, 1, 1);
    sa_close(&mine);
    lockdown();
}

TEST(fork_before_the_start)
{
    pthread_t thread;
    no_marker();
    SAME(pthread_create(&thread, NULL, asks_before, NULL), 0);
    for (first = rounds(2000); first--;)
        SAME(in_child(child_asks_and_makes, NULL), 0);
    CHECK(!vault_started()); /* or it was another test */
    atomic_store(&over, true);
    SAME(pthread_join(thread, NULL), 0);
}

static void *sets_the_marker(void *with)
{
    while (goes_on(&over))
        no_marker();
    return with;
}

static void child_sets_the_marker(void *unused)
{
    (void)unused;
    alarm(HANGS);
    no_marker();
    lockdown();
}

TEST(fork_while_the_marker_is_set)
{
    pthread_t thread;
    make_all();
    SAME(pthread_create(&thread, NULL, sets_the_marker, NULL), 0);
    for (int i = rounds(500); i--;)
        SAME(in_child(child_sets_the_marker, NULL), 0);
    atomic_store(&over, true);
    SAME(pthread_join(thread, NULL), 0);
}

#ifdef __linux__
/* ---- children that no atfork handler runs in -------------------------------------------------- */

/* As in_child, but by a bare system call. */
static int in_clone(unsigned long flags, void (*body)(void *))
{
    fflush(NULL);
    long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (pid < 0)
        return -errno;
    if (pid == 0) {
        alarm(HANGS);
        body(NULL);
        _exit(0);
    }
    return check_wait((pid_t)pid);
}

TEST(raw_clone)
{
    if (UNDER_TSAN)
        SKIP("the race detector does not survive a raw clone");
    make_all();
    SAME(in_clone(0, child), 0);
    SAME(death_of(in_clone(0, child_faults)), SIGABRT);
    parent_is_whole();
}

/* Its parent's locks may be held for ever, and no handler of fork resets them; nor the one that
 * musl's sigaction() has for SIGABRT, against abort(), and glibc's since 2.41. */
TEST(raw_clone_while_a_thread_asks)
{
    pthread_t thread;
    if (UNDER_TSAN || under_valgrind())
        SKIP("neither tool follows a raw clone of a process with threads");
    make_all();
    SAME(pthread_create(&thread, NULL, asks_before, NULL), 0);
    for (first = rounds(1000); first--;)
        SAME(in_clone(0, child_asks_and_makes), 0);
    atomic_store(&over, true);
    SAME(pthread_join(thread, NULL), 0);
}

static void cloned_with_child(void *unused)
{
    (void)unused;
    be_a_child();
    make_all();
    SAME(in_clone(0, child), 0);
    SAME(in_child(child, NULL), 0);
    parent_is_whole();
}

TEST(raw_clone_of_a_clone)
{
    if (UNDER_TSAN)
        SKIP("the race detector does not survive a raw clone");
    make_all();
    SAME(in_clone(0, cloned_with_child), 0);
    parent_is_whole();
}

/* In a new PID namespace parent and child can have the same process id: 1. */
static void first_of_a_namespace(void *unused)
{
    (void)unused;
    SAME(getpid(), 1);
    make_all();
    SAME(vault.process, 1);
    int status = in_clone(0x20000000 /* CLONE_NEWPID */, child);
    SAME(status, 0);
    parent_is_whole();
}

TEST(same_process_id)
{
    if (under_tool())
        SKIP("tools do not survive a raw clone into a namespace");
    int status = in_clone(0x20000000, first_of_a_namespace);
    if (status == -EPERM || status == -EINVAL)
        SKIP("may not make a PID namespace");
    SAME(status, 0);
}

/* vfork: the memory is the parent's, so the child must keep off it. */
TEST(vfork)
{
    if (under_tool())
        SKIP("tools turn vfork into fork");
    make_all();
    volatile bool ours = true;
    volatile int code = -1;
    size_t wiped;
    struct sa_why unused;
    pid_t pid = vfork();
    if (pid == 0) {
        ours = vault_is_ours();
        code = (int)sa_lockdown(&wiped, &unused);
        _exit(0);
    }
    SAME(check_wait(pid), 0);
    CHECK(!ours);
    SAME(code, SA_WRONG_PROCESS);
    parent_is_whole();
}

/* A fault there kills the child alone: arenas, handlers and the parent's own stack
 * below the call, which the child's handler must not clear, stay as they are. */
TEST(fault_in_a_vfork_child)
{
    if (under_tool())
        SKIP("tools turn vfork into fork");
    make_all();
    struct sigaction before, after;
    SAME(sigaction(SIGSEGV, NULL, &before), 0);
    volatile uint8_t *low = (volatile uint8_t *)__builtin_frame_address(0) - 65536;
    low[0] = 0x5a;
#ifdef __linux__ /* before 5.16 what dumps core takes along all that share its memory, vfork's parent too */
    SAME(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), 0);
#endif
    pid_t pid = vfork();
    if (pid == 0) {
        volatile uintptr_t nowhere = 8;
        (void)*(volatile uint8_t *)nowhere;
        _exit(0);
    }
    SAME(death_of(check_wait(pid)), SIGSEGV);
#ifdef __linux__
    SAME(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0); /* or /proc is closed to us */
#endif
    SAME(low[0], 0x5a);
    SAME(sigaction(SIGSEGV, NULL, &after), 0);
    CHECK(before.sa_sigaction == after.sa_sigaction);
    parent_is_whole();
}

/* Somebody else's mapping in the hole that our pages left stays theirs. */
static void *squat;
static size_t squat_bytes;

static void squatter(void)
{
    if (squat_bytes)
        CHECK(mmap(squat, squat_bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == squat);
}

/* Runs before the library's own. */
__attribute__((constructor(101))) static void squatter_comes_first(void)
{
    CHECK(!pthread_atfork(NULL, NULL, squatter));
}

static void child_beside_a_squatter(void *unused)
{
    (void)unused;
    memset(squat, 0x77, squat_bytes);
    be_a_child();
    CHECK(is_all(squat, squat_bytes, 0x77));
    struct slot found;
    CHECK(!vault_find(squat, 1, &found));
}

TEST(somebody_else_takes_the_place)
{
    if (UNDER_TSAN || under_valgrind())
        SKIP("needs addresses of its own");
    make_all();
    squat = (uint8_t *)atomic_load(&arena_slot(&arenas[1]).region->base) + 64 * os_page_size();
    squat_bytes = 3 * os_page_size();
    for (unsigned i = 0; i < MADE; i++)
        CHECK(addresses[i] < (uintptr_t)squat || addresses[i] >= (uintptr_t)squat + squat_bytes);
    SAME(in_child(child_beside_a_squatter, NULL), 0);
    parent_is_whole();
}
#endif

/* ---- the end ------------------------------------------------------------------------------------ */

static int told;

/* Registered before ours, so that it runs after it. */
static void looks_at_exit(void)
{
    uint8_t verdict = is_noise_from((uint8_t *)addresses[2], (uint8_t *)addresses[2], 8) ||
                      !is_content((uint8_t *)addresses[2], sizes[2], 2);
    SAME(write(told, &verdict, 1), 1);
}

TEST(wiped_at_exit)
{
    int ends[2];
    uint8_t verdict = 0;
    SAME(pipe(ends), 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        told = ends[1];
        atexit(looks_at_exit);
        make_all();
        exit(0);
    }
    SAME(check_wait(pid), 0);
    SAME(read(ends[0], &verdict, 1), 1);
    SAME(verdict, 1);
}

int main(int argc, char **argv)
{
    check_begin("test_identity", argc, argv);
    RUN(nothing_before_first_use);
    RUN(one_epoch_for_life);
    RUN(fork);
    RUN(fork_of_a_fork);
    RUN(fork_of_an_idle_fork);
    RUN(states_of_the_parent);
    RUN(exports_end_in_the_child);
    RUN(exit_in_the_child);
    RUN(signals_in_the_child);
    RUN(fork_while_threads_work);
    RUN(fork_while_the_marker_is_set);
    RUN(fork_before_the_start);
#ifdef __linux__
    RUN(raw_clone);
    RUN(raw_clone_while_a_thread_asks);
    RUN(raw_clone_of_a_clone);
    RUN(same_process_id);
    RUN(vfork);
    RUN(fault_in_a_vfork_child);
    RUN(somebody_else_takes_the_place);
#endif
    RUN(wiped_at_exit);
    return check_end();
}
