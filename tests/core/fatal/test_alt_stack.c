/* Signal stacks: one for each thread that has none, gone when the thread is. */
#include "fatal/alt_stack.h"
#include "arenas.h"
#include "os/os.h"

#include <pthread.h>
#include <sys/mman.h>
#ifdef __linux__
#include "linux.h"
#endif

static stack_t mine(void)
{
    stack_t now;
    SAME(sigaltstack(NULL, &now), 0);
    return now;
}

/* The tool's own threads come with one. */
static bool have_one_already(void) { return !(mine().ss_flags & SS_DISABLE); }

static void *gets_one(void *with)
{
    if (have_one_already())
        return with;
    SAME(alt_stack_kind(), SA_STACK_NONE);
    alt_stack_ensure();
    SAME(alt_stack_kind(), SA_STACK_OURS);
    stack_t now = mine();
    CHECK(now.ss_size >= os_alt_stack_least() && now.ss_size > 250 * 1024);
    CHECK(!readable((char *)now.ss_sp - 1)); /* a guard below */
    memset(now.ss_sp, 0x5a, now.ss_size);
    alt_stack_ensure();
    CHECK(mine().ss_sp == now.ss_sp);
    if (with)
        *(void **)with = now.ss_sp;
    return with;
}

static void on_thread(void *(*body)(void *), void *with)
{
    pthread_t thread;
    SAME(pthread_create(&thread, NULL, body, with), 0);
    SAME(pthread_join(thread, NULL), 0);
}

TEST(each_thread_has_its_own)
{
    void *first = NULL;
    gets_one(&first);
    on_thread(gets_one, NULL);
    CHECK(!first || mine().ss_sp == first);
}

TEST(freed_with_the_thread)
{
    void *stack = NULL;
    on_thread(gets_one, &stack);
    CHECK(!stack || !readable(stack));
}

#ifdef __linux__
TEST(none_is_left)
{
    if (under_tool())
        SKIP("needs its own maps");
    on_thread(gets_one, NULL); /* what the C library keeps for threads */
    unsigned before = count_maps();
    for (int i = 0; i < 200; i++)
        on_thread(gets_one, NULL);
    CHECK(count_maps() <= before + 2);
}

static bool is_touched(uint8_t *at)
{
    unsigned char touched;
    uintptr_t page = os_page_size();
    SAME(mincore((void *)((uintptr_t)at / page * page), page, &touched), 0);
    return touched & 1;
}

/* Room for other libraries' handlers; what ours takes is there, the rest costs nothing. */
static void *is_roomy(void *with)
{
    if (have_one_already())
        return with;
    alt_stack_ensure();
    stack_t now = mine();
    uint8_t *low = now.ss_sp, *high = low + now.ss_size;
    SAME((uintptr_t)(high + 64) % os_page_size(), 0);
    CHECK(high + 64 - low >= 256 << 10);
    for (size_t at = 0; at < 16 << 10; at += 1024)
        CHECK(is_touched(high - 1 - at));
    CHECK(!map_has(low, "lo"));
    CHECK(!is_touched(low) && !is_touched(high - (64 << 10)));
    struct map guard;
    CHECK(map_at(low - 1, &guard) && guard.end == (uintptr_t)low);
    CHECK(guard.end - guard.start >= 64 << 10 && !memcmp(guard.access, "---", 3));
    return with;
}

TEST(roomy)
{
    if (under_tool())
        SKIP("needs its own maps");
    is_roomy(NULL);
    on_thread(is_roomy, NULL);
}

TEST(not_locked_though_all_is)
{
    NEEDS_LOCKED(1 << 20);
    if (under_tool())
        SKIP("needs its own maps");
    if (mlockall(MCL_FUTURE))
        SKIP("mlockall is refused");
    is_roomy(NULL);
}

/* All at once, so that no stack is another's. */
static pthread_barrier_t line;
static void *stacks[16];

static void *holds_one(void *with)
{
    alt_stack_ensure();
    *(void **)with = mine().ss_sp;
    memset(mine().ss_sp, 0x5a, mine().ss_size);
    pthread_barrier_wait(&line);
    return NULL;
}

TEST(all_at_once)
{
    pthread_t threads[16];
    SAME(pthread_barrier_init(&line, NULL, 16), 0);
    for (int i = 0; i < 16; i++)
        SAME(pthread_create(&threads[i], NULL, holds_one, &stacks[i]), 0);
    for (int i = 0; i < 16; i++)
        SAME(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < i; k++)
            CHECK(stacks[i] != stacks[k]);
}
#endif

static char foreign[256 << 10];

static void *keeps_a_foreign_one(void *with)
{
    stack_t set = {.ss_sp = foreign, .ss_size = *(size_t *)with};
    SAME(sigaltstack(&set, NULL), 0);
    alt_stack_ensure();
    CHECK(mine().ss_sp == foreign && mine().ss_size == set.ss_size);
    SAME(alt_stack_kind(), set.ss_size < os_alt_stack_least() ? SA_STACK_SMALL : SA_STACK_FOREIGN);
    stack_t off = {.ss_flags = SS_DISABLE};
    SAME(sigaltstack(&off, NULL), 0);
    return with;
}

TEST(a_foreign_one_is_left_alone)
{
    size_t large = sizeof foreign, small = os_alt_stack_least() / 2;
    on_thread(keeps_a_foreign_one, &large);
    on_thread(keeps_a_foreign_one, &small);
    CHECK(readable(foreign));
}

