/* What the library of `run` does to glibc's heap. Exit status 0: all well.
 *
 *     heap          blocks let go, shrunk and grown, of every size, in threads too
 *     heap twice    lets a block go twice, which glibc must still find: SIGABRT
 *     heap wild     lets go of what is no block, likewise
 *     heap another  whether blocks of another allocator stay as they are
 */
#include "try.h"

#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The compiler knows malloc and free by name, and drops stores that nobody reads. */
static void *(*volatile make)(size_t) = malloc;
static void *(*volatile make_zeroed)(size_t, size_t) = calloc;
static void *(*volatile resize)(void *, size_t) = realloc;
static void (*volatile let_go)(void *) = free;

enum { LINKS = 48, MAPPED_FROM = 128 << 10 }; /* what glibc itself writes at a block's start */

/* What the compiler knows of a block that was let go counts for nothing: it is read anew. */
static const uint8_t *seen(const volatile uint8_t *at)
{
    const uint8_t *now = (const uint8_t *)at;
    __asm__ volatile("" : "+r"(now) : : "memory");
    return now;
}

static size_t left(const volatile uint8_t *at, size_t bytes)
{
    const uint8_t *now = seen(at);
    size_t count = 0;
    for (size_t i = 0; i < bytes; i++)
        count += now[i] == 0xa7;
    return count;
}

/* Whether so much is in a row that it cannot be anything else: where a free block lay or lies,
 * glibc's links and its random key, or our own mark, have single bytes of any value. */
static bool is_left(const volatile uint8_t *at, size_t bytes)
{
    enum { ROW = 4 };
    size_t row = 0;
    for (size_t i = 0; i < bytes && row < ROW; i++)
        row = at[i] == 0xa7 ? row + 1 : 0;
    return row == ROW;
}

static uint8_t *filled(size_t bytes)
{
    uint8_t *block = make(bytes);
    CHECK(block);
    return memset(block, 0xa7, bytes);
}

/* Of memory that stays mapped: a block behind keeps the heap from ending there. */
static void let_go_of(size_t bytes)
{
    uint8_t *block = filled(bytes), *behind = filled(64);
    uintptr_t at = (uintptr_t)block;
    let_go(block);
    CHECK(left((const uint8_t *)at, bytes) < LINKS);
    CHECK(left(behind, 64) == 64);
    let_go(behind);
}

static void give_size(size_t had, size_t wanted)
{
    uint8_t *block = filled(had), *behind = filled(64);
    uintptr_t at = (uintptr_t)block;
    size_t kept = had < wanted ? had : wanted;
    uint8_t *to = resize(block, wanted);
    CHECK(to && left(to, kept) == kept && left(behind, 64) == 64);
    if (had < MAPPED_FROM && (uintptr_t)to != at)
        CHECK(left((const uint8_t *)at, had) < LINKS);
    if ((uintptr_t)to == at && wanted < had)
        CHECK(left((const uint8_t *)at + wanted, had - wanted) < LINKS);
    let_go(to);
    let_go(behind);
}

/* Up and down by random steps, small and large: what was given up is never there. */
static void give_sizes(unsigned seed)
{
    enum { STEPS = 3000, OVER = 16, MOST = 200000 };
    size_t had = 100;
    uint8_t *block = filled(had);
    for (unsigned step = 0; step < STEPS; step++) {
        seed = seed * 1103515245 + 12345;
        size_t by = seed >> 12 & (seed >> 8 & 1 ? 0x3fff : 0x3f);
        size_t wanted = seed >> 9 & 3 || by >= had ? (had + by) % MOST + 1 : had - by;
        size_t kept = had < wanted ? had : wanted;
        block = resize(block, had = wanted);
        CHECK(block && left(block, kept) == kept);
        CHECK(left(block + had, malloc_usable_size(block) - had) < OVER);
        memset(block, 0xa7, had);
    }
    let_go(block);
}

/* By a little at a time: to move each time would take time by the square of the size. */
static void grow_slowly(void)
{
    enum { FROM = 1000, TO = 100000, STEP = 16, MOVES = 60 };
    uint8_t *block = filled(FROM);
    int moves = 0;
    for (size_t bytes = FROM + STEP; bytes < TO; bytes += STEP) {
        uintptr_t was = (uintptr_t)block;
        block = resize(block, bytes);
        CHECK(block && block[bytes - STEP - 1] == 0xa7);
        memset(block + bytes - STEP, 0xa7, STEP);
        moves += (uintptr_t)block != was;
    }
    CHECK(moves < MOVES);
    let_go(block);
}

