/* Functions before Python's allocators: on a thread that is in a sheltered call they take from the
 * heap, and a block of the heap goes back there on any thread.
 *
 * Once in place they stay: a block of ours would otherwise be freed by an allocator that does not
 * know it. Each keeps the context of the function that it stands before, so that a thread that sees
 * half of the change calls one of the two all the same. */
#include "shelter/hooks.h"

#include "base/thread.h"
#include "fatal/levels.h"
#include "os/os.h"
#include "shelter/heap.h"

#include <string.h>

/* Include/cpython/pymem.h; the same since 3.5. */
struct allocator {
    void *ctx;
    void *(*malloc)(void *ctx, size_t bytes);
    void *(*calloc)(void *ctx, size_t count, size_t bytes);
    void *(*realloc)(void *ctx, void *block, size_t bytes);
    void (*free)(void *ctx, void *block);
};

enum domain { RAW, MEM, OBJ, DOMAINS };

typedef void allocator_call(int domain, struct allocator *a);

static struct allocator original[DOMAINS];

/* ---- which threads are inside ----------------------------------------------------------- */

static _Thread_local unsigned depth THREAD_FEW;
static _Atomic unsigned inside_now; /* threads; looked at first, so that idle costs a load */

void hooks_enter(void)
{
    if (!depth++)
        atomic_fetch_add(&inside_now, 1);
}

unsigned hooks_leave(void)
{
    if (!--depth)
        atomic_fetch_sub(&inside_now, 1);
    return depth;
}

unsigned hooks_depth(void) { return depth; }

const _Atomic unsigned *hooks_threads(void) { return &inside_now; }

void hooks_forked(void) { atomic_store(&inside_now, depth != 0); }

/* ---- what stands before ------------------------------------------------------------------- */

/* What comes from within a call, and what goes back to the heap, is told from the rest by as
 * little as possible: a test or two, and a jump with the arguments as they came. */
#define RARELY(condition) __builtin_expect(condition, 0)
#define APART __attribute__((noinline, cold))

static inline bool somebody_inside(void)
{
    return RARELY(atomic_load_explicit(&inside_now, memory_order_relaxed) != 0);
}

static APART void *take_slowly(const struct allocator *by, size_t bytes)
{
    return depth ? heap_take(bytes, false) : by->malloc(by->ctx, bytes);
}

static APART void *take_zeroed_slowly(const struct allocator *by, size_t count, size_t bytes)
{
    size_t all;
    if (!depth)
        return by->calloc(by->ctx, count, bytes);
    return __builtin_mul_overflow(count, bytes, &all) ? NULL : heap_take(all, true);
}

static APART void give_slowly(const struct allocator *by, void *block)
{
    if (heap_has(block))
        heap_give(block);
    else
        by->free(by->ctx, block);
}

/* A block from outside: how large it is only its allocator knows, so that it gets the new size
 * there first. */
static void *bring_in(const struct allocator *by, void *block, size_t bytes)
{
    void *to = heap_take(bytes, false);
    void *there = to ? by->realloc(by->ctx, block, bytes) : NULL;
    if (!there) {
        if (to)
            heap_give(to);
        return NULL;
    }
    memcpy(to, there, bytes);
    memset(there, 0, bytes);
    __asm__ __volatile__("" : : "r"(there) : "memory");
    by->free(by->ctx, there);
    return to;
}

static APART void *resize_slowly(const struct allocator *by, void *block, size_t bytes)
{
    if (block && heap_has(block))
        return heap_resize(block, bytes);
    if (!depth)
        return by->realloc(by->ctx, block, bytes);
    return block ? bring_in(by, block, bytes) : heap_take(bytes, false);
}

#define BEFORE(domain, name) \
    static void *take_##name(void *ctx, size_t bytes) \
    { \
        return somebody_inside() ? take_slowly(&original[domain], bytes) \
                                 : original[domain].malloc(ctx, bytes); \
    } \
    static void *take_zeroed_##name(void *ctx, size_t count, size_t bytes) \
    { \
        return somebody_inside() ? take_zeroed_slowly(&original[domain], count, bytes) \
                                 : original[domain].calloc(ctx, count, bytes); \
    } \
    static void *resize_##name(void *ctx, void *block, size_t bytes) \
    { \
        return somebody_inside() || RARELY(heap_may_have(block)) \
                   ? resize_slowly(&original[domain], block, bytes) \
                   : original[domain].realloc(ctx, block, bytes); \
    } \
    static void give_##name(void *ctx, void *block) \
    { \
        if (RARELY(heap_may_have(block))) \
            give_slowly(&original[domain], block); \
        else \
            original[domain].free(ctx, block); \
    }
BEFORE(RAW, raw)
BEFORE(MEM, mem)
BEFORE(OBJ, obj)
#undef BEFORE

static const struct allocator ours[DOMAINS] = {
    {NULL, take_raw, take_zeroed_raw, resize_raw, give_raw},
    {NULL, take_mem, take_zeroed_mem, resize_mem, give_mem},
    {NULL, take_obj, take_zeroed_obj, resize_obj, give_obj},
};

/* ---- putting them there --------------------------------------------------------------------- */

static bool reach(allocator_call **get, allocator_call **set)
{
    *get = (allocator_call *)(uintptr_t)os_symbol("PyMem_GetAllocator");
    *set = (allocator_call *)(uintptr_t)os_symbol("PyMem_SetAllocator");
    return *get && *set;
}

enum { NOT_YET, UNDER_WAY, INSTALLED };
static _Atomic int hooks_state;

bool hooks_possible(void)
{
    allocator_call *get, *set;
    return atomic_load(&hooks_state) == INSTALLED || reach(&get, &set);
}

bool hooks_install(void)
{
    int before = NOT_YET;
    allocator_call *get, *set;
    if (atomic_load(&hooks_state) == INSTALLED)
        return true;
    if (!reach(&get, &set))
        return false;
    if (!atomic_compare_exchange_strong(&hooks_state, &before, UNDER_WAY)) {
        for (unsigned turn = 0; atomic_load(&hooks_state) != INSTALLED; turn++)
            os_wait(turn); /* for an interpreter with a GIL of its own */
        return true;
    }
    levels_learn_python((const void *)(uintptr_t)get);
    for (int domain = RAW; domain < DOMAINS; domain++)
        get(domain, &original[domain]);
    for (int domain = RAW; domain < DOMAINS; domain++) {
        struct allocator a = ours[domain];
        a.ctx = original[domain].ctx;
        set(domain, &a);
    }
    atomic_store(&hooks_state, INSTALLED);
    return true;
}
