/* Forks that begin in one process and end in another, or that some child knows nothing of: pages
 * are to be had in each all the same. */
#include "arenas.h"
#include "vault/forks.h"
#include "vault/locks.h"

#ifdef __linux__
#include "linux.h"
#endif

/* No fork is under way that this process knows of. */
static void pages_are_to_be_had(void)
{
    struct alone alone;
    struct sa_arena a = {0};
    forks_hold_off(&alone);
    CHECK(alone_still(&alone));
    CHECK(forks_let_in(&alone));
    make(&a, 100, 1, 1);
    CHECK(is_content(raw(&a), 100, 1));
    sa_close(&a);
}

/* As a fork that finds the lock held, and does not wait for ever. */
static void begin_in_vain(void)
{
    lock_take(LOCK_VAULT);
    forks_before();
    lock_give(LOCK_VAULT);
}

/* A handler that interrupted a fork has forked, and returned in the child. */
static void ends_the_outer_fork(void *unused)
{
    (void)unused;
    forks_after();
    pages_are_to_be_had();
}

static void within(void (*begin)(void))
{
    struct sa_arena first = {0};
    make(&first, 100, 1, 1);
    begin();
    SAME(in_child(ends_the_outer_fork, NULL), 0);
    forks_after();
    pages_are_to_be_had();
}

TEST(a_fork_within_a_fork) { within(forks_before); }
TEST(a_fork_within_a_fork_that_did_not_wait) { within(begin_in_vain); }

TEST(a_fork_that_did_not_wait)
{
    struct alone alone;
    struct sa_arena first = {0};
    make(&first, 100, 1, 1);
    lock_take(LOCK_VAULT);
    alone_begin(&alone);
    CHECK(alone_still(&alone));
    forks_before();
    CHECK(!alone_still(&alone)); /* the control */
    CHECK(!alone_end(&alone));
    forks_after();
    lock_give(LOCK_VAULT);
    pages_are_to_be_had();
}

#ifdef __linux__
/* Made while another fork is under way, by who runs no handlers. */
TEST(a_raw_clone_beside_a_fork)
{
    struct sa_arena first = {0};
    if (under_tool())
        SKIP("tools know no raw clone");
    make(&first, 100, 1, 1);
    begin_in_vain();
    pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    CHECK(child >= 0);
    if (child == 0) {
        struct sa_why why;
        SAME(vault_enter(&why), SA_OK); /* finds out whose all this is */
        pages_are_to_be_had();
        _exit(0);
    }
    SAME(check_wait(child), 0);
    forks_after();
    pages_are_to_be_had();
}
#endif

int main(int argc, char **argv)
{
    check_begin("test_forks", argc, argv);
    RUN(a_fork_within_a_fork);
    RUN(a_fork_within_a_fork_that_did_not_wait);
    RUN(a_fork_that_did_not_wait);
#ifdef __linux__
    RUN(a_raw_clone_beside_a_fork);
#endif
    return check_end();
}
