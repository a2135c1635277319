/* The C library's heap: malloc() and all others that take a block. In a sheltered call a block
 * comes from the heap there, else from the C library. */
#include "behind.h"
#include "shelter.h"

#include <errno.h>
#include <string.h>

#pragma GCC visibility push(default)
void *malloc(size_t bytes);
void *calloc(size_t count, size_t bytes);
void *memalign(size_t alignment, size_t bytes);
void *aligned_alloc(size_t alignment, size_t bytes);
int posix_memalign(void **block, size_t alignment, size_t bytes);
void *valloc(size_t bytes);
void *pvalloc(size_t bytes);
size_t malloc_usable_size(void *block);
char *strdup(const char *text);
char *strndup(const char *text, size_t most);
char *__strdup(const char *text); /* what the headers of glibc 2.17 make of the two above */
char *__strndup(const char *text, size_t most);
#pragma GCC visibility pop

#define CALLER __builtin_return_address(0)
enum { STEP = 16, PAGE = 4096 };

static void *told(void *block)
{
    if (!block)
        errno = ENOMEM;
    return block;
}

static void *lent_block(size_t bytes, size_t alignment, bool zeroed)
{
    return told(atomic_load(&shelter_lent)->take(bytes, alignment, zeroed));
}

/* ---- by size ------------------------------------------------------------------------------ */

static void *another_malloc(size_t bytes)
{
    uintptr_t there = behind(BEHIND_MALLOC);
    return there ? ((void *(*)(size_t))there)(bytes) : told(behind_early(bytes));
}

static inline void *take(const void *caller, size_t bytes)
{
    if (shelter_takes(caller))
        return lent_block(bytes, STEP, false);
    return behind_is_glibcs() ? __libc_malloc(bytes) : another_malloc(bytes);
}

void *malloc(size_t bytes) { return take(CALLER, bytes); }

static void *another_calloc(size_t count, size_t bytes)
{
    uintptr_t there = behind(BEHIND_CALLOC);
    size_t all;
    if (there)
        return ((void *(*)(size_t, size_t))there)(count, bytes);
    return told(__builtin_mul_overflow(count, bytes, &all) ? NULL : behind_early(all));
}

void *calloc(size_t count, size_t bytes)
{
    size_t all;
    if (!shelter_takes(CALLER))
        return behind_is_glibcs() ? __libc_calloc(count, bytes) : another_calloc(count, bytes);
    if (__builtin_mul_overflow(count, bytes, &all))
        return told(NULL);
    return lent_block(all, STEP, true);
}

/* ---- text: the C library's own calls of malloc are left out -------------------------------- */

static char *copied(const void *caller, const char *text, size_t length)
{
    char *copy = take(caller, length + 1);
    if (copy) {
        memcpy(copy, text, length);
        copy[length] = 0;
    }
    return copy;
}

char *strdup(const char *text) { return copied(CALLER, text, strlen(text)); }

char *strndup(const char *text, size_t most) { return copied(CALLER, text, strnlen(text, most)); }

char *__strdup(const char *text) { return copied(CALLER, text, strlen(text)); }

char *__strndup(const char *text, size_t most) { return copied(CALLER, text, strnlen(text, most)); }

/* ---- by alignment -------------------------------------------------------------------------- */

static bool is_power(size_t n) { return n && !(n & (n - 1)); }

static void *lent_aligned(size_t alignment, size_t bytes)
{
    if (is_power(alignment))
        return lent_block(bytes, alignment, false);
    errno = EINVAL;
    return NULL;
}

static void *aligned_behind(enum behind function, size_t alignment, size_t bytes)
{
    uintptr_t there = behind(function);
    return there ? ((void *(*)(size_t, size_t))there)(alignment, bytes) : told(NULL);
}

void *memalign(size_t alignment, size_t bytes)
{
    return shelter_takes(CALLER) ? lent_aligned(alignment, bytes)
                                 : aligned_behind(BEHIND_MEMALIGN, alignment, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    return shelter_takes(CALLER) ? lent_aligned(alignment, bytes)
                                 : aligned_behind(BEHIND_ALIGNED_ALLOC, alignment, bytes);
}

int posix_memalign(void **block, size_t alignment, size_t bytes)
{
    if (!shelter_takes(CALLER)) {
        uintptr_t there = behind(BEHIND_POSIX_MEMALIGN);
        return there ? ((int (*)(void **, size_t, size_t))there)(block, alignment, bytes) : ENOMEM;
    }
    if (!is_power(alignment) || alignment % sizeof(void *))
        return EINVAL;
    void *made = atomic_load(&shelter_lent)->take(bytes, alignment, false);
    if (made)
        *block = made;
    return made ? 0 : ENOMEM;
}

static void *page_behind(enum behind function, size_t bytes)
{
    uintptr_t there = behind(function);
    return there ? ((void *(*)(size_t))there)(bytes) : told(NULL);
}

void *valloc(size_t bytes)
{
    return shelter_takes(CALLER) ? lent_block(bytes, PAGE, false)
                                 : page_behind(BEHIND_VALLOC, bytes);
}

void *pvalloc(size_t bytes)
{
    size_t whole;
    if (!shelter_takes(CALLER))
        return page_behind(BEHIND_PVALLOC, bytes);
    if (__builtin_add_overflow(bytes, PAGE - 1, &whole))
        return told(NULL);
    return lent_block(whole / PAGE * PAGE, PAGE, false);
}

size_t malloc_usable_size(void *block)
{
    const struct lent *by = block ? shelter_of(block) : NULL;
    uintptr_t there = by || behind_is_early(block) ? 0 : behind(BEHIND_USABLE_SIZE);
    return by ? by->size(block) : there ? ((size_t(*)(void *))there)(block) : 0;
}
