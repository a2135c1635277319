/* Life of an arena: making, lending, wiping, checking, closing. */
#include "arenas.h"
#include "vault/canary.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#ifdef __linux__
#include "linux.h"
#endif

static struct sa_why why;

static size_t page(void) { return os_page_size(); }

/* ---- place --------------------------------------------------------------------------------- */

/* Every alignment with sizes around all that matters: the start is aligned, the
 * end meets the guard or misses it by less than the alignment. */
TEST(alignment)
{
    static const size_t sizes[] = {0,    1,    2,    7,     8,     15,    16,   17,   31,
                                   32,   33,   100,  255,   256,   1000,  4095, 4096, 4097,
                                   8191, 8192, 8193, 65535, 65536, 65537, 70001};
    for (size_t align = 1; align <= page(); align *= 2)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            struct sa_arena a = {0};
            size_t n = sizes[i];
            make(&a, n, align, 3);
            uint8_t *at = raw(&a), *end = slot_data(arena_slot(&a)) + arena_slot(&a).region->data;
            SAME((uintptr_t)at % align, 0);
            CHECK(at >= slot_data(arena_slot(&a)) && at + n <= end);
            CHECK((size_t)(end - (at + n)) < align);
            CHECK(align > 1 || at + n == end);
            CHECK(is_content(at, n, 3));
            CHECK(sa_is_secure(at, n) && sa_is_secure(slot_data(arena_slot(&a)), 1));
            CHECK(!sa_is_secure(end, 1) && !sa_is_secure(at, n + page()));
            if (i % 8 == 0)
                CHECK(!readable(end));
            OK(sa_check(&a));
            sa_close(&a);
            CHECK(!sa_is_secure(at, 1));
        }
}

