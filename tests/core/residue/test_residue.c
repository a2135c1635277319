/* Searching the process for copies: each form at each place, and all that is in the way. */
#include "check.h"

#include "arenas.h"
#include "os/os.h"
#include "residue/forms.h"
#include "residue/walk.h"

#include <pthread.h>
#include <sys/mman.h>
#ifdef __linux__
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#endif

/* Frames that the sanitizer keeps elsewhere are not on the stack that is wiped. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "detect_stack_use_after_return=0"; }

enum { ROOM = 64 };

static struct sa_why why;
static struct sa_arena secret, work;
static struct sa_copy copies[ROOM];
static size_t count;
/* Not known to a compiler, which lays what it knows of the content among its constants. */
static volatile unsigned seed = 3;

/* A secret that is nowhere else: the content itself is made byte by byte. */
static void make_secret(size_t size)
{
    no_marker();
    make(&secret, size, 1, seed);
}

static bool told(void *context, size_t done, size_t total)
{
    size_t *last = context;
    CHECK(done >= *last && done <= total);
    *last = done;
    return true;
}

static void find(bool partial)
{
    size_t bytes, last = 0;
    struct sa_progress progress = {told, &last, true};
    OK(sa_find_room(&secret, partial, &bytes));
    make(&work, bytes, 64, 0);
    memset(raw(&work), 0, bytes);
    OK(sa_find(&secret, &work, partial, copies, ROOM, &count, &progress, &why));
    sa_close(&work);
}

static uint8_t *map(size_t bytes)
{
    uint8_t *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    return at;
}

/* Write a form of the secret; how many bytes. */
static size_t put(uint8_t *at, enum sa_form form, size_t from, size_t n)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    size_t size = 0;
    for (size_t i = from; i < from + n; i++) {
        uint8_t byte = content_at(i, seed);
        switch (form) {
        case SA_HEX:
        case SA_HEX_UPPER:
            at[size++] = (uint8_t)digits[(form == SA_HEX ? 0 : 16) + (byte >> 4)];
            at[size++] = (uint8_t)digits[(form == SA_HEX ? 0 : 16) + (byte & 15)];
            break;
        case SA_UTF16:
        case SA_UTF32:
            at[size++] = byte;
            at[size++] = 0;
            if (form == SA_UTF32)
                at[size++] = 0, at[size++] = 0;
            break;
        default: at[size++] = byte ^ (form == SA_IPAD ? 0x36 : form == SA_OPAD ? 0x5c : 0);
        }
    }
    return size;
}

static void only(const uint8_t *at, size_t length, size_t whole, enum sa_form form)
{
    SAME(count, 1);
    SAME(copies[0].address, at);
    SAME(copies[0].length, length);
    SAME(copies[0].whole, whole);
    SAME(copies[0].form, form);
    CHECK(copies[0].mapping <= copies[0].address);
}

TEST(nothing)
{
    make_secret(32);
    find(true);
    SAME(count, 0);
    find(false);
    SAME(count, 0);
}

/* At every alignment, over the edges of pages and of what is read at once. */
TEST(every_form_everywhere)
{
    static const size_t sizes[] = {8, 15, 16, 31, 100};
    static const enum sa_form forms[] = {SA_PLAIN, SA_HEX,  SA_HEX_UPPER, SA_UTF16,
                                         SA_UTF32, SA_IPAD, SA_OPAD};
    uint8_t *region = map(1 << 17);
    size_t turn = 0;
    for (size_t i = 0; i < 5; i++) {
        make_secret(sizes[i]);
        for (size_t f = 0; f < 7; f++)
            for (int k = 0; k < rounds(5); k++, turn++) {
                uint8_t *at = region + 32768 * (turn % 3 + 1) - (turn * 7) % 60;
                size_t n = put(at, forms[f], 0, sizes[i]);
                find(true);
                only(at, n, n, forms[f]);
                if (forms[f] == SA_PLAIN) {
                    find(false);
                    only(at, n, n, forms[f]);
                }
                memset(at, 0, n);
            }
        sa_close(&secret);
    }
}

