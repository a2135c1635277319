/* Which blocks the library of `run` takes from a heap that it is lent, in what would be a sheltered
 * call. Exit status 0: all well. Without the library nothing is lent: 1.
 *
 *     lent HEAP     a library of this same file, compiled with -DHEAP, as what lends takes its own
 *                   blocks from the C library. */
#include "try.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "face/lend.h"

enum { PAGE = 4096 };

#ifdef HEAP

/* ---- a heap that never gives a block a second time; its size stands before each ----------- */

enum { ROOM = 8 << 20, HEAD = 16 };
static _Alignas(PAGE) uint8_t memory[ROOM];
static size_t used;
size_t given;
bool spent;
_Atomic unsigned threads;
static _Thread_local bool in_call;

void go_inside(bool is) { in_call = is; }

static bool is_inside(void) { return in_call; }

static bool has(const void *p) { return (uintptr_t)p - (uintptr_t)memory < sizeof memory; }

static size_t size_of(const void *block)
{
    size_t bytes;
    memcpy(&bytes, (const uint8_t *)block - HEAD, sizeof bytes);
    return bytes;
}

static void *take(size_t bytes, size_t alignment, bool zeroed)
{
    size_t at = (used + HEAD + alignment - 1) / alignment * alignment;
    if (spent || bytes > ROOM || at + bytes > ROOM)
        return NULL;
    used = at + (bytes + HEAD - 1) / HEAD * HEAD;
    memcpy(memory + at - HEAD, &bytes, sizeof bytes);
    return memset(memory + at, zeroed ? 0 : 0x5e, bytes);
}

static void give(void *block)
{
    given++;
    memset(block, 0, size_of(block));
}

static void *resize(void *block, size_t bytes)
{
    void *to = take(bytes, HEAD, false);
    if (to) {
        memcpy(to, block, size_of(block) < bytes ? size_of(block) : bytes);
        give(block);
    }
    return to;
}

const struct lent heap = {&threads, is_inside, take, resize, give, has, size_of};

#else

static const struct lent *heap;
static size_t *given;
static bool *spent;
static _Atomic unsigned *threads;
static void (*go_inside)(bool);

static bool has(const void *block) { return heap->has(block); }

static void open_heap(const char *path)
{
    void *file = dlopen(path, RTLD_NOW);
    CHECK(file);
    CHECK((heap = dlsym(file, "heap")) && (given = dlsym(file, "given")));
    CHECK((spent = dlsym(file, "spent")) && (threads = dlsym(file, "threads")));
    CHECK(go_inside = (void (*)(bool))(uintptr_t)dlsym(file, "go_inside"));
}

/* ---- the calls, unknown to the compiler --------------------------------------------------- */

static void *(*volatile make)(size_t) = malloc;
static void *(*volatile make_zeroed)(size_t, size_t) = calloc;
static void *(*volatile resized)(void *, size_t) = realloc;
static void *(*volatile resized_array)(void *, size_t, size_t) = reallocarray;
static void (*volatile let_go)(void *) = free;
static void *(*volatile aligned)(size_t, size_t) = aligned_alloc;
static void *(*volatile aligned_by)(size_t, size_t) = memalign;
static int (*volatile posix_aligned)(void **, size_t, size_t) = posix_memalign;
static void *(*volatile a_page)(size_t) = valloc;
static void *(*volatile whole_pages)(size_t) = pvalloc;
static char *(*volatile copy)(const char *) = strdup;
static char *(*volatile part)(const char *, size_t) = strndup;
extern char *__strdup(const char *), *__strndup(const char *, size_t);
static char *(*volatile copy_as_of_old)(const char *) = __strdup;
static char *(*volatile part_as_of_old)(const char *, size_t) = __strndup;
static size_t (*volatile size)(void *) = malloc_usable_size;

/* One block by each of them. */
enum { WAYS = 14, BYTES = 100 };
static void *block_by(int way)
{
    void *block = NULL;
    switch (way) {
    case 0: return make(BYTES);
    case 1: return make_zeroed(BYTES, 1);
    case 2: return resized(NULL, BYTES);
    case 3: return resized_array(NULL, BYTES, 1);
    case 4: return aligned(64, BYTES);
    case 5: return aligned_by(256, BYTES);
    case 6: return posix_aligned(&block, PAGE, BYTES) ? NULL : block;
    case 7: return a_page(BYTES);
    case 8: return whole_pages(BYTES);
    case 9: return copy("some text");
    case 10: return part("some text", 4);
    case 11: return copy_as_of_old("some text");
    case 12: return part_as_of_old("some text", 4);
    default: return make(0);
    }
}

