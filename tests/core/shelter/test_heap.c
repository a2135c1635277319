/* The heap of sheltered calls: its blocks, their neighbours, and what forks beside it find. */
#include "arenas.h"
#include "os/os.h"
#include "shelter/fork.h"
#include "shelter/heap.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif

static const size_t sizes[] = {0,    1,    15,   16,   17,   31,   32,    100,  511,
                               512,  513,  640,  641,  768,  769,  1024,  1025, 1280,
                               1281, 2047, 2048, 2049, 4096, 5000, 16384, 70000};
enum { SIZES = sizeof sizes / sizeof sizes[0], LIVE = 300 };

static uint8_t *take(size_t bytes)
{
    uint8_t *at = heap_take(bytes, false);
    CHECK(at);
    SAME((uintptr_t)at % 16, 0);
    CHECK(heap_has(at));
    return at;
}

static void counts(size_t blocks)
{
    size_t there, bytes;
    heap_count(&there, &bytes);
    SAME(there, blocks);
    CHECK(blocks ? bytes >= blocks * 16 : !bytes);
}

/* Each by itself, so that none may lie in another. */
TEST(blocks_of_every_size)
{
    static uint8_t *at[SIZES][20];
    NEEDS_LOCKED(4 << 20); /* a block has locked memory, or is none */
    for (unsigned k = 0; k < 20; k++)
        for (unsigned i = 0; i < SIZES; i++)
            put_content(at[i][k] = take(sizes[i]), sizes[i], i * 20 + k);
    for (unsigned k = 0; k < 20; k++)
        for (unsigned i = 0; i < SIZES; i++)
            CHECK(is_content(at[i][k], sizes[i], i * 20 + k));
    for (unsigned k = 0; k < 20; k++)
        for (unsigned i = 0; i < SIZES; i++)
            heap_give(at[i][k]);
    counts(0);
}

TEST(what_lies_elsewhere_is_not_its)
{
    NEEDS_LOCKED(1 << 20);
    uint8_t *small = take(100), *large = take(70000);
    uint8_t outside[16];
    CHECK(heap_has(small + 99));
    CHECK(heap_has(large + 69999));
    CHECK(!heap_has(outside));
    CHECK(!heap_has(NULL));
    CHECK(!heap_has((void *)UINTPTR_MAX));
    heap_give(large);
    heap_trim();
    CHECK(!heap_has(large));
    heap_give(small);
}

/* Its cell is looked at beside one that keeps the pages there. */
TEST(what_is_let_go_is_zeroed)
{
    for (unsigned i = 1; sizes[i] <= 2048; i++) {
        uint8_t *keeps = take(sizes[i]), *at = take(sizes[i]);
        put_content(at, sizes[i], i);
        heap_give(at);
        CHECK(is_all(at, sizes[i], 0));
        uint8_t *zeros = heap_take(sizes[i], true);
        CHECK(is_all(zeros, sizes[i], 0));
        heap_give(zeros);
        heap_give(keeps);
    }
    counts(0);
}

#if defined(__linux__) && defined(__GLIBC__)
/* A large block goes back to the system, which is looked at as it does. */
static uint8_t *watched;
static size_t touched, dirty;

int munmap(void *at, size_t bytes)
{
    if (at == watched && bytes) {
        size_t page = os_page_size();
        static unsigned char vec[1 << 12];
        watched = NULL;
        CHECK(bytes / page <= sizeof vec);
        SAME(os_touched(at, bytes, vec), 0);
        for (size_t i = 0; i < bytes / page; i++)
            if (vec[i] & 1) {
                touched++;
                dirty += !is_all((uint8_t *)at + i * page, page, 0);
            }
    }
    return (int)syscall(SYS_munmap, at, bytes);
}

TEST(what_nobody_touched_stays_so)
{
    NEEDS_LOCKED(4 << 20);
    if (under_tool())
        SKIP("a tool has maps of its own");
    enum { MOST = 2 << 20 };
    for (int zeroed = 0; zeroed < 2; zeroed++) {
        uint8_t *at = heap_take(MOST - 5, zeroed);
        CHECK(at);
        for (size_t i = 0; i < 3; i++)
            at[i * 300000 + 4000] = 9;
        at[MOST - 6] = 9;
        watched = at;
        touched = dirty = 0;
        heap_give(at);
        CHECK(!watched);
        if (status().charges_users) /* so that none is refused later, each is fetched beforehand */
            SAME(touched, MOST / os_page_size());
        else
            CHECK(touched >= 4 && touched <= 4 + 3); /* mapping may take one or two */
        SAME(dirty, 0);
    }
    counts(0);
}
#endif

