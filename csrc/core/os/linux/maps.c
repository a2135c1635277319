/* The mappings of this process, which of their pages hold anything, and what, on Linux. */
#include "os/os.h"
#include "os/linux/probe.h"

#include "base/wipe.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* PAGEMAP_SCAN of linux/fs.h (6.7), which older headers lack. */
struct scan_pages {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t inverted, all_of, any_of, returned;
};
struct page_run {
    uint64_t start, end, categories;
};
#define SCAN_PAGES 0xc0606610ul /* _IOWR('f', 16, struct scan_pages) */
enum { PRESENT = 1 << 3, SWAPPED = 1 << 4, ZERO_PAGE = 1 << 5 };

/* glibc's thread heaps begin at a multiple of this (HEAP_MAX_SIZE on 64 bits). */
#define HEAP_ALIGN ((uintptr_t)64 << 20)

/* ---- mappings ---------------------------------------------------------------------- */

int os_maps_begin(struct os_maps *walk, struct sa_why *why)
{
    char probe = 1, got = 0;
    *walk = (struct os_maps){.memory = -1, .by_scan = os_may_call(OS_IOCTL)};
    walk->list = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (walk->list < 0) {
        *why = (struct sa_why){
            .call = "open /proc/self/maps", .error = errno, .hint = "mount /proc"};
        return why->error;
    }
    /* Closed to a process that is not dumpable, but to root: then all pages are read. */
    walk->pages = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    (void)os_may_call(OS_MINCORE); /* for os_touched */
    bool allowed = os_may_call(OS_PROCESS_VM_READV);
    if (allowed && os_maps_read(walk, (uintptr_t)&probe, &got, 1) == 1 && got == probe)
        return 0;
    int error = allowed ? errno : EPERM; /* a seccomp filter, as container runtimes have them */
    walk->memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    if (walk->memory >= 0 && os_maps_read(walk, (uintptr_t)&probe, &got, 1) == 1 && got == probe)
        return 0;
    (void)os_maps_end(walk); /* it has not begun */
    *why = (struct sa_why){.call = "process_vm_readv",
                           .error = error ? error : EIO,
                           .hint = "let the container's seccomp profile allow it"};
    return why->error;
}

int os_maps_end(struct os_maps *walk)
{
    (void)close(walk->list); /* all three read only: nothing to lose */
    if (walk->pages >= 0)
        (void)close(walk->pages);
    if (walk->memory >= 0)
        (void)close(walk->memory);
    return walk->error;
}

static int next_char(struct os_maps *walk)
{
    if (walk->at == walk->used) {
        ssize_t got;
        do
            got = read(walk->list, walk->text, sizeof walk->text);
        while (got < 0 && errno == EINTR);
        if (got < 0)
            walk->error = errno;
        if (got <= 0)
            return -1;
        walk->at = 0;
        walk->used = (size_t)got;
    }
    return (unsigned char)walk->text[walk->at++];
}

