/* What one user can hold of secrets that are locked, and what a first touch of secretmem costs.
 *
 *     figures hold PROCESSES isolated|pool     until one is not locked, in each process at once
 *     figures touch                            by a system call against by a store, in one run
 *
 * Prints one line of figures. */
#include "arenas.h"
#include "os/os.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

enum { SECRET = 32, MOST = 400000, PAGES = 1024, ROUNDS = 8 };

static struct sa_why why;

struct held {
    size_t locked, secretmem;
};

/* Make them until one is not locked, and keep them. */
static struct held hold(bool pooled)
{
    static struct sa_arena arenas[MOST];
    struct sa_pool *pool = NULL;
    struct held held = {0, 0};
    no_marker();
    if (pooled)
        OK(sa_pool_make(&pool, &why));
    for (size_t i = 0; i < MOST; i++) {
        OK(pooled ? sa_pool_alloc(pool, &arenas[i], SECRET, &why)
                  : sa_arena_make(&arenas[i], SECRET, 1, &why));
        memset(arena_bytes(&arenas[i]), 'x', SECRET);
        OK(sa_fill_end(&arenas[i], true));
        unsigned has = sa_protection_of(&arenas[i]);
        if (!(has & SA_LOCK))
            break;
        held.locked++;
        held.secretmem += !!(has & SA_SECRETMEM);
    }
    return held;
}

/* All at once, and none gives anything back before the last is done. */
static void holds(int processes, bool pooled)
{
    int told[2], over[2];
    struct held one, all = {0, 0};
    SAME(pipe(told), 0);
    SAME(pipe(over), 0);
    for (int i = 0; i < processes; i++) {
        if (fork() == 0) {
            char end;
            close(over[1]);
            one = hold(pooled);
            SAME(write(told[1], &one, sizeof one), sizeof one);
            SAME(read(over[0], &end, 1), 0);
            _exit(0);
        }
    }
    close(told[1]);
    for (int i = 0; i < processes; i++) {
        SAME(read(told[0], &one, sizeof one), sizeof one);
        all.locked += one.locked;
        all.secretmem += one.secretmem;
    }
    close(over[1]);
    printf("%zu KiB, %d processes, %s: %zu locked, %zu of them in secretmem\n",
           os_lock_limit() >> 10, processes, pooled ? "in a pool" : "isolated", all.locked,
           all.secretmem);
}

/* Nanoseconds for the first touch of each page of a new secretmem. */
static double touch(bool by_call)
{
    size_t page = os_page_size();
    int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
    SAME(fd >= 0 && ftruncate(fd, (off_t)(PAGES * page)) == 0, 1);
    uint8_t *at = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(at != MAP_FAILED);
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (size_t i = 0; i < PAGES; i++) {
        if (by_call)
            CHECK(os_may_write(at + i * page));
        else
            *(volatile uint8_t *)(at + i * page) = 0;
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    munmap(at, PAGES * page);
    close(fd);
    return ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) / PAGES;
}

static int upwards(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* By turns, as a machine's speed changes. */
static void touches(void)
{
    double calls[ROUNDS], stores[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        calls[i] = touch(true);
        stores[i] = touch(false);
    }
    qsort(calls, ROUNDS, sizeof *calls, upwards);
    qsort(stores, ROUNDS, sizeof *stores, upwards);
    printf("first touch of a page of secretmem: %.0f ns by a system call, %.0f ns by a store\n",
           calls[ROUNDS / 2], stores[ROUNDS / 2]);
}

int main(int argc, char **argv)
{
    if (argc == 4 && !strcmp(argv[1], "hold"))
        holds(atoi(argv[2]), !strcmp(argv[3], "pool"));
    else if (argc == 2 && !strcmp(argv[1], "touch"))
        touches();
    else
        return 2;
    return 0;
}