/* Memory is looked at four words at once, and of these copies one word alone is aligned. */
TEST(each_of_the_words_at_once)
{
    static const size_t sizes[] = {8, 15}, widths[] = {4, 8};
    uint8_t *region = map(4096);
    for (size_t i = 0; i < 2; i++) {
        make_secret(sizes[i]);
        for (size_t k = 0; k < 8; k++) {
            uint8_t *at = region + 256 + k * widths[i] + 1;
            size_t n = put(at, SA_PLAIN, 0, sizes[i]);
            find(false);
            only(at, n, n, SA_PLAIN);
            memset(at, 0, n);
        }
        sa_close(&secret);
    }
}

TEST(base64_at_three_places)
{
    /* what b64encode of 0 to 2 bytes of 'q' and the secret "0123456789abcdef" is */
    static const char *const texts[] = {
        "MDEyMzQ1Njc4OWFiY2RlZg==", "cTAxMjM0NTY3ODlhYmNkZWY=", "cXEwMTIzNDU2Nzg5YWJjZGVm"};
    static const size_t first[] = {0, 2, 3}, length[] = {21, 20, 21};
    uint8_t *region = map(4096);
    no_marker();
    OK(sa_arena_make(&secret, 16, 1, &why));
    for (size_t i = 0; i < 16; i++)
        raw(&secret)[i] = (uint8_t)(i < 10 ? '0' + i : 'a' + i - 10);
    OK(sa_fill_end(&secret, true));
    for (size_t i = 0; i < 3; i++) {
        memcpy(region + 5 + i, texts[i], 24);
        find(true);
        bool found = false; /* the text here is one more copy */
        for (size_t k = 0; k < count; k++)
            found |= copies[k].address == (uintptr_t)region + 5 + i + first[i] &&
                     copies[k].length == length[i] && copies[k].form == SA_BASE64;
        CHECK(found);
        memset(region, 0, 40);
    }
}

TEST(parts)
{
    uint8_t *region = map(4096);
    make_secret(64);
    for (size_t n = 30; n < 40; n++)
        for (size_t from = 0; from <= 64 - n; from += 3) {
            put(region + 100 + from, SA_PLAIN, from, n);
            find(true);
            if (n < 32)
                SAME(count, 0);
            else
                only(region + 100 + from, n, 64, SA_PLAIN);
            memset(region, 0, 400);
        }
    put(region, SA_PLAIN, 0, 63);
    find(false);
    SAME(count, 0);
}

TEST(text)
{
    static const uint8_t utf8[] = {0xc3, 0xa4, 'b', 0xc3, 0xb6, 'd', 0xc3, 0xa9,
                                   'f',  'g',  'h', 'i',  'j',  'k', 'l',  'm'};
    static const uint8_t characters[] = {0xe4, 'b', 0xf6, 'd', 0xe9, 'f', 'g',
                                         'h',  'i', 'j',  'k', 'l',  'm'};
    uint8_t *region = map(4096);
    no_marker();
    OK(sa_arena_make(&secret, sizeof utf8, 1, &why));
    for (size_t i = 0; i < sizeof utf8; i++)
        raw(&secret)[i] = utf8[i];
    OK(sa_fill_end(&secret, true));
    for (size_t width = 1; width <= 4; width *= 2) {
        memset(region, 0, 100);
        for (size_t i = 0; i < sizeof characters; i++)
            region[3 + i * width] = characters[i];
        find(true);
        bool found = false; /* this program's own tables are others */
        for (size_t k = 0; k < count; k++)
            found |= copies[k].address == (uintptr_t)region + 3 &&
                     copies[k].length == width * sizeof characters &&
                     copies[k].form == (width == 1   ? SA_LATIN1
                                        : width == 2 ? SA_UTF16
                                                     : SA_UTF32);
        CHECK(found);
    }
}

TEST(refused)
{
    size_t bytes;
    make_secret(7);
    SAME(sa_find_room(&secret, true, &bytes), SA_BAD_RANGE);
    sa_close(&secret);
    make_secret(100);
    memset(raw(&secret), 0, 100);
    SAME(sa_find_room(&secret, true, &bytes), SA_BAD_ALIGN);
    memset(raw(&secret), 'x', 100);
    SAME(sa_find_room(&secret, true, &bytes), SA_BAD_ALIGN);
    memset(raw(&secret), 0, 100);
    raw(&secret)[3] = 1;
    SAME(sa_find_room(&secret, true, &bytes), SA_BAD_ALIGN);
    raw(&secret)[50] = 1;
    OK(sa_find_room(&secret, true, &bytes));
    OK(sa_wipe(&secret, &why));
    SAME(sa_find_room(&secret, true, &bytes), SA_WIPED);
    sa_close(&secret);
    SAME(sa_find_room(&secret, true, &bytes), SA_CLOSED);
}

