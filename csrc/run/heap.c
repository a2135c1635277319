/* The C library's heap: free() and realloc() that overwrite what they let go.
 *
 * Loaded before the program, so that they come before glibc's own, which also glibc itself
 * calls by these names. Memory still comes from glibc's malloc and goes back to it, by way
 * of its caches. Blocks that were mapped each by itself go back to the kernel, which gives
 * their pages to nobody else unwiped. */
#include "behind.h"
#include "overwrite.h"
#include "shelter.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#pragma GCC visibility push(default)
void free(void *block);
void *realloc(void *block, size_t bytes);
void *reallocarray(void *block, size_t count, size_t bytes);
#pragma GCC visibility pop

/* ---- glibc's blocks -------------------------------------------------------------------- */

/* A chunk of glibc's: its size and three flags stand before the block, which ends with the
 * next chunk's first word. So since 2.3, and nothing may change it: emacs' heap images and
 * malloc_usable_size as inlined elsewhere depend on it. */
enum { MAPPED = 2, FLAGS = 7 };
enum { LEAST = 4 * sizeof(size_t), ALIGNED = 2 * sizeof(size_t), PAGE = 4096 };

/* Of the kernel, which says EFAULT before it says that there is no such thing to do. */
static bool is_readable(uintptr_t at)
{
    enum { NOTHING = -1, SIGNALS = 8 };
    int was = errno;
    bool faults = syscall(SYS_rt_sigprocmask, NOTHING, at, NULL, SIGNALS) && errno == EFAULT;
    errno = was;
    return !faults;
}

/* Whether a heap ends there: what lies before is what it has left, never a block in use.
 * How large heaps are, and where they begin, depends on GLIBC_TUNABLES. */
static bool ends_heap(uintptr_t at) { return at % PAGE == 0 && !is_readable(at); }

static bool is_mapped(const void *block) { return ((const size_t *)block)[-1] & MAPPED; }

/* How many bytes of a block to overwrite; 0: none, since it is mapped, or is none, which
 * glibc finds by itself and ends the process. */
static size_t room(const void *block)
{
    size_t head = ((const size_t *)block)[-1], bytes = head & ~(size_t)FLAGS;
    if (is_mapped(block) || (uintptr_t)block % ALIGNED || bytes < LEAST || bytes % ALIGNED ||
        (uintptr_t)block > -bytes ||
        ends_heap((uintptr_t)block - ALIGNED + bytes)) /* it went before */
        return 0;
    return bytes - sizeof(size_t);
}

/* What glibc writes into the second word of a block in a thread's cache (2.29; the same for
 * all threads since 2.34), by which it finds a block that is freed twice. 0: not known. */
static uintptr_t cached(void)
{
    enum { PROBE = 0xa7 };
    static _Atomic uintptr_t known, looked;
    if (!looked) {
        volatile uintptr_t *block = __libc_malloc(2 * sizeof(uintptr_t));
        if (!block)
            return 0;
        block[1] = PROBE;
        __libc_free((void *)block);
        known = block[1] == PROBE ? 0 : block[1];
        looked = 1;
    }
    return known;
}

/* Its bytes are what glibc's own check of a block freed twice needs: they stay. */
static bool is_cached(const void *block)
{
    uintptr_t key = cached();
    return key && ((const uintptr_t *)block)[1] == key;
}

/* ---- the two functions ----------------------------------------------------------------- */

static void another_free(void *block)
{
    uintptr_t there = behind_is_early(block) ? 0 : behind(BEHIND_FREE);
    if (there)
        ((void (*)(void *))there)(block);
}

/* One of glibc's. */
static void let_go(void *block)
{
    if (block && !is_cached(block))
        overwrite(block, room(block));
    __libc_free(block);
}

void free(void *block)
{
    const struct lent *by = shelter_of(block);
    if (by)
        by->give(block);
    else if (!behind_is_glibcs() || behind_is_early(block))
        another_free(block);
    else
        let_go(block);
}

/* What a block that grew has over, so that it need not move each time: one that grows by a
 * little at a time would take time by the square of its size. The last words of such a block
 * say how many bytes are in use, and that those behind are clean. */
struct spare {
    uintptr_t mark;
    size_t used;
};
enum { WITH_SPARE = 1024, PART = 8 };

static struct spare *spare_of(void *block, size_t had)
{
    return (struct spare *)((char *)block + had) - 1;
}