TEST(bad_alignment)
{
    const size_t bad[] = {0, 3, 5, 6, 24, 100, 2 * page(), page() + 1, SIZE_MAX, (size_t)1 << 63};
    struct sa_arena a = {0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        SAME(sa_arena_make(&a, 10, bad[i], &why), SA_BAD_ALIGN);
    SAME(sa_state_of(&a), SA_IS_CLOSED);
}

TEST(born_zero_and_in_a_fill)
{
    static const size_t sizes[] = {0, 1, 5000, 70000, 300000};
    uint8_t *bytes;
    const uint8_t *look;
    for (int again = 0; again < 3; again++) /* on fresh pages and on used ones */
        for (size_t i = 0; i < 5; i++) {
            struct sa_arena a = {0};
            OK(sa_arena_make(&a, sizes[i], 1, &why));
            SAME(sa_state_of(&a), SA_IS_WIPED);
            SAME(sa_export(&a, false, &bytes), SA_WIPED);
            SAME(sa_borrow(&a, &look), SA_WIPED);
            OK(sa_export(&a, true, &bytes));
            CHECK(is_all(bytes, sizes[i], 0));
            put_content(bytes, sizes[i], 1);
            sa_unexport(&a);
            OK(sa_fill_end(&a, true));
            SAME(sa_state_of(&a), SA_USABLE);
            sa_close(&a);
        }
}

TEST(protections)
{
    struct sa_arena a = {0};
    make(&a, 100, 1, 1);
    unsigned p = sa_protection_of(&a);
    CHECK(p & SA_GUARD && p & SA_NOFORK);
    SAME(p & SA_SECRETMEM ? p & SA_LOCK : SA_LOCK, SA_LOCK);
    SAME(sa_address_of(&a), (uintptr_t)arena_bytes(&a));
    sa_close(&a);
    SAME(sa_protection_of(&a), 0);
    SAME(sa_address_of(&a), 0);
}

/* ---- lending ----------------------------------------------------------------------------------- */

TEST(borrow)
{
    struct sa_arena a = {0};
    const uint8_t *look;
    make(&a, 100, 1, 5);
    OK(sa_borrow(&a, &look));
    CHECK(is_content(look, 100, 5));
    OK(sa_return(&a));
    OK(sa_borrow(&a, &look));
    CHECK(slot_wipe(arena_slot(&a))); /* as a handler does */
    SAME(sa_return(&a), SA_WIPED); /* what was read means nothing */
    SAME(sa_borrow(&a, &look), SA_WIPED);
    SAME(sa_state_of(&a), SA_IS_WIPED);
}

TEST(wipe)
{
    struct sa_arena a = {0}, b = {0};
    uint8_t *bytes;
    make(&a, 5000, 64, 5);
    make(&b, 5000, 64, 6);
    uint8_t *at = raw(&a);
    OK(sa_wipe(&a, &why));
    CHECK(slot_is_noise(arena_slot(&a)));
    SAME(sa_state_of(&a), SA_IS_WIPED);
    SAME(sa_export(&a, false, &bytes), SA_WIPED);
    SAME(sa_export(&a, true, &bytes), SA_WIPED);
    SAME(sa_store(&a, 0, "x", 1), SA_WIPED);
    SAME(sa_rotate(&a, 0, &why), SA_WIPED);
    CHECK(raw(&a) == at); /* the mapping stays */
    OK(sa_wipe(&a, &why));
    OK(sa_check(&a)); /* noise is no damage */
    CHECK(is_content(raw(&b), 5000, 6));
    sa_close(&a);
    SAME(sa_wipe(&a, &why), SA_CLOSED);
}

/* A wipe by another caller leaves nothing that passes for a key. */
TEST(wiped_from_elsewhere)
{
    struct sa_arena a = {0};
    no_marker();
    make(&a, 100, 1, 5);
    SAME(lockdown(), 1);
    SAME(sa_state_of(&a), SA_IS_WIPED);
    OK(sa_fill_begin(&a, &why));
    CHECK(slot_wipe(arena_slot(&a)));
    SAME(sa_fill_end(&a, true), SA_WIPED);
    SAME(sa_state_of(&a), SA_IS_WIPED);
}

/* ---- closing ------------------------------------------------------------------------------------- */

TEST(close)
{
    struct sa_arena a = {0};
    uint8_t *bytes;
    const uint8_t *look;
    make(&a, 100, 1, 5);
    sa_close(&a);
    SAME(sa_state_of(&a), SA_IS_CLOSED);
    SAME(sa_export(&a, false, &bytes), SA_CLOSED);
    SAME(sa_borrow(&a, &look), SA_CLOSED);
    SAME(sa_store(&a, 0, "x", 1), SA_CLOSED);
    SAME(sa_store_random(&a, &why), SA_CLOSED);
    SAME(sa_fill_begin(&a, &why), SA_CLOSED);
    SAME(sa_rotate(&a, 0, &why), SA_CLOSED);
    SAME(sa_check(&a), SA_CLOSED);
    sa_close(&a);
    SAME(status().arenas, 0);
    SAME(status().bytes, 0);
    make(&a, 200, 1, 6); /* the struct may be used again */
    CHECK(is_content(raw(&a), 200, 6));
    SAME(status().bytes, 200);
}

/* The pages stay, with noise, until the last export ends; then they are gone. */
static void close_with_exports(size_t size)
{
    struct sa_arena a = {0};
    uint8_t *one, *two;
    make(&a, size, 1, 5);
    OK(sa_export(&a, false, &one));
    OK(sa_export(&a, false, &two));
    struct slot s = arena_slot(&a);
    sa_close(&a);
    CHECK(slot_is_noise(s));
    SAME(sa_state_of(&a), SA_IS_CLOSED);
    SAME(status().arenas, 1);
    sa_unexport(&a);
    CHECK(readable(one));
    sa_close(&a);
    CHECK(slot_is_noise(s));
    sa_unexport(&a);
    CHECK(!readable(two));
    SAME(status().arenas, 0);
}

TEST(close_under_exports)
{
    close_with_exports(1);
    close_with_exports(5000);
    close_with_exports(300000);
}

TEST(close_inside_a_fill)
{
    struct sa_arena a = {0};
    uint8_t *bytes;
    OK(sa_arena_make(&a, 100, 1, &why));
    OK(sa_export(&a, true, &bytes));
    sa_close(&a);
    SAME(sa_fill_end(&a, true), SA_CLOSED);
    CHECK(readable(bytes));
    sa_unexport(&a);
    CHECK(!readable(bytes));
    SAME(status().arenas, 0);
}

/* What somebody who still holds a buffer stores after the close is not kept. */
TEST(stored_after_the_close)
{
    struct sa_arena a = {0};
    uint8_t *bytes;
    make(&a, page(), 1, 5);
    OK(sa_export(&a, false, &bytes));
    sa_close(&a);
    memset(bytes, 0x5a, page());
    sa_unexport(&a);
    if (os_protect(bytes, page(), OS_READ) == 0) /* parked */
        for (size_t i = 0; i < page(); i += 8)
            CHECK(!is_all(bytes + i, 8, 0x5a));
}

TEST(close_while_borrowed)
{
    struct sa_arena a = {0};
    const uint8_t *look;
    make(&a, 100, 1, 5);
    OK(sa_borrow(&a, &look));
    sa_close(&a);
    CHECK(readable(look));
    CHECK(sa_return(&a) != SA_OK);
    CHECK(!readable(look));
}

TEST(as_many_exports_as_it_gets)
{
    struct sa_arena a = {0};
    uint8_t *bytes;
    make(&a, 1, 1, 1);
    atomic_fetch_add(&a.use, USE_EXPORTS - 1); /* not one by one */
    OK(sa_export(&a, false, &bytes));
    SAME(sa_export(&a, false, &bytes), SA_CROWDED);
    sa_unexport(&a);
    OK(sa_export(&a, false, &bytes));
    SAME(sa_state_of(&a), SA_USABLE);
    CHECK(is_content(bytes, 1, 1));
}

/* ---- canary ---------------------------------------------------------------------------------------- */

struct damage {
    size_t size, align;
    bool behind; /* the bytes; else before them */
    size_t far; /* from the bytes; SIZE_MAX: to the end of the slack */
    unsigned how; /* check, close, rotate, wipe and then check */
};

static void damage(void *with)
{
    const struct damage *d = with;
    struct sa_arena a = {0};
    no_marker();
    make(&a, d->size, d->align, 5);
    uint8_t *at = raw(&a), *data = slot_data(arena_slot(&a));
    uint8_t *spot = d->behind ? at + d->size + (d->far == SIZE_MAX ? a.tail - 1 : d->far)
                              : (d->far == SIZE_MAX ? data : at - 1 - d->far);
    CHECK(sa_check(&a) == SA_OK);
    if (d->behind)
        CHECK(a.tail > 0);
    *spot ^= 0x10;
    close(2); /* it says why */
    if (d->how == 0)
        OK(sa_check(&a));
    else if (d->how == 1)
        sa_close(&a);
    else if (d->how == 2)
        OK(sa_rotate(&a, 0, &why));
    if (d->how == 3) {
        OK(sa_wipe(&a, &why)); /* what was wiped is no longer slack to be checked */
        OK(sa_check(&a));
        sa_close(&a);
    }
}

TEST(damage_is_found)
{
    static const struct {
        size_t size, align;
    } shapes[] = {{1, 1},     {32, 1},      {4095, 1},  {4097, 1},   {33, 64},    {100, 4096},
                  {5000, 16}, {5000, 4096}, {70001, 1}, {70001, 32}, {300001, 16}};
    static const size_t far[] = {0, 1, 7, SIZE_MAX};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (size_t k = 0; k < 4; k++)
            for (unsigned behind = 0; behind < 2; behind++) {
                struct damage d = {shapes[i].size, shapes[i].align, behind, far[k],
                                   (unsigned)(i + k) % 3};
                size_t tail = (d.align - d.size % d.align) % d.align;
                size_t pages = (d.size + tail + page() - 1) / page(), class = 1;
                while (class < pages && class < 16)
                    class *= 2;
                size_t front = (pages > 16 ? pages : class) * page() - tail - d.size;
                size_t slack = behind ? tail : front;
                if (slack == 0 || (d.far != SIZE_MAX && slack <= d.far))
                    continue;
                SAME(death_of(in_child(damage, &d)), SIGABRT);
                d.how = 3;
                SAME(in_child(damage, &d), 0);
            }
}

/* Before anything else, all others are wiped; the observer is the handler of
 * SIGABRT that was there before. */
static struct sa_arena others[3];
static int tell;

static void observer(int sig)
{
    char verdict = 'N';
    for (int i = 0; i < 3; i++)
        if (sig != SIGABRT || is_content(raw(&others[i]), 200, 4))
            verdict = 'S';
    SAME(write(tell, &verdict, 1), 1);
    signal(SIGABRT, SIG_DFL);
}

static void damage_beside_others(void *unused)
{
    (void)unused;
    int before;
    OK(sa_set_lockdown_fd(tell, &before, &why));
    signal(SIGABRT, observer);
    struct sa_arena a = {0};
    make(&a, 100, 1, 5);
    for (int i = 0; i < 3; i++)
        make(&others[i], 200, 1, 4);
    raw(&a)[-1] ^= 1;
    close(2);
    OK(sa_check(&a));
}

TEST(damage_wipes_all_first)
{
    int ends[2];
    char got[8] = "";
    SAME(pipe(ends), 0);
    tell = ends[1];
    SAME(death_of(in_child(damage_beside_others, NULL)), SIGABRT);
    close(ends[1]);
    SAME(read(ends[0], got, sizeof got), 2);
    CHECK(!memcmp(got, "FN", 2)); /* one marker, then the observer */
}

/* ---- threads ------------------------------------------------------------------------------------------ */

static _Atomic bool over;
static struct sa_arena shared;
static _Atomic unsigned seen_whole, seen_wiped;

/* Content is whole or is not lent. */
static void *borrows(void *with)
{
    const uint8_t *look;
    static _Thread_local uint8_t copy[5000];
    while (goes_on(&over)) {
        enum sa_code code = sa_borrow(&shared, &look);
        if (code == SA_OK) {
            memcpy(copy, look, sizeof copy); /* a wiper may be at it */
            code = sa_return(&shared);
            if (code == SA_OK)
                CHECK(is_content(copy, sizeof copy, 5));
        }
        CHECK(code == SA_OK || code == SA_WIPED);
        atomic_fetch_add(code ? &seen_wiped : &seen_whole, 1);
    }
    return with;
}

static void *wipes(void *with)
{
    struct sa_why mine;
    while (goes_on(&over)) {
        if (with)
            lockdown();
        else
            OK(sa_wipe(&shared, &mine));
        pause_ms(under_valgrind() ? 20 : 1); /* longer than a fill and a look take */
    }
    return NULL;
}

TEST(whole_or_not_at_all)
{
    if (UNDER_TSAN) /* a wipe and a look may overlap: the generation tells, not the bytes */
        SKIP("made of what a race detector calls races");
    static uint8_t content[5000];
    pthread_t threads[4];
    no_marker();
    put_content(content, sizeof content, 5);
    make(&shared, 5000, 1, 5);
    SAME(pthread_create(&threads[0], NULL, borrows, NULL), 0);
    SAME(pthread_create(&threads[1], NULL, borrows, NULL), 0);
    SAME(pthread_create(&threads[2], NULL, wipes, NULL), 0);
    SAME(pthread_create(&threads[3], NULL, wipes, &shared), 0);
    /* On a busy machine the others may be late: until they have seen both. */
    for (int i = 0; i < rounds(20000) || seen_whole == 0 || seen_wiped == 0; i++) {
        struct sa_why mine;
        OK(sa_fill_begin(&shared, &mine));
        enum sa_code code = sa_store(&shared, 0, content, sizeof content);
        enum sa_code end = sa_fill_end(&shared, code == SA_OK);
        CHECK(code == SA_OK || code == SA_WIPED);
        CHECK(end == SA_OK || end == SA_WIPED);
        if (under_valgrind())
            pause_ms(1);
    }
    atomic_store(&over, true);
    for (int i = 0; i < 4; i++)
        SAME(pthread_join(threads[i], NULL), 0);
}

#ifdef __linux__ /* macOS has no barriers */
/* Closed by several at once, with exports ending at the same time: given back once. */
static pthread_barrier_t *line;
static struct sa_arena racing;

static void *closes(void *with)
{
    for (int i = rounds(3000); i--;) {
        pthread_barrier_wait(line);
        if (with)
            sa_unexport(&racing);
        else
            sa_close(&racing);
        pthread_barrier_wait(line);
    }
    return NULL;
}

TEST(closed_once)
{
    pthread_t threads[3];
    uint8_t *bytes;
    pthread_barrier_t barrier;
    line = &barrier;
    SAME(pthread_barrier_init(line, NULL, 4), 0);
    for (int i = 0; i < 3; i++)
        SAME(pthread_create(&threads[i], NULL, closes, i == 2 ? &racing : NULL), 0);
    for (int i = rounds(3000); i--;) {
        make(&racing, i % 3 ? 100 : 100000, 1, 1);
        OK(sa_export(&racing, false, &bytes));
        pthread_barrier_wait(line);
        pthread_barrier_wait(line);
        SAME(status().arenas, 0);
        SAME(status().bytes, 0);
        SAME(sa_state_of(&racing), SA_IS_CLOSED);
    }
    for (int i = 0; i < 3; i++)
        SAME(pthread_join(threads[i], NULL), 0);
}
#endif

static void *lives(void *with)
{
    struct sa_arena own = {0};
    uint8_t *bytes;
    unsigned seed = (unsigned)(uintptr_t)with;
    for (int i = rounds(5000); i--;) {
        size_t n = (size_t)rand_r(&seed) % 9000, align = (size_t)1 << rand_r(&seed) % 8;
        make(&own, n, align, seed);
        OK(sa_export(&own, false, &bytes));
        CHECK(is_content(bytes, n, seed));
        OK(sa_check(&own));
        sa_unexport(&own);
        sa_close(&own);
    }
    return NULL;
}

/* The page of a small arena that is closed holds canary all over, nothing of the content, and the
 * next arena there relies on it; not where a wipe came over it while it lived. */
TEST(canary_stays_on_parked_pages)
{
    NEEDS_LOCKED(16 * page()); /* of what users are charged for a sixteenth stays parked */
    struct sa_arena a = {0}, kept = {0};
    make(&kept, 1, 1, 7); /* while one lives pages stay parked */
    for (int wiped = 0; wiped < 2; wiped++)
        for (size_t size = 0; size <= page() / 2; size = size * 3 + 1) {
            make(&a, size, 1, 7);
            uint8_t *data = slot_data(arena_slot(&a)), *end = data + page();
            _Atomic uint64_t *word = slot_word(arena_slot(&a));
            CHECK(canary_whole(data, end - size));
            if (wiped)
                OK(sa_wipe(&a, &why));
            sa_close(&a);
            SAME(word_state(atomic_load(word)), SLOT_PARKED);
            SAME(mprotect(data, page(), PROT_READ), 0);
            CHECK(canary_whole(data, end) == !wiped);
            CHECK(!!(atomic_load(word) & WORD_CANARY) == !wiped);
            CHECK(size < 16 || !is_content(end - size, size, 7));
            SAME(mprotect(data, page(), PROT_NONE), 0);
        }
    for (int i = 0; i < 200; i++) { /* whatever page it gets, of those and others */
        make(&a, (size_t)i * 31 % page(), 1, 7);
        OK(sa_check(&a));
        uint8_t *data = slot_data(arena_slot(&a));
        CHECK(canary_whole(data, data + page() - a.size));
        sa_close(&a);
    }
    sa_close(&kept);
}

/* Content that is there from the first moment on: a copy, or random bytes. */
TEST(made_of_content)
{
    static const size_t sizes[] = {0, 1, 32, 5000, 70000};
    uint8_t source[70000];
    put_content(source, sizeof source, 9);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct sa_arena copy = {0}, random = {0}, other = {0};
        size_t n = sizes[i];
        OK(sa_arena_make_of(&copy, n, 1, (struct sa_content){.from = source}, 0, &why));
        OK(sa_arena_make_of(&random, n, 1, (struct sa_content){.random = true}, 0, &why));
        OK(sa_arena_make_of(&other, n, 1, (struct sa_content){.random = true}, 0, &why));
        SAME(sa_state_of(&copy), SA_USABLE);
        CHECK(is_content(raw(&copy), n, 9));
        CHECK(n < 16 || memcmp(raw(&random), raw(&other), n) != 0);
        CHECK(n < 16 || memcmp(raw(&random), source, n) != 0);
        OK(sa_check(&copy));
        OK(sa_store(&copy, 0, source, n));
        sa_close(&copy);
        sa_close(&random);
        sa_close(&other);
    }
}

