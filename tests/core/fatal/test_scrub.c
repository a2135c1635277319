/* A dying thread's dead stack is cleared, and nothing below it: under a stack that its owner
 * made there is no guard, but a file, or what another process shares. The stacks here are
 * shared with the process that looks. */
#include "fatal/alt_stack.h"
#include "arenas.h"
#include "os/os.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum { BELOW = 1 << 20, STACK = 512 << 10, BURIED = 128 << 10, THEIRS = 0x70, DEAD = 0x5a };
static uint8_t *below, *stack;

static void begin(void)
{
    char name[] = "/tmp/secalloc-scrub-XXXXXX";
    int fd = mkstemp(name);
    CHECK(fd >= 0);
    unlink(name);
    SAME(ftruncate(fd, BELOW + STACK), 0);
    below = mmap(NULL, BELOW + STACK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(below != MAP_FAILED);
    stack = below + BELOW;
    memset(below, THEIRS, BELOW);
}

/* By words, as a byte of some address may be the same. */
static size_t count(const uint8_t *at, size_t bytes, uint8_t what)
{
    size_t found = 0;
    for (size_t i = 0; i < bytes; i += 8)
        if (is_all(at + i, 8, what))
            found += 8;
    return found;
}

static void use_the_library(void)
{
    static struct sa_arena arenas[2]; /* as often as a test calls it */
    static size_t next;
    struct sa_why why;
    int before;
    OK(sa_set_lockdown_fd(-1, &before, &why)); /* no markers between what the tests say */
    make(&arenas[next++], 1, 1, 1);
}

/* ---- how a thread comes to die ------------------------------------------------------------ */

__attribute__((noinline)) static void bury(void)
{
    volatile uint8_t room[BURIED];
    for (size_t i = 0; i < sizeof room; i++)
        room[i] = DEAD;
}

static void fall(void) { *(volatile int *)8 = 1; } /* NOLINT: it is to fault */

static void *touches_and_falls(void *unused)
{
    alt_stack_ensure();
    bury();
    fall();
    return unused;
}

static void *falls(void *unused)
{
    bury();
    fall();
    return unused;
}

/* As a coroutine does, or who follows a wild pointer. */
static void falls_with_pointer(const uint8_t *pointer)
{
#if defined(__x86_64__)
    __asm__ __volatile__("mov %0, %%rsp\n\tmovl $1, 8" : : "r"(pointer) : "memory");
#elif defined(__aarch64__)
    __asm__ __volatile__("mov sp, %0\n\tmov x1, #8\n\tstr xzr, [x1]" : : "r"(pointer) : "memory");
#else
#error "x86-64 and AArch64"
#endif
}

static void *falls_elsewhere(void *unused)
{
    alt_stack_ensure();
    memset(stack, DEAD, STACK);
    falls_with_pointer(stack + STACK / 2);
    return unused;
}

static void on_thread(void *(*body)(void *), bool own_stack)
{
    pthread_attr_t attributes;
    pthread_t thread;
    SAME(pthread_attr_init(&attributes), 0);
    if (own_stack)
        SAME(pthread_attr_setstack(&attributes, stack, STACK), 0);
    SAME(pthread_create(&thread, &attributes, body, NULL), 0);
    SAME(pthread_join(thread, NULL), 0);
}

/* ---- what becomes of it ---------------------------------------------------------------------- */

/* Runs `body` in a child that it is the end of; the memory below stays as it was. Returns how
 * much of what was buried is left. */
static size_t left_by(void (*body)(void *))
{
    if (under_tool())
        SKIP("tools have handlers and stacks of their own");
    SAME(setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}), 0);
    begin();
    CHECK(is_fault(death_of(in_child(body, NULL))));
    SAME(count(below, BELOW, THEIRS), BELOW);
    return count(stack, STACK, DEAD);
}

static void touched(void *unused)
{
    (void)unused;
    use_the_library();
    on_thread(touches_and_falls, true);
}