/* Another took ours off and set its own: at the end of the thread it stays set. */
static void *gets_another_later(void *with)
{
    void *stack = NULL;
    gets_one(&stack);
    if (!stack)
        return with;
    stack_t set = {.ss_sp = foreign, .ss_size = sizeof foreign};
    SAME(sigaltstack(&set, NULL), 0);
    SAME(alt_stack_kind(), SA_STACK_FOREIGN);
    *(void **)with = stack;
    return with;
}

TEST(another_one_later)
{
    void *stack = NULL;
    on_thread(gets_another_later, &stack);
    CHECK(!stack || !readable(stack));
}

/* Another took ours off, and left nothing. */
static void take_off(void)
{
    stack_t off = {.ss_flags = SS_DISABLE};
    SAME(sigaltstack(&off, NULL), 0);
    SAME(alt_stack_kind(), SA_STACK_NONE);
}

static void *gets_it_back(void *with)
{
    struct sa_why why;
    struct sa_arena a = {0}, pooled = {0};
    struct sa_pool *pool;
    void *stack = NULL;
    uintptr_t low, high;
    gets_one(&stack);
    if (!stack)
        return with;
    take_off();
    CHECK(!alt_stack_bounds(&low, &high));
    OK(sa_pool_make(&pool, &why));
    OK(sa_pool_alloc(pool, &pooled, 1, &why));
    OK(sa_clear(&low, sizeof low, &why));
    SAME(alt_stack_kind(), SA_STACK_NONE); /* a system call each would double their cost */
    make(&a, 1, 1, 1);
    SAME(alt_stack_kind(), SA_STACK_OURS);
    CHECK(mine().ss_sp == stack && alt_stack_bounds(&low, &high));
    take_off();
    OK(sa_arm(NULL, 0, &why));
    SAME(alt_stack_kind(), SA_STACK_OURS);
    take_off();
    SAME(status().alt_stack, SA_STACK_OURS);
    CHECK(mine().ss_sp == stack); /* not another each time */
    sa_close(&pooled);
    sa_close(&a);
    sa_pool_free(pool);
    return with;
}

TEST(put_back_where_it_was_taken_off)
{
    gets_it_back(NULL);
    on_thread(gets_it_back, NULL);
}

static void *only_looks(void *with)
{
    bool had = have_one_already();
    CHECK(had || status().alt_stack == SA_STACK_NONE);
    return with;
}

TEST(a_look_makes_none)
{
    only_looks(NULL);
    on_thread(only_looks, NULL);
}

/* Making an arena is enough to get one. */
static void *makes_an_arena(void *with)
{
    bool had = have_one_already();
    struct sa_arena a = {0};
    make(&a, 1, 1, 1);
    CHECK(had || status().alt_stack == SA_STACK_OURS);
    sa_close(&a);
    return with;
}

TEST(comes_with_the_first_arena)
{
    on_thread(makes_an_arena, NULL);
    makes_an_arena(NULL);
}

/* ---- it works ------------------------------------------------------------------------------ */

static volatile sig_atomic_t on_stack;

static void looks_where_it_is(int sig)
{
    char here;
    stack_t now = mine();
    on_stack = sig == SIGUSR1 && &here >= (char *)now.ss_sp &&
               &here < (char *)now.ss_sp + now.ss_size;
}

static void *is_signalled(void *with)
{
    alt_stack_ensure();
    raise(SIGUSR1);
    SAME(on_stack, 1);
    return with;
}

/* As one that unwinds for a report. */
static volatile sig_atomic_t reported;

static void wants_room(int sig)
{
    volatile char room[200 << 10];
    for (size_t i = 0; i < sizeof room; i += 1024)
        room[i] = (char)sig;
    reported = room[0] == SIGUSR1;
}

static void *is_reported(void *with)
{
    alt_stack_ensure();
    if (alt_stack_kind() != SA_STACK_OURS)
        return with;
    raise(SIGUSR1);
    SAME(reported, 1);
    return with;
}

TEST(a_large_handler_has_room)
{
    if (UNDER_TSAN || UNDER_ASAN)
        SKIP("handlers of a tool's run elsewhere");
    struct sigaction act = {.sa_handler = wants_room, .sa_flags = SA_ONSTACK};
    SAME(sigaction(SIGUSR1, &act, NULL), 0);
    on_thread(is_reported, NULL);
}

TEST(handlers_run_there)
{
    if (UNDER_TSAN || UNDER_ASAN)
        SKIP("handlers of a tool's run elsewhere");
    struct sigaction act = {.sa_handler = looks_where_it_is, .sa_flags = SA_ONSTACK};
    SAME(sigaction(SIGUSR1, &act, NULL), 0);
    on_thread(is_signalled, NULL);
}

int main(int argc, char **argv)
{
    check_begin("test_alt_stack", argc, argv);
    RUN(each_thread_has_its_own);
    RUN(freed_with_the_thread);
#ifdef __linux__
    RUN(none_is_left);
    RUN(roomy);
    RUN(not_locked_though_all_is);
    RUN(all_at_once);
#endif
    RUN(a_foreign_one_is_left_alone);
    RUN(another_one_later);
    RUN(put_back_where_it_was_taken_off);
    RUN(a_look_makes_none);
    RUN(comes_with_the_first_arena);
    RUN(handlers_run_there);
    RUN(a_large_handler_has_room);
    return check_end();
}