/* A password in a larger buffer of zeros, and its half of zeros, which is no find. */
TEST(padded_with_zeros)
{
    uint8_t *region = map(1 << 16);
    make_secret(64);
    memset(raw(&secret) + 12, 0, 52);
    for (size_t i = 0; i < 16; i++) {
        put(region + 100 + i, SA_PLAIN, 0, 12);
        find(true);
        only(region + 100 + i, 64, 64, SA_PLAIN);
        memset(region, 0, 200);
    }
    memset(region, 0x36, 2000);
    memset(region + 4096, '0', 2000);
    find(true);
    SAME(count, 0);
}

/* Nothing that repeats makes the list or the time grow. */
TEST(repeating)
{
    uint8_t *region = map(1 << 16);
    make_secret(32);
    for (size_t i = 0; i < 32; i++)
        raw(&secret)[i] = (uint8_t)(0xd7 + i % 2);
    for (size_t i = 0; i < 1 << 16; i++)
        region[i] = (uint8_t)(0xd7 + i % 2);
    find(true);
    SAME(count, ROOM);
    for (size_t i = 1; i < count; i++)
        CHECK(copies[i].address >= copies[i - 1].address + 32);
}

TEST(no_arena_is_looked_at)
{
    static struct sa_arena others[40], large, closed[10];
    sa_use_secretmem(false);
    make_secret(48);
    for (size_t i = 0; i < 40; i++)
        make(&others[i], 48, 1, seed);
    for (size_t i = 0; i < 10; i++)
        make(&closed[i], 48, 1, seed);
    make(&large, 1 << 20, 1, seed);
    for (size_t i = 0; i < 10; i++)
        sa_close(&closed[i]);
    find(true);
    SAME(count, 0);
}

TEST(places)
{
    volatile uint8_t here[80];
    uint8_t *heap = malloc(80);
    CHECK(heap);
    make_secret(40);
    for (size_t i = 0; i < 40; i++)
        here[i] = heap[i] = content_at(i, seed);
    find(true);
    unsigned stack = 0, elsewhere = 0;
    for (size_t i = 0; i < count; i++) {
        stack += copies[i].address == (uintptr_t)here && copies[i].place == SA_ON_STACK;
        bool told = copies[i].place == SA_IN_HEAP;
#ifdef __GLIBC__
        told |= under_tool();
#else
        told = true; /* musl's malloc maps most of what it gives, and nothing names that */
#endif
        elsewhere += copies[i].address == (uintptr_t)heap && told;
    }
    SAME(elsewhere, 1);
    if (!under_valgrind())
        SAME(stack, 1);
    SAME(count, 2);
    free(heap);
}

static void *finds_itself(void *unused)
{
    volatile uint8_t here[40];
    (void)unused;
    for (size_t i = 0; i < 40; i++)
        here[i] = content_at(i, seed);
    find(true);
    CHECK(count >= 1 && copies[0].address == (uintptr_t)here);
    CHECK(under_tool() || copies[0].place == SA_ON_STACK);
    return (void *)(uintptr_t)here[0];
}

TEST(a_threads_stack)
{
    pthread_t thread;
    make_secret(40);
    SAME(pthread_create(&thread, NULL, finds_itself, NULL), 0);
    SAME(pthread_join(thread, NULL), 0);
}

/* At a multiple of 64 MiB, where glibc's heaps of threads begin, too. */
TEST(a_threads_stack_where_a_heap_might_be)
{
#ifndef __linux__
    SKIP("a stack is what threads were told to be one");
#endif
    size_t multiple = (size_t)64 << 20, bytes = (size_t)1 << 20;
    char *room = mmap(NULL, 3 * multiple, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                      -1, 0);
    CHECK(room != MAP_FAILED);
    char *stack = room + multiple - (uintptr_t)room % multiple;
    stack = stack == room ? stack + multiple : stack; /* with a guard before */
    SAME(mprotect(stack, bytes, PROT_READ | PROT_WRITE), 0);
    pthread_t thread;
    pthread_attr_t attributes;
    SAME(pthread_attr_init(&attributes), 0);
    SAME(pthread_attr_setstack(&attributes, stack, bytes), 0);
    make_secret(40);
    SAME(pthread_create(&thread, &attributes, finds_itself, NULL), 0);
    SAME(pthread_join(thread, NULL), 0);
}