/* A few large ones that are let go are kept, zeroed, for who takes as much again. */
TEST(large_ones_again)
{
    NEEDS_LOCKED(64 << 20);
    heap_give(take(100)); /* how much may be kept is known from here on */
    uint8_t *at = take(300000), *other = take(300000);
    put_content(at, 300000, 1);
    heap_give(at);
    counts(1);
    CHECK(is_all(at, 300000, 0));
    SAME((uintptr_t)take(100000) == (uintptr_t)at, false); /* too small for it */
    uint8_t *again = heap_take(290000, true);
    CHECK(again == at);
    CHECK(is_all(again, 290000, 0));
    counts(3);
    heap_give(again);
    heap_give(other);
    size_t slots = spans_slots();
    heap_trim();
    SAME(slots - spans_slots(), 3); /* and the span of the first */
    CHECK(!heap_has(at) && !heap_has(other));
    uint8_t *many[9];
    for (int i = 0; i < 9; i++)
        many[i] = take(300000);
    slots = spans_slots();
    for (int i = 0; i < 9; i++)
        heap_give(many[i]);
    SAME(slots - spans_slots(), 9 - (1 << 20) / (300000 / 4096 * 4096 + 4096)); /* 1 MiB at most */
}

/* From each size to each: what fits stays, and what is lost is zeroed. */
TEST(other_sizes)
{
    NEEDS_LOCKED(1 << 20);
    for (unsigned i = 0; i < SIZES; i++)
        for (unsigned j = 0; j < SIZES; j++) {
            size_t kept = sizes[i] < sizes[j] ? sizes[i] : sizes[j];
            uint8_t *at = take(sizes[i]);
            put_content(at, sizes[i], i);
            uint8_t *now = heap_resize(at, sizes[j]);
            CHECK(now);
            CHECK(is_content(now, kept, i));
            if (now == at && sizes[j] < sizes[i])
                CHECK(is_all(now + sizes[j], sizes[i] - sizes[j], 0));
            put_content(now, sizes[j], j);
            heap_give(now);
        }
    counts(0);
    uint8_t *at = take(100);
    put_content(at, 100, 1);
    CHECK(!heap_resize(at, (size_t)PTRDIFF_MAX + 1));
    CHECK(!heap_take((size_t)PTRDIFF_MAX + 1, false));
    CHECK(is_content(at, 100, 1));
}

static int signal_of(void (*ends)(void *))
{
    int status = in_child(ends, NULL);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void lets_go_twice(void *with)
{
    (void)with;
    uint8_t *keeps = take(100), *at = take(100);
    heap_give(at);
    heap_give(at);
    heap_give(keeps);
}

static void lets_go_of_the_middle(void *with)
{
    (void)with;
    heap_give(take(100) + 16);
}

static void lets_go_of_a_part(void *with)
{
    (void)with;
    heap_give(take(5000) + 16);
}

static void lets_go_of_what_is_gone(void *with)
{
    (void)with;
    uint8_t *at = take(5000);
    heap_give(at);
    heap_give(at);
}

static void resizes_what_is_gone(void *with)
{
    (void)with;
    uint8_t *keeps = take(100), *at = take(100);
    heap_give(at);
    (void)heap_resize(at, 50);
    heap_give(keeps);
}

/* Each ends the process at once. */
TEST(what_is_no_block)
{
    void (*const bad[])(void *) = {lets_go_twice, lets_go_of_the_middle, lets_go_of_a_part,
                                   lets_go_of_what_is_gone, resizes_what_is_gone};
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++)
        SAME(signal_of(bad[i]), SIGABRT);
}

/* ---- threads ------------------------------------------------------------------------------- */

static void *works(void *seed)
{
    uint8_t *at[LIVE] = {0};
    unsigned of[LIVE] = {0}, random = (unsigned)(uintptr_t)seed;
    for (unsigned n = 0; n < 20000; n++) {
        random = random * 1103515245 + 12345;
        unsigned k = random >> 8 & 255, i = (random >> 16) % SIZES;
        if (at[k] && n % 3 == 0) {
            size_t kept = sizes[of[k]] < sizes[i] ? sizes[of[k]] : sizes[i];
            at[k] = heap_resize(at[k], sizes[i]);
            CHECK(at[k]);
            CHECK(is_content(at[k], kept, k));
        } else {
            if (at[k]) {
                CHECK(is_content(at[k], sizes[of[k]], k));
                heap_give(at[k]);
            }
            at[k] = take(sizes[i]);
        }
        of[k] = i;
        put_content(at[k], sizes[i], k);
    }
    for (unsigned k = 0; k < LIVE; k++)
        if (at[k])
            heap_give(at[k]);
    return NULL;
}

TEST(threads_beside_each_other)
{
    pthread_t threads[3];
    NEEDS_LOCKED(8 << 20);
    for (uintptr_t i = 0; i < 3; i++)
        CHECK(!pthread_create(&threads[i], NULL, works, (void *)(i + 1)));
    for (unsigned i = 0; i < 3; i++)
        CHECK(!pthread_join(threads[i], NULL));
    heap_trim();
    counts(0);
}

/* ---- forks ---------------------------------------------------------------------------------- */

static _Atomic int slow; /* 0: no fork waits; 1: the next one does; 2: it is under way */