static _Atomic bool ended;

static void *wipes_all(void *unused)
{
    while (!atomic_load(&ended)) {
        (void)vault_wipe_all(true);
        pause_ms(1); /* arenas are made in moments without a pass */
    }
    return unused;
}

/* What the kernel puts there after a wipe went by is overwritten: the arena is whole, or noise. */
TEST(wiped_while_it_is_made)
{
    if (UNDER_TSAN || under_valgrind()) /* it is a race; and threads that take turns seldom meet */
        SKIP("ThreadSanitizer or valgrind is at work");
    pthread_t wiper;
    SAME(pthread_create(&wiper, NULL, wipes_all, NULL), 0);
    for (int wiped = 0, turn = 0; wiped < 3; turn++) {
        struct sa_arena a = {0};
        CHECK(turn < 5000);
        OK(sa_arena_make_of(&a, 1 << 20, 1, (struct sa_content){.random = true}, 0, &why));
        if (sa_state_of(&a) == SA_IS_WIPED) {
            atomic_store(&ended, true);
            SAME(pthread_join(wiper, NULL), 0);
            CHECK(slot_is_noise(arena_slot(&a)));
            wiped++;
            atomic_store(&ended, false);
            SAME(pthread_create(&wiper, NULL, wipes_all, NULL), 0);
        }
        sa_close(&a);
    }
    atomic_store(&ended, true);
    SAME(pthread_join(wiper, NULL), 0);
}

TEST(many_lives)
{
    pthread_t threads[4];
    for (uintptr_t i = 0; i < 4; i++)
        SAME(pthread_create(&threads[i], NULL, lives, (void *)(i + 1)), 0);
    for (int i = 0; i < 4; i++)
        SAME(pthread_join(threads[i], NULL), 0);
    SAME(status().arenas, 0);
}

int main(int argc, char **argv)
{
    check_begin("test_arena", argc, argv);
    RUN(alignment);
    RUN(bad_alignment);
    RUN(born_zero_and_in_a_fill);
    RUN(protections);
    RUN(borrow);
    RUN(wipe);
    RUN(wiped_from_elsewhere);
    RUN(close);
    RUN(close_under_exports);
    RUN(close_inside_a_fill);
    RUN(stored_after_the_close);
    RUN(close_while_borrowed);
    RUN(as_many_exports_as_it_gets);
    RUN(damage_is_found);
    RUN(damage_wipes_all_first);
    RUN(whole_or_not_at_all);
#ifdef __linux__
    RUN(closed_once);
#endif
    RUN(canary_stays_on_parked_pages);
    RUN(made_of_content);
    RUN(wiped_while_it_is_made);
    RUN(many_lives);
    return check_end();
}
