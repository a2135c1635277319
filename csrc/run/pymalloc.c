/* Python's own allocator for what is up to 512 bytes: its free and realloc overwritten.
 *
 * Before Python starts, the functions that it takes memory for objects by are put behind ours
 * (PyMem_SetAllocator), and those for its arenas of 1 MiB as well (PyObject_SetArenaAllocator),
 * so that an address tells whether the block is one of its own. How large that is says the
 * pool that the block lies in. This is CPython's inner layout, the same from 3.10 on; it is
 * compared with what is there before anything is written by it, and where it differs nothing
 * is: who started the program looks whether freed memory is overwritten. */
#include "overwrite.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

/* ---- CPython's, Include/cpython/{pymem.h,objimpl.h}, Objects/obmalloc.c ---------------- */

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

enum domain { MEM = 1, OBJ = 2, DOMAINS };

enum { POOL = 1 << 14, ARENA = 1 << 20, STEP = 16, LARGEST = 512 };

struct pool_header {
    unsigned count, unused;
    void *free_block;
    struct pool_header *next, *before;
    unsigned arena, class, next_offset, last_offset;
};

typedef void get_allocator(int domain, struct allocator *out);
typedef void set_allocator(int domain, struct allocator *in);
typedef void set_arena_allocator(struct arena_allocator *in);

/* ---- which addresses are pymalloc's ---------------------------------------------------- */

/* A bit for each mebibyte of 48 bits of addresses, in leaves made when the first is needed. */
enum { LEAVES = 1 << 14, LEAF_BITS = 1 << 14 };
typedef _Atomic uint64_t word;
static word *_Atomic leaves[LEAVES];

static word *word_of(uintptr_t at, uint64_t *bit)
{
    uintptr_t number = at / ARENA;
    word *leaf = number / LEAF_BITS < LEAVES
                     ? atomic_load_explicit(&leaves[number / LEAF_BITS], memory_order_relaxed)
                     : NULL;
    *bit = UINT64_C(1) << number % 64;
    return leaf ? leaf + number % LEAF_BITS / 64 : NULL;
}

static bool is_pymallocs(const void *block)
{
    uint64_t bit;
    word *w = word_of((uintptr_t)block, &bit);
    return w && atomic_load_explicit(w, memory_order_relaxed) & bit;
}

static void set_pymallocs(const void *arena, bool is)
{
    uint64_t bit;
    word *w = word_of((uintptr_t)arena, &bit);
    if (is)
        atomic_fetch_or(w, bit);
    else
        atomic_fetch_and(w, ~bit);
}

static bool has_leaf(uintptr_t at)
{
    uintptr_t number = at / ARENA / LEAF_BITS;
    if (number >= LEAVES)
        return false;
    if (leaves[number])
        return true;
    void *made = mmap(NULL, LEAF_BITS / 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                      0);
    word *none = NULL;
    if (made != MAP_FAILED && !atomic_compare_exchange_strong(&leaves[number], &none, made))
        munmap(made, LEAF_BITS / 8); /* another interpreter's thread was faster */
    return leaves[number];
}

static void *map(size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return at == MAP_FAILED ? NULL : at;
}

/* An arena at a multiple of its size, as no other allocator needs it. */
static void *map_arena(void)
{
    uint8_t *at = map(ARENA);
    if (!at || (uintptr_t)at % ARENA == 0)
        return at;
    munmap(at, ARENA);
    if (!(at = map(2 * ARENA)))
        return NULL;
    size_t before = ARENA - (uintptr_t)at % ARENA;
    munmap(at, before); /* at most ARENA: where it is aligned, the first half */
    if (before < ARENA)
        munmap(at + before + ARENA, ARENA - before);
    return at + before;
}

/* Called by CPython with the GIL of some interpreter. Where it fails, what is asked for comes
 * from the C library's heap. */
static void *take_arena(void *ctx, size_t bytes)
{
    (void)ctx;
    if (bytes != ARENA)
        return map(bytes); /* no layout that we know: never told as pymalloc's */
    void *at = map_arena();
    if (at && !has_leaf((uintptr_t)at)) {
        munmap(at, ARENA);
        return NULL;
    }
    if (at)
        set_pymallocs(at, true);
    return at;
}

static void give_arena(void *ctx, void *arena, size_t bytes)
{
    (void)ctx;
    if (bytes == ARENA && is_pymallocs(arena))
        set_pymallocs(arena, false);
    munmap(arena, bytes);
}

/* ---- what is put before CPython's functions -------------------------------------------- */

static struct allocator original[DOMAINS];

