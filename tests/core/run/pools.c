/* A program with the allocator that the library of `run` knows, or, with OTHER, one whose pools
 * look different: no Python, so that every byte can be looked at. Exit status 0: all well.
 *
 * Loaded before it, the library asks for these three functions and puts its own before them. */
#include "try.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct allocator {
    void *ctx;
    void *(*malloc)(void *ctx, size_t bytes);
    void *(*calloc)(void *ctx, size_t count, size_t bytes);
    void *(*realloc)(void *ctx, void *block, size_t bytes);
    void (*free)(void *ctx, void *block);
};

struct arena_allocator {
    void *ctx;
    void *(*alloc)(void *ctx, size_t bytes);
    void (*free)(void *ctx, void *arena, size_t bytes);
};

enum { POOL = 1 << 14, ARENA = 1 << 20, STEP = 16, HEADER = 48, LARGEST = 512, MOST = 8 };
#ifdef OTHER
enum { CLASS = 40, LAST = 36 };
#else
enum { CLASS = 36, LAST = 44 };
#endif

static struct arena_allocator arenas;
static uint8_t *made[MOST], *room_in = NULL; /* the next pool, in the last arena */
static size_t count;

static struct {
    uint8_t *pool;
    uint32_t used;
} classes[LARGEST / STEP];

static void put(uint8_t *at, uint32_t value) { memcpy(at, &value, sizeof value); }

static bool is_ours(const void *block)
{
    for (size_t i = 0; i < count; i++)
        if ((uintptr_t)block / ARENA == (uintptr_t)made[i] / ARENA)
            return true;
    return false;
}

static uint8_t *new_pool(void)
{
    if (!room_in || (uintptr_t)room_in % ARENA == 0) {
        CHECK(count < MOST);
        made[count] = room_in = arenas.alloc(arenas.ctx, ARENA);
        CHECK(room_in && (uintptr_t)room_in % ARENA == 0);
        count++;
    }
    room_in += POOL;
    return room_in - POOL;
}

static bool spent; /* then no memory is to be had */

/* A block is never given again: what was let go can be looked at. */
static void *take(void *ctx, size_t bytes)
{
    (void)ctx;
    if (spent)
        return NULL;
    if (bytes > LARGEST)
        return malloc(bytes);
    size_t class = bytes ? (bytes - 1) / STEP : 0, size = (class + 1) * STEP;
    if (!classes[class].pool || HEADER + (classes[class].used + 1) * size > POOL) {
        classes[class].pool = new_pool();
        classes[class].used = 0;
        put(classes[class].pool + CLASS, (uint32_t) class);
        put(classes[class].pool + LAST, (uint32_t)(POOL - size));
    }
    put(classes[class].pool, ++classes[class].used);
    return classes[class].pool + HEADER + (classes[class].used - 1) * size;
}

static void *take_zeroed(void *ctx, size_t count, size_t bytes)
{
    void *block = take(ctx, count * bytes);
    return block ? memset(block, 0, count * bytes) : NULL;
}

static size_t resized, freed;

static void *resize(void *ctx, void *block, size_t bytes)
{
    resized++;
    return block ? realloc(block, bytes) : take(ctx, bytes);
}

static void let_go(void *ctx, void *block)
{
    (void)ctx;
    freed++;
    if (!is_ours(block))
        free(block);
}

static struct allocator in_use[3] = {
    {NULL, take, take_zeroed, resize, let_go},
    {NULL, take, take_zeroed, resize, let_go},
    {NULL, take, take_zeroed, resize, let_go},
};

void PyMem_GetAllocator(int domain, struct allocator *out) { *out = in_use[domain]; }
void PyMem_SetAllocator(int domain, struct allocator *in) { in_use[domain] = *in; }
void PyObject_SetArenaAllocator(struct arena_allocator *in) { arenas = *in; }

static void *new_block(const struct allocator *by, size_t bytes)
{
    uint8_t *block = by->malloc(by->ctx, bytes);
    CHECK(block);
    return memset(block, 0xa7, bytes);
}

static size_t left(const uint8_t *at, size_t bytes)
{
    size_t count = 0;
    for (size_t i = 0; i < bytes; i++)
        count += at[i] == 0xa7;
    return count;
}

/* A block between two others, let go: it is overwritten to its last byte, they are whole. */
static void let_go_of(const struct allocator *by, size_t bytes)
{
    uint8_t *before = new_block(by, bytes), *block = new_block(by, bytes),
            *after = new_block(by, bytes);
    size_t went = freed;
    by->free(by->ctx, block);
    CHECK(freed > went);
    CHECK(left(before, bytes) == bytes && left(after, bytes) == bytes);
#ifdef OTHER
    CHECK(left(block, bytes) == bytes);
#else
    CHECK(left(block, bytes) == 0);
#endif
}

/* To another size: the bytes are there, and no longer where they were. */
static void give_size(const struct allocator *by, size_t had, size_t wanted)
{
    uint8_t *block = new_block(by, had), *next = new_block(by, had);
    size_t kept = had < wanted ? had : wanted, room = (had + STEP - 1) / STEP * STEP;
    uint8_t *to = by->realloc(by->ctx, block, wanted);
    CHECK(to && left(to, kept) == kept && left(next, had) == had);
    if (to == block)
        CHECK(left(block + kept, room - kept) == 0);
    else
        CHECK(left(block, room) == 0);
}

/* Where there is no other block to be had: a smaller one stays where it is. */
static void give_size_without_memory(const struct allocator *by)
{
    enum { HAD = 400, LESS = 100, MORE = 500 };
    uint8_t *block = new_block(by, HAD);
    spent = true;
    CHECK(by->realloc(by->ctx, block, MORE) == NULL && left(block, HAD) == HAD);
    CHECK(by->realloc(by->ctx, block, LESS) == block);
    spent = false;
    CHECK(left(block, LESS) == LESS && left(block + LESS, HAD - LESS) == 0);
}

int main(void)
{
    CHECK(arenas.alloc); /* else the library is not there, and nothing is tried */
    for (int domain = 1; domain < 3; domain++) {
        const struct allocator *by = &in_use[domain];
        CHECK(by->free != let_go && by->malloc == take && by->calloc == take_zeroed);
        for (size_t bytes = 1; bytes <= LARGEST; bytes += 7)
            let_go_of(by, bytes);
#ifdef OTHER
        continue; /* resizing is theirs, which this program does not have */
#endif
        size_t asked = resized;
        static const size_t sizes[] = {1, 15, 16, 17, 100, 128, 400, 512, 513, 5000};
        for (size_t i = 0; i < 8; i++)
            for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++)
                give_size(by, sizes[i], sizes[k]);
        give_size_without_memory(by);
        CHECK(resized == asked);
        CHECK(by->realloc(by->ctx, NULL, 20) && resized == asked + 1);
    }
    while (count)
        arenas.free(arenas.ctx, made[--count], ARENA);
    puts("ok");
    return 0;
}