/* Up to the very edge of what can be read, and beyond what cannot. */
TEST(gaps)
{
    size_t page = sa_page_size();
    uint8_t *region = map(8 * page);
    make_secret(24);
    SAME(mprotect(region + page, page, PROT_NONE), 0);
    SAME(munmap(region + 3 * page, page), 0);
    put(region + page - 24, SA_PLAIN, 0, 24);
    put(region + 2 * page, SA_PLAIN, 0, 24);
    put(region + 3 * page - 24, SA_PLAIN, 0, 24);
    put(region + 4 * page, SA_PLAIN, 0, 24);
    put(region + 8 * page - 12, SA_PLAIN, 0, 12);
    find(true);
    SAME(count, 5);
    SAME(copies[4].length, 12);
    find(false);
    SAME(count, 4);
}

/* The pages past a file's end fault, and those before are found. */
TEST(a_file_cut_short)
{
    size_t page = sa_page_size();
    FILE *file = tmpfile();
    CHECK(file);
    SAME(ftruncate(fileno(file), (off_t)(20 * page)), 0);
    uint8_t *region = mmap(NULL, 20 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);
    CHECK(region != MAP_FAILED);
    make_secret(24);
    memset(region, 1, 20 * page);
    put(region + page - 3, SA_PLAIN, 0, 24);
    SAME(ftruncate(fileno(file), (off_t)(2 * page)), 0);
    find(true);
    only(region + page - 3, 24, 24, SA_PLAIN);
    fclose(file);
}

static _Atomic bool over;

static void *maps_and_unmaps(void *unused)
{
    while (goes_on(&over)) {
        uint8_t *at = map(1 << 20);
        memset(at, 5, 1 << 20);
        munmap(at, 1 << 20);
    }
    return unused;
}

TEST(vanishing)
{
    pthread_t threads[3];
    uint8_t *region = map(4096);
    make_secret(24);
    put(region, SA_PLAIN, 0, 24);
    for (size_t i = 0; i < 3; i++)
        SAME(pthread_create(&threads[i], NULL, maps_and_unmaps, NULL), 0);
    for (int i = 0; i < rounds(20); i++) {
        find(true);
        only(region, 24, 24, SA_PLAIN);
    }
    atomic_store(&over, true);
    for (size_t i = 0; i < 3; i++)
        SAME(pthread_join(threads[i], NULL), 0);
}

/* The tables turn to noise at any moment of a search: it ends as if nothing was there. */
static void *locks_down(void *unused)
{
    while (goes_on(&over)) {
        lockdown();
        pause_ms(1);
    }
    return unused;
}

TEST(lockdown_meanwhile)
{
    if (UNDER_TSAN) /* the work arena is wiped while the scan writes to it */
        SKIP("made of what a race detector calls races");
    pthread_t thread;
    size_t bytes, last, wiped = 0;
    struct sa_progress progress = {told, &last, true};
    make_secret(200);
    OK(sa_find_room(&secret, true, &bytes));
    make(&work, bytes, 64, 0);
    SAME(pthread_create(&thread, NULL, locks_down, NULL), 0);
    /* A loaded machine may run the other thread only later: on until one was met. */
    for (int i = 0; i < rounds(50) || !wiped; i++) {
        if (sa_fill_begin(&secret, &why) == SA_OK) {
            put_content(raw(&secret), 200, seed);
            (void)!sa_fill_end(&secret, true);
        }
        if (sa_fill_begin(&work, &why) == SA_OK) {
            memset(raw(&work), 0, bytes);
            (void)!sa_fill_end(&work, true);
        }
        last = 0;
        enum sa_code code = sa_find(&secret, &work, true, copies, ROOM, &count, &progress, &why);
        CHECK(code == SA_OK || code == SA_WIPED);
        wiped += code == SA_WIPED;
    }
    atomic_store(&over, true);
    SAME(pthread_join(thread, NULL), 0);
    CHECK(wiped);
}

static bool stops(void *context, size_t done, size_t total)
{
    (void)done, (void)total;
    ++*(unsigned *)context;
    return false;
}