/* Wholly into what it has over, though written in part alone, and back. */
static void grow_to_the_end(void)
{
    enum { SMALL = 3000, LARGE = 4000, UNWRITTEN = 20, LESS = 100 };
    uint8_t *block = resize(filled(SMALL), LARGE);
    CHECK(block);
    size_t all = malloc_usable_size(block);
    block = resize(block, all);
    CHECK(block && malloc_usable_size(block) == all);
    memset(block, 0xa7, all - UNWRITTEN);
    CHECK(resize(block, all - LESS) == block && !is_left(block + all - LESS, LESS));
    CHECK(left(block + all - LESS, malloc_usable_size(block) - (all - LESS)) == 0);
    let_go(block);
}

/* So many in a row that some end where a page does, as a heap may. */
static void let_go_of_many(void)
{
    enum { MANY = 1200, BYTES = 1000 };
    uint8_t *blocks[MANY];
    for (int i = 0; i < MANY; i++)
        blocks[i] = filled(BYTES);
    uint8_t *behind = filled(BYTES);
    for (int i = 0; i < MANY; i++) {
        uintptr_t at = (uintptr_t)blocks[i];
        let_go(blocks[i]);
        CHECK(left((const uint8_t *)at, BYTES) < LINKS);
    }
    let_go(behind);
}

static void *work(void *unused)
{
    static const size_t sizes[] = {1, 8, 24, 25, 100, 1032, 1033, 5000, 70000, 120000};
    enum { SIZES = sizeof sizes / sizeof sizes[0] };
    for (unsigned turn = 0; turn < 20; turn++)
        for (size_t i = 0; i < SIZES; i++) {
            let_go_of(sizes[i]);
            for (size_t k = 0; k < SIZES; k++)
                give_size(sizes[i], sizes[k]);
            uint8_t *zeroed = make_zeroed(sizes[i], 1);
            CHECK(zeroed);
            for (size_t k = 0; k < sizes[i]; k++)
                CHECK(zeroed[k] == 0);
            let_go(zeroed);
        }
    static const size_t mapped[] = {1 << 20, 3 << 20, 100000, 5 << 20, 200};
    uint8_t *block = filled(300000);
    size_t had = 300000;
    for (size_t i = 0; i < 5; i++) {
        size_t kept = had < mapped[i] ? had : mapped[i];
        block = resize(block, mapped[i]);
        CHECK(block && left(block, kept) == kept);
        CHECK(!is_left(block + kept, malloc_usable_size(block) - kept));
        memset(block, 0xa7, had = mapped[i]);
    }
    let_go(block);
    for (unsigned seed = 1; seed < 5; seed++)
        give_sizes(seed);
    grow_slowly();
    grow_to_the_end();
    let_go_of_many();
    CHECK(resize(filled(200), SIZE_MAX / 2) == NULL);
    return unused;
}

static void stay_as_they_are(void)
{
    for (size_t bytes = 1; bytes < 3000; bytes += 7) {
        uint8_t *block = filled(bytes), *to = resize(block, bytes + 1000);
        CHECK(to && to != block && left(to, bytes) == bytes && left(block, bytes) == bytes);
        let_go(block);
        CHECK(left(block, bytes) == bytes);
    }
}

int main(int argc, char **argv)
{
    make = malloc; /* taken by code: a program that has a fixed place then lends it one there */
    if (argc > 1 && !strcmp(argv[1], "twice")) {
        uint8_t *block = filled(atoi(argv[2]) ? (size_t)atoi(argv[2]) : 32);
        let_go(block);
        let_go(block);
    } else if (argc > 1 && !strcmp(argv[1], "another")) {
        stay_as_they_are();
        puts("ok");
    } else if (argc > 1) {
        static _Alignas(16) uint8_t none[4096];
        let_go(none + 2048 + 8);
    } else {
        pthread_t threads[3];
        for (int i = 0; i < 3; i++)
            CHECK(pthread_create(&threads[i], NULL, work, NULL) == 0);
        (void)work(NULL);
        for (int i = 0; i < 3; i++)
            pthread_join(threads[i], NULL);
        puts("ok");
    }
    return 0;
}