static void *let_all_go(void *blocks)
{
    for (int way = 0; way < WAYS; way++)
        let_go(((void **)blocks)[way]);
    return NULL;
}

static void take_by_each(bool inside)
{
    static const size_t alignments[WAYS] = {16,   16,   16, 16, 64, 256, PAGE,
                                            PAGE, PAGE, 1,  1,  1,  1,   1};
    void *blocks[WAYS];
    pthread_t thread;
    go_inside(inside);
    for (int way = 0; way < WAYS; way++) {
        blocks[way] = block_by(way);
        CHECK(blocks[way] && has(blocks[way]) == inside);
        CHECK((uintptr_t)blocks[way] % alignments[way] == 0);
    }
    go_inside(false); /* any thread lets them go, at any time */
    CHECK(size(blocks[0]) >= BYTES && size(blocks[8]) >= PAGE && size(NULL) == 0);
    CHECK(!strcmp(blocks[9], "some text") && !strcmp(blocks[10], "some"));
    CHECK(!strcmp(blocks[11], "some text") && !strcmp(blocks[12], "some"));
    for (int i = 0; i < BYTES; i++)
        CHECK(((char *)blocks[1])[i] == 0);
    size_t went = *given;
    CHECK(pthread_create(&thread, NULL, let_all_go, blocks) == 0);
    pthread_join(thread, NULL);
    CHECK(*given - went == (inside ? WAYS : 0));
}

/* One of the heap stays one; one from outside is brought in, and overwritten where it was. */
static void give_sizes(void)
{
    uint8_t *within, *without = memset(make(BYTES), 0xa7, BYTES);
    go_inside(true);
    within = memset(make(BYTES), 0xa7, BYTES);
    uint8_t *was = without;
    without = resized(without, 5 * BYTES);
    CHECK(has(without) && without[BYTES - 1] == 0xa7);
    for (int i = 48; i < BYTES; i++)
        CHECK(was[i] != 0xa7);
    go_inside(false);
    within = resized(within, 3 * BYTES);
    CHECK(has(within) && within[BYTES - 1] == 0xa7);
    size_t went = *given;
    CHECK(resized(within, 0) == NULL && *given == went + 1);
    let_go(without);
}

/* Never ordinary memory. */
static void have_none(void)
{
    void *block = NULL;
    go_inside(true);
    uint8_t *held = memset(make(BYTES), 0xa7, BYTES);
    *spent = true;
    for (int way = 0; way < WAYS; way++) {
        errno = 0;
        CHECK(block_by(way) == NULL && (errno == ENOMEM || way == 6));
    }
    CHECK(resized(held, 2 * BYTES) == NULL && errno == ENOMEM && held[BYTES - 1] == 0xa7);
    *spent = false;
    errno = 0;
    CHECK(make_zeroed(SIZE_MAX, 2) == NULL && errno == ENOMEM);
    CHECK(resized_array(held, SIZE_MAX, 2) == NULL && whole_pages(SIZE_MAX) == NULL);
    CHECK(posix_aligned(&block, 24, BYTES) == EINVAL && posix_aligned(&block, 4, 8) == EINVAL);
    CHECK(aligned(24, BYTES) == NULL && errno == EINVAL && !block);
    go_inside(false);
    let_go(held);
}

/* What the C library takes for itself, and a child needs before there is any heap. */
static void leave_out(void)
{
    char *line = NULL;
    size_t room = 0;
    go_inside(true);
    FILE *file = fopen("/proc/self/maps", "r");
    CHECK(file && !has(file) && getline(&line, &room, file) > 0 && !has(line));
    CHECK(setvbuf(file, NULL, _IOFBF, 100) == 0);
    go_inside(false);
    fclose(file);
    free(line);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    open_heap(argv[1]);
    lend_call *lend = (lend_call *)(uintptr_t)dlsym(RTLD_DEFAULT, LEND);
    take_by_each(false);
    CHECK(lend); /* else the library is not there */
    CHECK(lend(heap));
    CHECK(!lend(heap)); /* another copy's: one heap is enough */
    go_inside(true);
    CHECK(!has(make(BYTES))); /* nobody is inside */
    *threads = 1;
    take_by_each(true);
    take_by_each(false);
    give_sizes();
    have_none();
    leave_out();
    puts("ok");
    return 0;
}

#endif