static void wait_before_fork(void)
{
    int now = 1;
    if (atomic_compare_exchange_strong(&slow, &now, 2))
        for (unsigned turn = 64; turn < 64 + 1500; turn++)
            os_wait(turn);
}

static uint8_t *kept;

static void *forks(void *unused)
{
    (void)unused;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        _exit(is_content(kept, 3000, 7) ? 0 : 1);
    SAME(check_wait(child), 0);
    return NULL;
}

/* One that takes longer than the next would wait for it. */
TEST(two_threads_fork_at_once)
{
    pthread_t first;
    if (under_tool())
        SKIP("a tool's own fork is held up");
    CHECK(!pthread_atfork(wait_before_fork, NULL, NULL)); /* runs last */
    kept = take(3000);
    put_content(kept, 3000, 7);
    SAME(shelter_watch_forks(), 0);
    atomic_store(&slow, 1);
    CHECK(!pthread_create(&first, NULL, forks, NULL));
    while (atomic_load(&slow) != 2)
        os_wait(64);
    (void)forks(NULL);
    CHECK(!pthread_join(first, NULL));
    CHECK(is_content(kept, 3000, 7));
    heap_give(kept);
    counts(0);
}

/* A handler forks that interrupted who has the heap: neither waits, nor takes it away. */
TEST(a_fork_inside)
{
    uint8_t *at = take(100);
    SAME(shelter_watch_forks(), 0);
    CHECK(heap_hold());
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        _exit(0);
    SAME(check_wait(child), 0);
    CHECK(!heap_hold());
    heap_let_go();
    heap_give(at);
    counts(0);
}

/* ---- limits --------------------------------------------------------------------------------- */

#ifdef __linux__
TEST(no_more_memory)
{
    enum { MOST = 100000 };
    static uint8_t *at[MOST];
    struct rlimit limit;
    if (under_tool())
        SKIP("a tool locks, too");
    SAME(getrlimit(RLIMIT_MEMLOCK, &limit), 0);
    if (limit.rlim_max > 1 << 20)
        limit.rlim_max = 1 << 20;
    limit.rlim_cur = limit.rlim_max;
    if (geteuid() == 0) /* which may lock what it likes */
        CHECK(!setgid(65534) && !setuid(65534));
    CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
    unsigned n = 0;
    while (n < MOST && (at[n] = heap_take(n % 3000 + 1, false))) {
        put_content(at[n], n % 3000 + 1, n);
        n++;
    }
    CHECK(n > 10 && n < MOST);
    for (unsigned i = 0; i < n; i++) {
        CHECK(is_content(at[i], i % 3000 + 1, i));
        heap_give(at[i]);
    }
    counts(0);
    CHECK((at[0] = heap_take(1000, true)));
    heap_give(at[0]);
}
#endif

#ifdef __linux__
static void forks_without_a_copy(void *unused)
{
    (void)unused;
    (void)take(100);
    SAME(shelter_watch_forks(), 0);
    const struct rlimit none = {1 << 20, 1 << 20}; /* of address space: it has more already */
    SAME(setrlimit(RLIMIT_AS, &none), 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        spans_zero();
        _exit(0);
    }
    SAME(check_wait(child), 0);
}

/* In the handler of such a child nothing is stored where it has no pages. */
TEST(a_fork_without_a_copy)
{
    if (under_tool())
        SKIP("tools take address space themselves");
    SAME(in_child(forks_without_a_copy, NULL), 0);
}

/* The first process of a PID namespace, and the raw clone that is the first of another: of the
 * same number, and without any of the pages. */
static void first_of_two(void *unused)
{
    (void)unused;
    (void)take(100);
    long child = syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
    CHECK(child >= 0);
    if (child == 0) {
        spans_zero();
        syscall(SYS_exit_group, syscall(SYS_getpid) == 1 ? 0 : 3);
    }
    SAME(check_wait((pid_t)child), 0);
}

TEST(a_raw_clone_of_the_same_number)
{
    if (under_tool())
        SKIP("neither tool follows a raw clone");
    if (unshare(CLONE_NEWPID))
        SKIP("no namespaces here");
    SAME(in_child(first_of_two, NULL), 0);
}
#endif

int main(int argc, char **argv)
{
    check_begin("test_heap", argc, argv);
    RUN(blocks_of_every_size);
    RUN(what_lies_elsewhere_is_not_its);
    RUN(what_is_let_go_is_zeroed);
#if defined(__linux__) && defined(__GLIBC__)
    RUN(what_nobody_touched_stays_so);
#endif
    RUN(large_ones_again);
    RUN(other_sizes);
    RUN(what_is_no_block);
    RUN(threads_beside_each_other);
    RUN(two_threads_fork_at_once);
    RUN(a_fork_inside);
#ifdef __linux__
    RUN(no_more_memory);
    RUN(a_fork_without_a_copy);
    RUN(a_raw_clone_of_the_same_number);
#endif
    return check_end();
}