TEST(the_stack_is_cleared_and_no_more) { SAME(left_by(touched), 0); }

static void disarmed(void *unused)
{
    struct sa_why why;
    use_the_library();
    OK(sa_disarm(&why));
    touched(unused);
}

TEST(disarmed_it_stays) /* the control */ { CHECK(left_by(disarmed) >= BURIED); }

static void never_touched(void *unused)
{
    (void)unused;
    use_the_library();
    on_thread(falls, true);
}

TEST(a_thread_that_never_touched_the_library) { CHECK(left_by(never_touched) >= BURIED / 2); }

static uint8_t foreign[64 << 10];

static void *touches_with_a_foreign_one(void *unused)
{
    stack_t set = {.ss_sp = foreign, .ss_size = sizeof foreign};
    SAME(sigaltstack(&set, NULL), 0);
    return touches_and_falls(unused);
}

static void with_a_foreign_one(void *unused)
{
    (void)unused;
    use_the_library();
    on_thread(touches_with_a_foreign_one, true);
}

TEST(a_signal_stack_of_another_library_s) { CHECK(left_by(with_a_foreign_one) >= BURIED / 2); }

static void coroutine(void *unused)
{
    use_the_library();
    (void)falls_elsewhere(unused);
}

TEST(a_coroutine_on_the_first_thread) { SAME(left_by(coroutine), STACK); }

static void coroutine_on_thread(void *unused)
{
    (void)unused;
    use_the_library();
    on_thread(falls_elsewhere, false);
}

TEST(a_coroutine_on_another_thread) { SAME(left_by(coroutine_on_thread), STACK); }

static void wild(void *unused)
{
    (void)unused;
    use_the_library();
    falls_with_pointer(below + BELOW / 2);
}

TEST(a_wild_pointer) { SAME(left_by(wild), 0); }

/* On top of ours, and without SA_ONSTACK: all of us runs on the very stack. */
static struct sigaction ours;

static void passes_on(int sig, siginfo_t *info, void *context)
{
    ours.sa_sigaction(sig, info, context);
}

static void passed_on(void *unused)
{
    use_the_library();
    struct sigaction on_top = {.sa_sigaction = passes_on, .sa_flags = SA_SIGINFO};
    SAME(sigaction(SIGSEGV, &on_top, &ours), 0);
    SAME(sigaction(SIGBUS, &on_top, NULL), 0);
    touched(unused);
}

TEST(a_handler_on_the_very_stack) { CHECK(left_by(passed_on) < 16 << 10); }

/* ---- the bounds --------------------------------------------------------------------------------- */

static void *is_within(void *unused)
{
    uintptr_t low, high, here = (uintptr_t)__builtin_frame_address(0);
    SAME(alt_stack_bounds(&low, &high), false);
    alt_stack_ensure();
    CHECK(alt_stack_bounds(&low, &high));
    CHECK(low <= here && here < high && low % 8 == 0);
    if (here >= (uintptr_t)stack && here < (uintptr_t)stack + STACK)
        CHECK(low >= (uintptr_t)stack && high <= (uintptr_t)stack + STACK);
    return unused;
}

TEST(bounds)
{
    if (under_tool())
        SKIP("tools have signal stacks of their own");
    begin();
    is_within(NULL);
    on_thread(is_within, false);
    on_thread(is_within, true);
}

int main(int argc, char **argv)
{
    check_begin("test_scrub", argc, argv);
    RUN(the_stack_is_cleared_and_no_more);
    RUN(disarmed_it_stays);
    RUN(a_thread_that_never_touched_the_library);
    RUN(a_signal_stack_of_another_library_s);
    RUN(a_coroutine_on_the_first_thread);
    RUN(a_coroutine_on_another_thread);
    RUN(a_wild_pointer);
    RUN(a_handler_on_the_very_stack);
    RUN(bounds);
    return check_end();
}