TEST(stopped)
{
    size_t bytes;
    unsigned calls = 0;
    struct sa_progress progress = {stops, &calls, true};
    uint8_t *region = map((size_t)1 << 28);
    make_secret(16);
    OK(sa_find_room(&secret, true, &bytes));
    make(&work, bytes, 64, 0);
    memset(raw(&work), 0, bytes);
    OK(sa_find(&secret, &work, true, copies, ROOM, &count, &progress, &why));
    SAME(calls, 1);
    munmap(region, (size_t)1 << 28);
}

static void visit(void *context, uintptr_t at, const uint64_t around[7])
{
    uintptr_t *wanted = context;
    if (at == wanted[0])
        wanted[1] = (uintptr_t)around[0] + around[1] + around[3] + around[6];
}

TEST(words)
{
    uint64_t *region = (uint64_t *)(void *)map(1 << 17), around[2];
    size_t which;
    uintptr_t wanted[2] = {(uintptr_t)&region[100], 0}, at;
    uint64_t look[2] = {0x123456789abcdef1, 0x23456789abcdef12};
    no_marker();
    make(&work, 1 << 17, 64, 0);
    region[98] = 1000;
    region[99] = 100;
    region[100] = look[1];
    region[101] = 40;
    region[104] = 2;
    OK(sa_find_word(&work, look[1], visit, wanted, NULL, &why));
    SAME(wanted[1], 1142);
    CHECK(sa_look_back(&work, (uintptr_t)&region[130] + 3, look, 2, &which, &at, around));
    SAME(which, 1);
    SAME(at, &region[100]);
    SAME(around[0], 100);
    SAME(around[1], 40);
    CHECK(!sa_look_back(&work, (uintptr_t)&region[100], look, 2, &which, &at, around));
    CHECK(!sa_look_back(&work, (uintptr_t)&region[12000], look, 2, &which, &at, around));
}

/* A list that cannot be read to its end is an error, not a list. */
TEST(a_list_cut_short)
{
    struct os_maps walk;
    struct os_map found;
    OK(os_maps_begin(&walk, &why));
    CHECK(os_maps_next(&walk, &found));
    while (os_maps_next(&walk, &found))
        continue;
    OK(os_maps_end(&walk));
    OK(os_maps_begin(&walk, &why));
    if (walk.list < 0)
        SKIP("the mappings are in no file");
    close(walk.list);
    CHECK(!os_maps_next(&walk, &found));
    SAME(os_maps_end(&walk), EBADF);
}

/* Memory that nobody touched is not made resident, however much there is. */
TEST(untouched)
{
    /* Where a heap of glibc might begin, so that the first page is looked at as well; no
     * other mapping comes to lie so near that the kernel makes one of both. */
    size_t bytes = (size_t)4 << 30, page = sa_page_size(), align = (size_t)64 << 20;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    uint8_t *around = mmap(NULL, bytes + 2 * align, PROT_NONE, flags, -1, 0);
    if (around == MAP_FAILED)
        SKIP("no 4 GiB of address space");
    uint8_t *region = around + align - (uintptr_t)around % align;
    if (mprotect(region, bytes, PROT_READ | PROT_WRITE))
        SKIP("no 4 GiB that may be written");
    unsigned char touched;
    make_secret(32);
    put(region + (size_t)3 * bytes / 4, SA_PLAIN, 0, 32);
    find(true);
    only(region + (size_t)3 * bytes / 4, 32, 32, SA_PLAIN);
    for (size_t i = 0; i < 64; i++) {
        SAME(mincore(region + i * (bytes / 64), page, (void *)&touched), 0);
        SAME(touched & 1, i == 48);
    }
}

