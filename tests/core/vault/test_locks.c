/* The table of locks: each keeps others out, and none is held in a child, though another thread
 * held it at the fork. */
#include "arenas.h"
#include "check.h"
#include "vault/locks.h"

#include <pthread.h>

static _Atomic bool held, done;

static void *hold_all(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < LOCKS; i++)
        lock_take((enum lock)i);
    atomic_store(&held, true);
    while (!atomic_load(&done))
        usleep(1000);
    for (unsigned i = LOCKS; i-- > 0;)
        lock_give((enum lock)i);
    return NULL;
}

static pthread_t holder(void)
{
    pthread_t thread;
    SAME(pthread_create(&thread, NULL, hold_all, NULL), 0);
    while (!atomic_load(&held))
        usleep(1000);
    return thread;
}

static void take_each(void)
{
    for (unsigned i = 0; i < LOCKS; i++) {
        CHECK(lock_try((enum lock)i));
        CHECK(!lock_try((enum lock)i));
    }
    for (unsigned i = 0; i < LOCKS; i++)
        lock_give((enum lock)i);
}

TEST(keep_others_out)
{
    pthread_t thread = holder();
    for (unsigned i = 0; i < LOCKS; i++)
        CHECK(!lock_try((enum lock)i));
    atomic_store(&done, true);
    pthread_join(thread, NULL);
    take_each();
}

static void in_the_child(void *unused)
{
    (void)unused;
    take_each();
    struct sa_arena a = {0};
    no_marker();
    make(&a, 10, 1, 1); /* which takes most of them */
    SAME(lockdown(), 1);
    sa_close(&a);
}

TEST(no_child_waits_for_its_parents)
{
    pthread_t thread = holder();
    SAME(in_child(in_the_child, NULL), 0);
    atomic_store(&done, true);
    pthread_join(thread, NULL);
}

static brief_lock brief;

static void *add_up(void *sum)
{
    for (int i = rounds(20000); i-- > 0;) {
        brief_take(&brief, 1);
        ++*(volatile int *)sum;
        brief_give(&brief);
    }
    return NULL;
}

TEST(brief_ones_keep_others_out)
{
    pthread_t threads[3];
    int sum = 0;
    for (unsigned i = 0; i < 3; i++)
        SAME(pthread_create(&threads[i], NULL, add_up, &sum), 0);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    SAME(sum, 3 * rounds(20000));
}

TEST(brief_ones_of_a_parent_keep_nobody_out)
{
    brief_take(&brief, 1); /* and never given back */
    brief_take(&brief, 2);
    SAME(brief, 2);
    brief_give(&brief);
    SAME(brief, 0);
}

int main(int argc, char **argv)
{
    check_begin("test_locks", argc, argv);
    RUN(keep_others_out);
    RUN(no_child_waits_for_its_parents);
    RUN(brief_ones_keep_others_out);
    RUN(brief_ones_of_a_parent_keep_nobody_out);
    return check_end();
}
