/* Calls that concern the whole process. */
#include "arenas.h"

#include <pthread.h>
#include <sched.h>
#ifdef __linux__
#include "linux.h"
#endif

static struct sa_why why;

TEST(clear)
{
    uint8_t memory[9000];
    memset(memory, 0x5a, sizeof memory);
    OK(sa_clear(memory + 1, 8000, &why));
    SAME(memory[0], 0x5a);
    SAME(memory[8001], 0x5a);
    CHECK(is_noise_from(memory + 1, memory + 1, 8000));
    SAME(status().rekeys, 0);
    OK(sa_clear(memory, 0, &why));
    OK(sa_clear(NULL, 0, &why));
    SAME(memory[0], 0x5a);
}

TEST(rekey)
{
    OK(sa_rekey(&why));
    SAME(status().rekeys, 0); /* before first use it does nothing */
    CHECK(!status().started);
    struct sa_arena a = {0};
    make(&a, 100, 1, 1);
    uint8_t before[64], after[64];
    OK(sa_clear(before, 64, &why));
    OK(sa_rekey(&why));
    OK(sa_clear(after, 64, &why));
    CHECK(memcmp(before, after, 64));
    SAME(status().rekeys, 1);
    CHECK(is_content(raw(&a), 100, 1)); /* nothing is wiped by it */
}

TEST(lockdown_wipes_all)
{
    static struct sa_arena arenas[60];
    int ends[2], before;
    char got[8];
    SAME(pipe(ends), 0);
    OK(sa_set_lockdown_fd(ends[1], &before, &why));
    SAME(before, 2);
    for (unsigned i = 0; i < 60; i++)
        make(&arenas[i], (size_t)i * i * 37, 1, i);
    sa_close(&arenas[7]);
    OK(sa_wipe(&arenas[8], &why)); /* wiped again, and counted */
    OK(sa_fill_begin(&arenas[9], &why));
    SAME(lockdown(), 59);
    for (unsigned i = 0; i < 60; i++)
        SAME(sa_state_of(&arenas[i]), i == 7 ? SA_IS_CLOSED : SA_IS_WIPED);
    for (unsigned i = 20; i < 60; i++)
        CHECK(!is_content(raw(&arenas[i]), 1000, i));
    SAME(read(ends[0], got, sizeof got), 1);
    SAME(got[0], 'L');
    SAME(status().lockdowns, 1);
    SAME(status().rekeys, 1);
    SAME(status().arenas, 59);
    SAME(sa_fill_end(&arenas[9], true), SA_WIPED);
    OK(sa_fill_begin(&arenas[30], &why)); /* life goes on */
    OK(sa_fill_end(&arenas[30], true));
    SAME(sa_state_of(&arenas[30]), SA_USABLE);
}

/* The old noise is not what the next wipe leaves. */
TEST(lockdown_rekeys_last)
{
    struct sa_arena a = {0};
    no_marker();
    make(&a, 4096, 1, 1);
    SAME(lockdown(), 1);
    CHECK(!slot_is_noise(arena_slot(&a)));
    OK(sa_wipe(&a, &why));
    CHECK(slot_is_noise(arena_slot(&a)));
}

TEST(lockdown_fd)
{
    int ends[2], before = 4711;
    SAME(pipe(ends), 0);
    SAME(status().lockdown_fd, 2);
    OK(sa_set_lockdown_fd(ends[1], &before, &why));
    SAME(before, 2);
    SAME(status().lockdown_fd, ends[1]);
    OK(sa_set_lockdown_fd(-1, &before, &why));
    SAME(before, ends[1]);
    SAME(status().lockdown_fd, -1);
    SAME(sa_set_lockdown_fd(999, &before, &why), SA_OS_ERROR);
    SAME(why.error, EBADF);
    SAME(before, ends[1]);
    SAME(status().lockdown_fd, -1);
}

#ifdef __linux__
TEST(lockdown_without_entropy)
{
    if (under_valgrind())
        SKIP("valgrind needs the system call");
    struct sa_arena a = {0};
    size_t wiped = 0;
    int ends[2], before;
    char got[4];
    SAME(pipe(ends), 0);
    OK(sa_set_lockdown_fd(ends[1], &before, &why));
    make(&a, 100, 1, 1);
    deny(SYS_getrandom, EAGAIN);
    SAME(sa_lockdown(&wiped, &why), SA_OS_ERROR); /* all is wiped, and said */
    SAME(why.error, EAGAIN);
    SAME(wiped, 1);
    SAME(sa_state_of(&a), SA_IS_WIPED);
    CHECK(slot_is_noise(arena_slot(&a)));
    SAME(read(ends[0], got, sizeof got), 1);
}

TEST(no_entropy_no_start)
{
    if (under_valgrind())
        SKIP("valgrind needs the system call");
    struct sa_arena a = {0};
    uint8_t memory[64] = {0};
    deny(SYS_getrandom, EAGAIN);
    SAME(sa_arena_make(&a, 100, 1, &why), SA_OS_ERROR);
    CHECK(!strcmp(why.call, "getrandom"));
    SAME(sa_clear(memory, sizeof memory, &why), SA_OS_ERROR);
    CHECK(!status().started);
    SAME(sa_state_of(&a), SA_IS_CLOSED);
}
#endif

/* ---- threads -------------------------------------------------------------------------------- */

static _Atomic bool over;
static _Atomic unsigned made;

/* What is made while a lockdown runs is made after it: never wiped in its fill by
 * a lockdown that began before. */
static void *makes(void *with)
{
    struct sa_arena a = {0};
    struct sa_why mine;
    while (goes_on(&over)) {
        OK(sa_arena_make(&a, 100, 1, &mine));
        (void)!sa_fill_end(&a, true);
        sa_close(&a);
        atomic_fetch_add(&made, 1);
    }
    return with;
}

static void *locks_down(void *with)
{
    while (goes_on(&over))
        CHECK(lockdown() <= 2);
    return with;
}

TEST(lockdowns_at_once)
{
    pthread_t threads[4];
    if (UNDER_TSAN) /* a maker zeroes what a lockdown wipes: by design both write */
        SKIP("made of what a race detector calls races");
    no_marker();
    for (int i = 0; i < 4; i++)
        SAME(pthread_create(&threads[i], NULL, i < 2 ? makes : locks_down, NULL), 0);
    pause_ms(1000);
    atomic_store(&over, true);
    for (int i = 0; i < 4; i++)
        SAME(pthread_join(threads[i], NULL), 0);
    CHECK(made > 0 && status().lockdowns > 10);
    SAME(status().arenas, 0);
}

int main(int argc, char **argv)
{
    check_begin("test_process", argc, argv);
    RUN(clear);
    RUN(rekey);
    RUN(lockdown_wipes_all);
    RUN(lockdown_rekeys_last);
    RUN(lockdown_fd);
#ifdef __linux__
    RUN(lockdown_without_entropy);
    RUN(no_entropy_no_start);
#endif
    RUN(lockdowns_at_once);
    return check_end();
}
