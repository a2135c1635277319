/* Secretmem from a budget that a user's processes share. A page of it is charged when it is first
 * touched, and past the budget a store would be SIGBUS. Kernels since the fix of CVE-2026-93243 do
 * so themselves. For older ones this file does it, by calls of its own in place of the system's. */
#include "arenas.h"
#include "calls.h"
#include "os/os.h"
#include "vault/state.h"

#ifdef __linux__
#include "linux.h"

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

static struct sa_why why;
static bool simulated;
static size_t budget; /* pages, as we simulate it */

static size_t page(void) { return os_page_size(); }

/* ---- the kernel, as it is since the fix --------------------------------------------------- */

static struct {
    unsigned long inode;
    size_t pages;
} charged[8192];
static size_t inodes;

/* The file of secretmem mapped at an address, 0: none is; and the pages that are charged for all
 * files mapped somewhere. */
static unsigned long look_up(uintptr_t at, size_t *pages)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    CHECK(maps);
    unsigned long start, end, inode, here = 0;
    static bool live[8192];
    char line[512];
    memset(live, 0, sizeof live);
    while (fgets(line, sizeof line, maps)) {
        if (!strstr(line, "secretmem") ||
            sscanf(line, "%lx-%lx %*s %*s %*s %lu", &start, &end, &inode) != 3)
            continue;
        if (start <= at && at < end)
            here = inode;
        for (size_t i = 0; i < inodes; i++)
            live[i] |= charged[i].inode == inode;
    }
    fclose(maps);
    *pages = 0;
    for (size_t i = 0; i < inodes; i++) {
        if (!live[i])
            charged[i].pages = 0; /* the number may come again */
        *pages += charged[i].pages;
    }
    return here;
}

/* Whether the kernel may touch a page for us. */
static bool may_touch(void *at)
{
    static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
    unsigned char there = 0;
    void *start = (void *)((uintptr_t)at / page() * page());
    size_t pages;
    if (mincore(start, page(), &there) || there & 1)
        return true;
    pthread_mutex_lock(&one);
    unsigned long inode = look_up((uintptr_t)at, &pages);
    bool may = !inode || pages < budget;
    if (inode && may) {
        size_t i = 0;
        while (i < inodes && charged[i].inode != inode)
            i++;
        CHECK(i < sizeof charged / sizeof charged[0]);
        inodes += i == inodes;
        charged[i].inode = inode;
        charged[i].pages++;
    }
    pthread_mutex_unlock(&one);
    return may;
}