/* A hexadecimal number and what follows it; false: the end. */
static bool next_hex(struct os_maps *walk, uintptr_t *number)
{
    *number = 0;
    for (;;) {
        int c = next_char(walk);
        if (c >= '0' && c <= '9')
            *number = *number << 4 | (uintptr_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            *number = *number << 4 | (uintptr_t)(c - 'a' + 10);
        else
            return c >= 0;
    }
}

/* "55d0c000-55d0d000 rw-p 00000000 00:00 0    name": the name, behind four fields. */
static bool next_name(struct os_maps *walk, char *name, size_t room)
{
    size_t n = 0;
    int c = ' ';
    for (int field = 0; field < 4; field++)
        while ((c = next_char(walk)) >= 0 && c != ' ' && c != '\n')
            continue;
    while (c == ' ')
        c = next_char(walk);
    for (; c >= 0 && c != '\n'; c = next_char(walk))
        if (n + 1 < room)
            name[n++] = (char)c;
    name[n] = 0;
    return c >= 0;
}

static bool begins(const char *name, const char *with)
{
    return !strncmp(name, with, strlen(with));
}

/* Such a heap begins with the address of its arena. A stack that begins at such a multiple,
 * as one in thirty-two does where the kernel aligns to 2 MiB (6.7), begins with zeros, unless
 * it was used to its end. A first page that nobody touched is not read: reading brings it in. */
static bool is_threads_heap(struct os_maps *walk, const struct os_map *m)
{
    uintptr_t arena = 0, start, end;
    struct os_map first = {.start = m->start, .end = m->start + os_page_size()};
    if (m->start % HEAP_ALIGN || !os_maps_held(walk, &first, first.start, &start, &end))
        return false;
    bool any = os_maps_read(walk, m->start, &arena, sizeof arena) == sizeof arena && arena;
    wipe_scratch(&arena, sizeof arena); /* it may be of what is looked for */
    return any;
}

/* Neither a file's or a device's, nor the kernel's own, such as [vvar]. */
static bool is_plain(const char *name)
{
    return !name[0] || begins(name, "[heap]") || begins(name, "[stack") || begins(name, "[anon:");
}

static enum os_map_kind kind_of(struct os_maps *walk, const struct os_map *m, bool writable,
                                bool guarded)
{
    if (begins(m->name, "[stack") || strstr(m->name, "pthread stack"))
        return OS_MAP_STACK;
    if (begins(m->name, "[heap]") || strstr(m->name, "malloc"))
        return OS_MAP_HEAP;
    if (m->name[0] == '/')
        return OS_MAP_FILE;
    if (m->name[0] || m->shared || !writable)
        return OS_MAP_MEMORY;
    if (is_threads_heap(walk, m))
        return OS_MAP_HEAP;
    return guarded ? OS_MAP_STACK : OS_MAP_MEMORY; /* as pthread_create maps them */
}

bool os_maps_next(struct os_maps *walk, struct os_map *out)
{
    char access[4] = "";
    *out = (struct os_map){0};
    if (!next_hex(walk, &out->start) || !next_hex(walk, &out->end))
        return false;
    for (size_t i = 0; i < sizeof access; i++)
        access[i] = (char)next_char(walk);
    if (next_char(walk) != ' ' || !next_name(walk, out->name, sizeof out->name))
        return false;
    out->readable = access[0] == 'r';
    out->shared = access[3] == 's';
    out->plain = !out->shared && is_plain(out->name) && walk->pages >= 0;
    bool guarded = walk->next == out->start;
    out->kind = kind_of(walk, out, access[1] == 'w', guarded);
    walk->next = !out->name[0] && !memcmp(access, "---p", 4) ? out->end : 0;
    return true;
}

/* ---- pages -------------------------------------------------------------------------- */

/* In private memory: by the page tables alone, so that nothing is brought in. A page of
 * zeros that was only ever read is left out. -1: there is no such call. */
static int held_by_scan(struct os_maps *walk, uintptr_t from, uintptr_t to, uintptr_t *start,
                        uintptr_t *end)
{
    struct page_run run = {0};
    struct scan_pages ask = {
        .size = sizeof ask,
        .start = from,
        .end = to,
        .vec = (uint64_t)(uintptr_t)&run,
        .vec_len = 1,
        .inverted = ZERO_PAGE,
        .all_of = ZERO_PAGE,
        .any_of = PRESENT | SWAPPED,
        .returned = PRESENT,
    };
    /* past ioctl(), whose second argument is of another type in each C library */
    int got = (int)syscall(SYS_ioctl, walk->pages, SCAN_PAGES, &ask);
    if (got < 0)
        return -1;
    *start = run.start;
    *end = run.end;
    return got;
}

enum { AT_ONCE = 512 }; /* pages asked for in one call */

/* Fill in held[i] & 1 for `count` pages; how many of them, 0: it cannot be told. */
typedef size_t ask_pages(struct os_maps *walk, uintptr_t from, size_t count,
                         unsigned char held[AT_ONCE]);

static size_t ask_pagemap(struct os_maps *walk, uintptr_t from, size_t count,
                          unsigned char held[AT_ONCE])
{
    uint64_t entries[AT_ONCE];
    ssize_t got = pread(walk->pages, entries, count * sizeof entries[0],
                        (off_t)(from / os_page_size() * sizeof entries[0]));
    size_t known = got > 0 ? (size_t)got / sizeof entries[0] : 0;
    for (size_t i = 0; i < known; i++)
        held[i] = (entries[i] >> 62) != 0; /* bit 63: present, 62: swapped */
    return known;
}

/* Of shared memory and files a page may be there that this mapping never touched. */
static size_t ask_mincore(struct os_maps *walk, uintptr_t from, size_t count,
                          unsigned char held[AT_ONCE])
{
    (void)walk;
    return os_touched((void *)from, count * os_page_size(), held) ? 0 : count;
}

static bool held_by_asking(struct os_maps *walk, ask_pages *ask, uintptr_t from, uintptr_t to,
                           uintptr_t *start, uintptr_t *end)
{
    uintptr_t page = os_page_size();
    unsigned char held[AT_ONCE];
    while (from < to) {
        size_t count = (to - from) / page;
        count = ask(walk, from, count < AT_ONCE ? count : AT_ONCE, held);
        if (!count) { /* gone, or not to be told: reading will say */
            *start = from;
            *end = to;
            return true;
        }
        if (os_held_run(held, count, from, start, end))
            return true;
        from += count * page;
    }
    return false;
}

bool os_maps_held(struct os_maps *walk, const struct os_map *map, uintptr_t from, uintptr_t *start,
                  uintptr_t *end)
{
    if (from >= map->end)
        return false;
    if (map->shared)
        return held_by_asking(walk, ask_mincore, from, map->end, start, end);
    if (walk->pages >= 0 && walk->by_scan) {
        int got = held_by_scan(walk, from, map->end, start, end);
        if (got >= 0)
            return got;
        walk->by_scan = false;
    }
    if (walk->pages >= 0)
        return held_by_asking(walk, ask_pagemap, from, map->end, start, end);
    *start = from; /* what is read of untouched memory is the kernel's page of zeros */
    *end = map->end;
    return true;
}

size_t os_maps_read(struct os_maps *walk, uintptr_t from, void *to, size_t bytes)
{
    size_t page = os_page_size(), done = 0, want = bytes;
    while (done < bytes) {
        struct iovec local = {(char *)to + done, want}, there = {(void *)(from + done), want};
        ssize_t got = walk->memory >= 0
                          ? pread(walk->memory, local.iov_base, want, (off_t)(from + done))
                          : process_vm_readv(getpid(), &local, 1, &there, 1, 0);
        if (got > 0) {
            done += (size_t)got;
        } else if (got < 0 && errno == EINTR) {
            continue;
        } else {
            size_t left = page - (from + done) % page;
            if (want <= left)
                break;
            want = left; /* a page at a time up to the one that cannot be read */
            continue;
        }
        want = bytes - done < want ? bytes - done : want;
    }
    return done;
}