static const struct pool_header *pool_of(const void *block)
{
    return (const void *)((uintptr_t)block & ~(uintptr_t)(POOL - 1));
}

static size_t room(const void *block) { return (pool_of(block)->class + 1) * (size_t)STEP; }

/* Whether a block of each kind lies as the layout above says. */
static bool is_laid_out(const struct allocator *by)
{
    bool well = true;
    for (size_t bytes = 1; bytes <= LARGEST && well; bytes += bytes % STEP ? STEP - 1 : 1) {
        void *block = by->malloc(by->ctx, bytes);
        if (!block)
            return false;
        const struct pool_header *pool = pool_of(block);
        size_t offset = (uintptr_t)block % POOL;
        well = is_pymallocs(block) && pool->class == (bytes - 1) / STEP && offset >= sizeof *pool &&
               (offset - sizeof *pool) % room(block) == 0 &&
               pool->last_offset == POOL - room(block) && pool->count > 0 &&
               pool->count <= (POOL - sizeof *pool) / room(block);
        by->free(by->ctx, block);
    }
    return well;
}

/* Looked at once, when the first block is let go; that is before Python has threads. */
static bool knows_layout(void)
{
    enum { UNKNOWN, LIKE_OURS, OTHER };
    static _Atomic int layout;
    int known = atomic_load_explicit(&layout, memory_order_relaxed);
    if (known == UNKNOWN) {
        known = is_laid_out(&original[OBJ]) ? LIKE_OURS : OTHER;
        atomic_store(&layout, known);
    }
    return known == LIKE_OURS;
}

/* By steps: most are an int or a str of two, for which a call of memset takes longer. */
static inline void overwrite_steps(void *block, size_t bytes)
{
    enum { BY_CALL = 256 };
    if (bytes >= BY_CALL) {
        overwrite(block, bytes);
        return;
    }
    for (uint8_t *at = block, *end = at + bytes; at < end; at += STEP)
        overwrite(at, STEP);
}

static inline void let_go(const struct allocator *by, void *block)
{
    if (is_pymallocs(block) && knows_layout())
        overwrite_steps(block, room(block));
    by->free(by->ctx, block);
}

/* As CPython's: in place where no more than a quarter is won by a move. */
static void *resize(const struct allocator *by, void *block, size_t bytes)
{
    if (!block || !is_pymallocs(block) || !knows_layout())
        return by->realloc(by->ctx, block, bytes); /* the C library's, by realloc() */
    size_t had = room(block);
    bool stays = bytes <= had && 4 * bytes > 3 * had;
    void *to = stays ? NULL : by->malloc(by->ctx, bytes);
    if (!to && bytes > had)
        return NULL;
    if (!to) {
        overwrite((uint8_t *)block + bytes, had - bytes);
        return block;
    }
    memcpy(to, block, bytes < had ? bytes : had);
    let_go(by, block);
    return to;
}

static void free_mem(void *ctx, void *block) { (void)ctx, let_go(&original[MEM], block); }

static void free_obj(void *ctx, void *block) { (void)ctx, let_go(&original[OBJ], block); }

static void *realloc_mem(void *ctx, void *block, size_t bytes)
{
    (void)ctx;
    return resize(&original[MEM], block, bytes);
}

static void *realloc_obj(void *ctx, void *block, size_t bytes)
{
    (void)ctx;
    return resize(&original[OBJ], block, bytes);
}

/* ---- before main ----------------------------------------------------------------------- */

static void put_before(set_allocator *set, enum domain domain)
{
    struct allocator ours = original[domain];
    ours.free = domain == MEM ? free_mem : free_obj;
    ours.realloc = domain == MEM ? realloc_mem : realloc_obj;
    set((int)domain, &ours);
}

/* The program may be no Python, or one that has the symbols to itself: then nothing is done. */
__attribute__((constructor)) static void begin(void)
{
    get_allocator *get = (get_allocator *)(uintptr_t)dlsym(RTLD_DEFAULT, "PyMem_GetAllocator");
    set_allocator *set = (set_allocator *)(uintptr_t)dlsym(RTLD_DEFAULT, "PyMem_SetAllocator");
    set_arena_allocator *set_arenas = (set_arena_allocator *)(uintptr_t)dlsym(
        RTLD_DEFAULT, "PyObject_SetArenaAllocator");
    if (!get || !set || !set_arenas)
        return;
    set_arenas(&(struct arena_allocator){.alloc = take_arena, .free = give_arena});
    for (enum domain domain = MEM; domain < DOMAINS; domain++) {
        get((int)domain, &original[domain]);
        put_before(set, domain);
    }
}