long syscall(long number, ...)
{
    static long (*real)(long, ...);
    long a[6];
    TAKE_SIX(number, a);
    FIND_REAL(real, "syscall");
    void *at = (void *)(a[1] ? a[1] : a[2]);
    if (simulated && number == SYS_rt_sigprocmask && at && !may_touch(at)) {
        errno = EFAULT;
        return -1;
    }
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int madvise(void *at, size_t bytes, int advice)
{
    static int (*real)(void *, size_t, int);
    FIND_REAL(real, "madvise");
    return simulated && advice == MADV_DONTNEED ? 0 : real(at, bytes, advice);
}

/* Whether every page of secretmem that is there was charged: else a store of our own touched it
 * first, and would have been SIGBUS had the budget been spent. */
static void all_were_charged(void)
{
    if (!simulated)
        return; /* then the kernel tells by itself */
    FILE *maps = fopen("/proc/self/maps", "re");
    CHECK(maps);
    unsigned long start, end;
    size_t there = 0, pages;
    char line[512];
    while (fgets(line, sizeof line, maps))
        if (strstr(line, "secretmem") && sscanf(line, "%lx-%lx", &start, &end) == 2)
            for (unsigned long at = start; at < end; at += page()) {
                unsigned char one = 0;
                SAME(mincore((void *)at, page(), &one), 0);
                there += one & 1;
            }
    fclose(maps);
    (void)look_up(0, &pages);
    CHECK(there <= pages);
}

/* ---- and its user -------------------------------------------------------------------------- */

enum { PAGES = 64 };

/* What a process that an earlier test left behind had taken comes back a moment after its end. */
static void wait_for_all(size_t pages)
{
    size_t had = 0;
    for (int turn = 0; turn < 1000 && had < pages; turn++, pause_ms(10)) {
        int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
        SAME(ftruncate(fd, (off_t)(pages * page())), 0);
        uint8_t *at = mmap(NULL, pages * page(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        for (had = 0; had < pages && os_may_write(at + had * page()); had++)
            ;
        munmap(at, pages * page());
    }
    SAME(had, pages);
}

/* The pages that are to be had from here on, of secretmem and, unless simulated, of other locked
 * memory too. False: there is no secretmem, or no way to simulate it. */
static bool have(size_t pages)
{
    int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
    if (fd < 0)
        return false;
    SAME(ftruncate(fd, (off_t)page()), 0);
    void *one = mmap(NULL, page(), PROT_NONE, MAP_SHARED, fd, 0);
    close(fd);
    if (one == MAP_FAILED)
        return false;
    simulated = madvise(one, page(), MADV_DONTNEED) != 0; /* it counts as locked */
    munmap(one, page());
    budget = pages;
    if (!simulated) {
        nobody_with_lock_limit(pages * page());
        wait_for_all(pages);
    } else if (os_lock_limit() == SIZE_MAX) { /* CAP_IPC_LOCK: it does not help in the other case */
        limit(RLIMIT_MEMLOCK, pages * page(), pages * page());
    } else {
        return false;
    }
    OK(vault_enter(&why));
    return true;
}

#define NEED(pages) \
    if (under_valgrind()) \
        SKIP("valgrind knows no secretmem"); \
    if (!have(pages)) \
    SKIP("there is no secretmem, or a kernel that charges it by length limits it")

/* Another process of the user takes all the pages that are left, or gives them back. */
static pid_t other;
static void others_take(void)
{
    int ready[2];
    char byte = 0;
    if (simulated) {
        (void)look_up(0, &budget);
        return;
    }
    SAME(pipe(ready), 0);
    if ((other = fork()) == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
        SAME(ftruncate(fd, (off_t)(2 * PAGES * page())), 0);
        uint8_t *at = mmap(NULL, 2 * PAGES * page(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        for (size_t i = 0; i < 2 * PAGES && os_may_write(at + i * page()); i++)
            ;
        SAME(write(ready[1], &byte, 1), 1);
        for (;;)
            pause();
    }
    close(ready[1]);
    SAME(read(ready[0], &byte, 1), 1);
    close(ready[0]);
}

static void others_give(void)
{
    budget = PAGES;
    if (!simulated) {
        SAME(kill(other, SIGKILL), 0);
        SAME(waitpid(other, NULL, 0), other);
    }
}

static unsigned of(struct sa_arena *a) { return sa_protection_of(a) & (SA_LOCK | SA_SECRETMEM); }

/* ---- tests ----------------------------------------------------------------------------------- */

/* Three times as many as there is room for: none dies, and each says what it has. */
TEST(more_than_the_budget)
{
    static struct sa_arena arenas[3 * PAGES];
    NEED(PAGES);
    no_marker();
    for (int round = 0; round < 3; round++) {
        unsigned secret = 0;
        for (unsigned i = 0; i < 3 * PAGES; i++) {
            make(&arenas[i], 100, 1, i);
            secret += !!(of(&arenas[i]) & SA_SECRETMEM);
            if (simulated || i < 2 * PAGES) /* mlock's account is another, of the same size */
                CHECK(of(&arenas[i]) & SA_LOCK);
        }
        SAME(secret, PAGES);
        SAME(status().secretmem_bytes, PAGES * page());
        SAME(status().secretmem_limit, PAGES * page());
        CHECK(status().charges_users);
        all_were_charged();
        for (unsigned i = 0; i < 3 * PAGES; i++)
            CHECK(is_content(raw(&arenas[i]), 100, i));
        SAME(lockdown(), 3 * PAGES);
        for (unsigned i = 0; i < 3 * PAGES; i++)
            sa_close(&arenas[i]);
    }
    unsigned missing;
    struct sa_why first;
    CHECK(sa_shortfall(&missing, &first));
    CHECK(missing & SA_SECRETMEM);
    CHECK(!strcmp(first.limit, "RLIMIT_MEMLOCK") && first.whose && first.hint);
    CHECK(simulated ? strstr(first.whose, "user") != NULL : true);
}

/* Few that live keep no others from the budget, whichever they are. */
TEST(one_that_lives_pins_itself_alone)
{
    static struct sa_arena arenas[PAGES], more[PAGES];
    NEED(PAGES);
    for (unsigned i = 0; i < PAGES; i++)
        make(&arenas[i], 100, 1, i);
    for (unsigned i = 0; i < PAGES; i++)
        if (i % 16)
            sa_close(&arenas[i]);
    struct sa_arena large = {0};
    make(&large, (PAGES - PAGES / 16) * page(), 1, 1);
    CHECK(of(&large) & SA_SECRETMEM);
    all_were_charged();
    sa_close(&large);
    for (unsigned i = 0; i < PAGES - PAGES / 16; i++) {
        make(&more[i], 100, 1, i);
        CHECK(of(&more[i]) & SA_SECRETMEM);
    }
}

/* What is parked does not keep the user's other processes short. */
TEST(little_stays_parked)
{
    static struct sa_arena arenas[PAGES];
    NEED(PAGES);
    for (unsigned i = 0; i < PAGES; i++)
        make(&arenas[i], 100, 1, i);
    vault.emptied_ms = os_about_now_ms(); /* or all would go with the last */
    for (unsigned i = 0; i < PAGES; i++)
        sa_close(&arenas[i]);
    CHECK(status().secretmem_bytes <= PAGES * page() / 16);
    CHECK(status().secretmem_bytes > 0);
}

/* The kernel is asked each time, and our own sums are not believed. */
TEST(others_take_the_budget_and_give_it_back)
{
    struct sa_arena a = {0}, b = {0}, c = {0};
    NEED(PAGES);
    make(&a, 100, 1, 1);
    CHECK(of(&a) & SA_SECRETMEM);
    others_take();
    make(&b, 100, 1, 2);
    SAME(of(&b), SA_LOCK);
    SAME(sa_arena_make_with(&c, 100, 1, SA_SECRETMEM, &why), SA_UNPROTECTED);
    SAME(why.missing, SA_SECRETMEM);
    CHECK(strstr(why.whose, "user") && why.hint && why.error);
    SAME(why.allowed, PAGES * page());
    OK(sa_arena_make_with(&c, 100, 1, SA_LOCK, &why));
    SAME(of(&c), SA_LOCK);
    sa_close(&c);
    others_give();
    OK(sa_arena_make_with(&c, 100, 1, SA_SECRETMEM, &why));
    CHECK(of(&c) & SA_SECRETMEM);
    all_were_charged();
}

/* Of a pair of slots for the sake of another address each time, neither is a lesser one. */
TEST(made_and_closed_while_others_have_the_rest)
{
    struct sa_arena a = {0};
    NEED(PAGES);
    make(&a, 100, 1, 1);
    others_take();
    for (int i = 0; i < 100; i++) {
        sa_close(&a);
        make(&a, 100, 1, 2);
        CHECK(of(&a) & SA_SECRETMEM);
    }
}

static void rotates(size_t size)
{
    struct sa_arena a = {0};
    make(&a, size, 1, 3);
    CHECK(of(&a) & SA_SECRETMEM);
    others_take();
    uint8_t *before = raw(&a);
    SAME(sa_rotate(&a, 0, &why), SA_UNPROTECTED);
    CHECK(why.missing & SA_SECRETMEM && why.call);
    CHECK(raw(&a) == before && is_content(before, size, 3));
    CHECK(of(&a) & SA_SECRETMEM);
    OK(sa_check(&a));
    others_give();
    OK(sa_rotate(&a, 0, &why));
    CHECK(raw(&a) != before && is_content(raw(&a), size, 3));
    CHECK(of(&a) & SA_SECRETMEM);
    all_were_charged();
    sa_close(&a);
}

TEST(rotation_never_lowers)
{
    NEED(PAGES);
    rotates(100);
    rotates(3 * page());
    rotates(20 * page());
}

/* One that was made of less may stay so. */
TEST(what_has_less_can_rotate)
{
    struct sa_arena a = {0};
    NEED(PAGES);
    others_take();
    make(&a, 100, 1, 3);
    SAME(of(&a), SA_LOCK);
    OK(sa_rotate(&a, 0, &why));
    CHECK(of(&a) & SA_LOCK);
    others_give();
    OK(sa_rotate(&a, 0, &why));
    CHECK(is_content(raw(&a), 100, 3));
}

/* Cells: those of secretmem first, then locked ones, and back as soon as there is room. */
TEST(pools)
{
    enum { N = 5 * 84 }; /* five pages of 48-byte cells */
    static struct sa_arena arenas[N];
    struct sa_pool *pool;
    struct sa_arena one = {0};
    NEED(PAGES);
    OK(sa_pool_make(&pool, &why));
    unsigned secret = 0, locked = 0;
    for (unsigned i = 0; i < N; i++) {
        if (i == 1)
            others_take();
        OK(sa_pool_alloc(pool, &arenas[i], 32, &why));
        put_content(arena_bytes(&arenas[i]), 32, i);
        OK(sa_fill_end(&arenas[i], true));
        secret += !!(of(&arenas[i]) & SA_SECRETMEM);
        locked += !!(of(&arenas[i]) & SA_LOCK);
    }
    SAME(locked, N);
    SAME(secret, page() / 48 < N ? page() / 48 : N);
    OK(sa_pool_alloc(pool, &one, 32, &why));
    SAME(of(&one), SA_LOCK);
    sa_close(&one);
    sa_close(&arenas[3]); /* of secretmem: it is the next one */
    OK(sa_pool_alloc(pool, &arenas[3], 32, &why));
    OK(sa_fill_end(&arenas[3], true));
    CHECK(of(&arenas[3]) & SA_SECRETMEM);
    SAME(sa_rotate(&arenas[3], 0, &why), SA_UNPROTECTED); /* to a lesser cell: no */
    CHECK(of(&arenas[3]) & SA_SECRETMEM);
    (void)sa_require(SA_SECRETMEM);
    SAME(sa_pool_alloc(pool, &one, 32, &why), SA_UNPROTECTED);
    CHECK(why.missing & SA_SECRETMEM && why.whose);
    others_give();
    OK(sa_pool_alloc(pool, &one, 32, &why));
    CHECK(of(&one) & SA_SECRETMEM);
    OK(sa_rotate(&arenas[3], 0, &why));
    all_were_charged();
    for (unsigned i = 0; i < N; i++)
        sa_close(&arenas[i]);
    sa_close(&one);
    OK(sa_pool_alloc(pool, &one, 32, &why)); /* no lesser slab was kept */
    CHECK(of(&one) & SA_SECRETMEM);
    sa_close(&one);
    sa_pool_free(pool);
}

/* Large ones: whole, or not at all; of 16 MiB and more not even tried. */
TEST(large_arenas)
{
    enum { HUGE_BYTES = 17 << 20 };
    struct sa_arena a = {0}, b = {0};
    NEED(PAGES);
    make(&a, 40 * page(), 1, 1);
    CHECK(of(&a) & SA_SECRETMEM);
    make(&b, 40 * page(), 1, 2);
    SAME(of(&b), SA_LOCK);
    CHECK(is_content(raw(&b), 40 * page(), 2));
    all_were_charged();
    sa_close(&a);
    sa_close(&b);
    SAME(status().secretmem_bytes, 0);
    OK(sa_arena_make(&a, HUGE_BYTES, 1, &why));
    CHECK(!(of(&a) & SA_SECRETMEM));
    unsigned char some[64];
    SAME(
        mincore((void *)((uintptr_t)arena_bytes(&a) / page() * page() + page()), 64 * page(), some),
        0);
    if (of(&a) & SA_LOCK)
        CHECK(is_all(some, 64, 0)); /* none is touched */
}

struct giver {
    struct sa_arena *arena;
    int sock;
    enum sa_code code;
};

static void *gives(void *with)
{
    struct giver *g = with;
    struct sa_why mine;
    g->code = sa_hand_over(g->arena, g->sock, 20000, &mine);
    return NULL;
}

static bool hand(struct sa_arena *from, struct sa_arena *to, size_t size)
{
    int ends[2];
    pthread_t thread;
    bool shared;
    SAME(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    struct giver g = {.arena = from, .sock = ends[0]};
    SAME(pthread_create(&thread, NULL, gives, &g), 0);
    OK(sa_take_over(to, size, ends[1], 20000, &shared, &why));
    SAME(pthread_join(thread, NULL), 0);
    OK(g.code);
    close(ends[0]);
    close(ends[1]);
    return shared;
}

/* A receiver without room gets it through the socket. */
TEST(handed_over_at_the_limit)
{
    struct sa_arena from = {0}, to = {0};
    NEED(PAGES);
    make(&from, 100, 1, 5);
    CHECK(hand(&from, &to, 100)); /* while there is room: by shared pages */
    CHECK(is_content(raw(&to), 100, 5) && of(&to) & SA_SECRETMEM);
    all_were_charged();
    sa_close(&to);
    others_take();
    for (int i = 0; i < 5; i++) {
        (void)hand(&from, &to, 100);
        CHECK(is_content(raw(&to), 100, 5) && of(&to) & SA_LOCK);
        if (i < 4)
            sa_close(&to);
    }
    (void)sa_require(SA_SECRETMEM);
    struct sa_arena more[3] = {{0}};
    enum sa_code code = SA_OK;
    int ends[2], n = 0;
    bool shared;
    while (n < 3 && !(code = sa_arena_make(&more[n], 100, 1, &why)))
        n++; /* what is left */
    SAME(code, SA_UNPROTECTED);
    SAME(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    sa_close(&to);
    if (n < 3 && (code = sa_take_over(&to, 100, ends[1], 100, &shared, &why)) != SA_OS_ERROR)
        SAME(code, SA_UNPROTECTED); /* or there was nobody to give it, once that had a page */
}

/* A receiver that offers pages it never touched, with the budget spent, does the giver no harm. */
TEST(pages_offered_untouched)
{
    struct sa_arena from = {0};
    NEED(PAGES);
    make(&from, 100, 1, 5);
    others_take();
    int ends[2], fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
    SAME(ftruncate(fd, (off_t)page()), 0);
    SAME(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    struct {
        char kind, spare[7];
        uint64_t offset, bytes;
    } offer = {'P', {0}, page() - 100, page()};
    size_t sent;
    SAME(os_socket_send(ends[1], &offer, sizeof offer, fd, &sent), 0);
    pthread_t thread;
    struct giver g = {.arena = &from, .sock = ends[0]};
    SAME(pthread_create(&thread, NULL, gives, &g), 0);
    char answer = 0;
    SAME(read(ends[1], &answer, 1), 1);
    SAME(answer, 'R');
    close(ends[1]);
    SAME(pthread_join(thread, NULL), 0);
    SAME(g.code, SA_OS_ERROR);
    CHECK(is_content(raw(&from), 100, 5));
    all_were_charged();
}

/* A child has arenas of its own, at the limit as elsewhere, and gives back what it took. */
TEST(forked_at_the_limit)
{
    static struct sa_arena arenas[PAGES];
    NEED(PAGES);
    for (unsigned i = 0; i < PAGES; i++)
        make(&arenas[i], 100, 1, i);
    pid_t child = fork();
    if (child == 0) {
        struct sa_arena mine = {0};
        make(&mine, 100, 1, 7);
        CHECK(simulated || !(of(&mine) & SA_SECRETMEM));
        CHECK(is_content(raw(&mine), 100, 7));
        _exit(0);
    }
    int end;
    SAME(waitpid(child, &end, 0), child);
    SAME(end, 0);
    for (unsigned i = 0; i < PAGES; i++)
        CHECK(is_content(raw(&arenas[i]), 100, i));
    all_were_charged();
}
#endif

int main(int argc, char **argv)
{
    NEEDS_TAKEN_CALLS("test_budget");
    check_begin("test_budget", argc, argv);
#ifdef __linux__
    RUN(more_than_the_budget);
    RUN(one_that_lives_pins_itself_alone);
    RUN(little_stays_parked);
    RUN(others_take_the_budget_and_give_it_back);
    RUN(made_and_closed_while_others_have_the_rest);
    RUN(rotation_never_lowers);
    RUN(what_has_less_can_rotate);
    RUN(pools);
    RUN(large_arenas);
    RUN(handed_over_at_the_limit);
    RUN(pages_offered_untouched);
    RUN(forked_at_the_limit);
#endif
    return check_end();
}