static uintptr_t mark_of(const void *block)
{
    return (uintptr_t)block ^ UINT64_C(0x9c1f5ab63e70d24b);
}

/* To that many bytes, of the `had` that it has. */
static void note_spare(void *block, size_t had, size_t bytes)
{
    bool fits = had - bytes >= sizeof(struct spare);
    *spare_of(block, had) = fits ? (struct spare){mark_of(block), bytes} : (struct spare){0, 0};
}

/* Whether a block that has room for more grows into what it has over. */
static bool takes_spare(void *block, size_t had, size_t bytes)
{
    const struct spare *spare = spare_of(block, had);
    if (spare->mark != mark_of(block) || bytes < spare->used)
        return false;
    note_spare(block, had, bytes);
    return true;
}

/* Where it must move: by a copy of ours, since glibc's frees the old place as it is. */
static void *grown(void *block, size_t had, size_t bytes)
{
    size_t more = bytes < WITH_SPARE ? bytes : bytes + bytes / PART;
    void *to = more > bytes ? __libc_malloc(more) : NULL;
    if (to && room(to))
        note_spare(to, room(to), bytes);
    if (!to && !(to = __libc_malloc(bytes)))
        return NULL;
    memcpy(to, block, had);
    overwrite(block, had);
    __libc_free(block);
    return to;
}

/* A mapped block. glibc gives back whole pages of it, and keeps the rest of the last. */
static void *mapped_resized(void *block, size_t bytes)
{
    size_t had = malloc_usable_size(block);
    void *to = __libc_realloc(block, bytes);
    if (to && bytes < had)
        overwrite((char *)to + bytes, malloc_usable_size(to) - bytes);
    return to;
}

static void *another_realloc(void *block, size_t bytes)
{
    uintptr_t there = behind(BEHIND_REALLOC);
    return there ? ((void *(*)(void *, size_t))there)(block, bytes) : NULL;
}

static void *early_resized(void *block, size_t bytes)
{
    enum { MOST = 4096 }; /* of all of them; what lies behind is not secret */
    const char *end = (const char *)block;
    size_t there = 0;
    void *to = malloc(bytes);
    while (there < bytes && there < MOST && behind_is_early(end + there))
        there++;
    return to ? memcpy(to, block, there) : NULL;
}

/* A block from the C library, or none, in a sheltered call: it goes to the heap there. */
static void *brought_in(const struct lent *by, void *block, size_t bytes)
{
    void *to = by->take(bytes, ALIGNED, false);
    size_t had = block ? malloc_usable_size(block) : 0;
    if (!to) {
        errno = ENOMEM;
        return NULL;
    }
    if (block) {
        memcpy(to, block, had < bytes ? had : bytes);
        let_go(block);
    }
    return to;
}

/* A block of the heap, which it stays. */
static void *lent_resized(const struct lent *by, void *block, size_t bytes)
{
    void *to = bytes ? by->resize(block, bytes) : NULL;
    if (!bytes)
        by->give(block);
    else if (!to)
        errno = ENOMEM;
    return to;
}

/* One of glibc's, which it stays. */
static void *plainly_resized(void *block, size_t bytes)
{
    if (block && is_mapped(block))
        return mapped_resized(block, bytes);
    size_t had = block && !is_cached(block) ? room(block) : 0;
    if (had && had < bytes)
        return grown(block, had, bytes);
    if (had && takes_spare(block, had, bytes))
        return block;
    if (had)
        overwrite((char *)block + bytes, had - bytes);
    return __libc_realloc(block, bytes);
}

static void *resized(const void *caller, void *block, size_t bytes)
{
    const struct lent *by = shelter_of(block);
    if (by)
        return lent_resized(by, block, bytes);
    if (behind_is_early(block))
        return early_resized(block, bytes);
    if (!behind_is_glibcs())
        return another_realloc(block, bytes);
    if (shelter_takes(caller) && (bytes || !block))
        return brought_in(atomic_load(&shelter_lent), block, bytes);
    return plainly_resized(block, bytes);
}

void *realloc(void *block, size_t bytes)
{
    return resized(__builtin_return_address(0), block, bytes);
}

void *reallocarray(void *block, size_t count, size_t bytes)
{
    size_t all;
    if (!__builtin_mul_overflow(count, bytes, &all))
        return resized(__builtin_return_address(0), block, all);
    errno = ENOMEM;
    return NULL;
}