#ifdef __linux__
static double spent_by_children(void)
{
    struct rusage use;
    SAME(getrusage(RUSAGE_CHILDREN, &use), 0);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

/* Much memory is looked at where it stands, by a process of its own, and what that faults on by a
 * copy: over the edges of all that is looked at at once. */
TEST(in_place)
{
    size_t bytes = (size_t)130 << 20, page = sa_page_size(), half = (size_t)64 << 20;
    size_t places[] = {5,
                       (1 << 20) - 7,
                       half - 16,
                       half + 65536 - 16,
                       half + (9 << 20) - 3 * page,
                       half + (9 << 20) + page,
                       bytes - 33};
    enum { PLACES = sizeof places / sizeof places[0], GUARD_INSTALL = 102 };
    uint8_t *region = map(bytes);
    memset(region, 1, bytes);
    make_secret(32);
    for (size_t i = 0; i < PLACES; i++)
        put(region + places[i], SA_PLAIN, 0, 32);
    double before = spent_by_children();
    find(true);
    SAME(count, PLACES);
    if (!under_tool() && !getenv("SECALLOC_PART"))
        CHECK(spent_by_children() > before);
    long key = syscall(SYS_pkey_alloc, 0, 1); /* pages that a load faults on, but not a copy */
    int access = PROT_READ | PROT_WRITE;
    if (key < 0 || syscall(SYS_pkey_mprotect, region + half, 4 * page, access, key) ||
        syscall(SYS_pkey_mprotect, region + half + (9 << 20), 2 << 20, access, key))
        fprintf(stderr, "in_place: no protection keys here\n");
    find(true);
    SAME(count, PLACES);
    for (size_t i = 0; i < PLACES; i++)
        SAME(copies[i].address, region + places[i]);
    SAME(munmap(region, bytes), 0);
}

/* A load from a device's memory, or the kernel's own, may do anything. */
TEST(what_is_looked_at_in_place)
{
    int access = PROT_READ | PROT_WRITE, private = MAP_PRIVATE | MAP_ANONYMOUS;
    FILE *file = tmpfile();
    CHECK(file);
    SAME(ftruncate(fileno(file), 4096), 0);
    const void *shared = mmap(NULL, 4096, access, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const void *of_file = mmap(NULL, 4096, access, MAP_PRIVATE, fileno(file), 0);
    const void *plain = mmap(NULL, 4096, access, private, -1, 0);
    CHECK(shared != MAP_FAILED && of_file != MAP_FAILED && plain != MAP_FAILED);
    struct os_maps maps;
    struct os_map map;
    unsigned seen = 0;
    SAME(os_maps_begin(&maps, &why), 0);
    while (os_maps_next(&maps, &map)) {
        bool found = map.start <= (uintptr_t)plain && (uintptr_t)plain < map.end;
        CHECK(!found || map.plain);
        seen += found;
        found = (map.start <= (uintptr_t)shared && (uintptr_t)shared < map.end) ||
                (map.start <= (uintptr_t)of_file && (uintptr_t)of_file < map.end) ||
                !strncmp(map.name, "[v", 2) || map.name[0] == '/';
        CHECK(!found || !map.plain);
        seen += 10 * found;
    }
    SAME(os_maps_end(&maps), 0);
    SAME(seen % 10, 1);
    CHECK(seen > 40); /* the program, its library, and those two */
    fclose(file);
}
/* Where the page map is closed nobody knows which pages are held: a load may wait for ever. */
TEST(nothing_in_place_unseen)
{
    struct os_maps maps;
    struct os_map map;
    if (geteuid() == 0 && (setgid(65534) || setuid(65534)))
        SKIP("no other user to be had");
    SAME(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), 0);
    if (os_maps_begin(&maps, &why))
        SKIP("a process that is closed cannot list its own mappings");
    SAME(maps.pages, -1);
    while (os_maps_next(&maps, &map))
        CHECK(!map.plain);
    SAME(os_maps_end(&maps), 0);
}

/* The stack of the process apart: what a look left there would be found by the next. */
static volatile unsigned looks, own;

static void look_for_its_stack(struct walk *w, uintptr_t at, size_t bytes)
{
    uintptr_t stack = (uintptr_t)w->stack;
    looks++;
    own += stack && at < stack + 65536 && at + bytes > stack;
}

TEST(not_its_own_stack)
{
    size_t much = (size_t)4 << 20;
    void *low = sbrk((intptr_t)much); /* looked at before the stack, which has been used then */
    if (low == (void *)-1)
        SKIP("no room at the program's break");
    memset(low, 1, much);
    no_marker();
    make(&work, WALK_ROOM, 64, 0);
    struct walk walk = {.room = raw(&work), .look = look_for_its_stack};
    OK(walk_all(&walk, &why));
    CHECK(looks > 100);
    SAME(own, 0);
    sa_close(&work);
}
#endif

/* The first time that progress is told, of five or more. */
static bool locks_down_once(void *context, size_t done, size_t total)
{
    unsigned *tells = context;
    (void)done, (void)total;
    if (++*tells == 1)
        lockdown();
    return true;
}

TEST(a_wipe_ends_it)
{
    enum { MIB = 1 << 20, MIBS = 330 };
    if (under_tool())
        SKIP("a tool's memory without content is told of, too");
    unsigned tells = 0;
    size_t bytes;
    struct sa_progress progress = {locks_down_once, &tells, true};
    uint8_t *region = map((size_t)MIBS * MIB);
    for (size_t i = 0; i < MIBS; i++)
        region[i * MIB] = 1;
    make_secret(32);
    OK(sa_find_room(&secret, true, &bytes));
    make(&work, bytes, 64, 0);
    memset(raw(&work), 0, bytes);
    SAME(sa_find(&secret, &work, true, copies, ROOM, &count, &progress, &why), SA_WIPED);
    SAME(tells, 1);
}

static void *maps_much_and_unmaps(void *unused)
{
    while (goes_on(&over)) {
        uint8_t *at = map(8 << 20);
        memset(at, 5, 8 << 20);
        munmap(at, 8 << 20);
    }
    return unused;
}

TEST(much_that_vanishes)
{
    pthread_t thread;
    uint8_t *region = map(4 << 20);
    make_secret(24);
    put(region + (3 << 20), SA_PLAIN, 0, 24);
    SAME(pthread_create(&thread, NULL, maps_much_and_unmaps, NULL), 0);
    for (int i = 0; i < rounds(40); i++) {
        find(true);
        only(region + (3 << 20), 24, 24, SA_PLAIN);
    }
    atomic_store(&over, true);
    SAME(pthread_join(thread, NULL), 0);
}

/* What a chunk had before the page that was gone is found again by the copy, and is one. */
static uint8_t *toggled;

static void *protects_and_not(void *unused)
{
    while (goes_on(&over)) {
        SAME(mprotect(toggled, 4096, PROT_NONE), 0);
        SAME(mprotect(toggled, 4096, PROT_READ | PROT_WRITE), 0);
    }
    return unused;
}

TEST(each_copy_once)
{
    enum { MANY = 2000, BYTES = 2 << 20 };
    static struct sa_copy many[2 * MANY];
    pthread_t thread;
    size_t bytes;
    uint8_t *region = map(BYTES);
    memset(region, 1, BYTES);
    toggled = region + BYTES - 32768;
    make_secret(24);
    for (size_t i = 0; i < MANY; i++)
        put(region + BYTES - 40000 - 40 * (i + 1), SA_PLAIN, 0, 24);
    OK(sa_find_room(&secret, true, &bytes));
    make(&work, bytes, 64, 0);
    SAME(pthread_create(&thread, NULL, protects_and_not, NULL), 0);
    for (int i = 0; i < rounds(200); i++) {
        memset(raw(&work), 0, bytes);
        OK(sa_find(&secret, &work, true, many, 2 * MANY, &count, NULL, &why));
        SAME(count, MANY);
        for (size_t k = 1; k < count; k++)
            CHECK(many[k].address > many[k - 1].address);
    }
    atomic_store(&over, true);
    SAME(pthread_join(thread, NULL), 0);
}

int main(int argc, char **argv)
{
    if (UNDER_TSAN || under_valgrind()) { /* their own memory would be searched, too: minutes */
        puts("test_residue: skipped under a tool with much memory of its own");
        return 0;
    }
    check_begin("test_residue", argc, argv);
    RUN(nothing);
    RUN(every_form_everywhere);
    RUN(base64_at_three_places);
    RUN(each_of_the_words_at_once);
    RUN(parts);
    RUN(text);
    RUN(refused);
    RUN(padded_with_zeros);
    RUN(repeating);
    RUN(no_arena_is_looked_at);
    RUN(places);
    RUN(a_threads_stack);
    RUN(a_threads_stack_where_a_heap_might_be);
    RUN(gaps);
    RUN(a_file_cut_short);
    RUN(vanishing);
    RUN(lockdown_meanwhile);
    RUN(stopped);
    RUN(words);
    RUN(a_list_cut_short);
    RUN(untouched);
#ifdef __linux__
    RUN(in_place);
    RUN(what_is_looked_at_in_place);
    RUN(nothing_in_place_unseen);
    RUN(not_its_own_stack);
#endif
    RUN(a_wipe_ends_it);
    RUN(much_that_vanishes);
    RUN(each_copy_once);
    return check_end();
}
