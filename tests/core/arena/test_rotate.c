/* Moving an arena to fresh pages: what stays, what goes, who waits. */
#include "arenas.h"

#include <pthread.h>
#include <sched.h>
#ifdef __linux__
#include "linux.h"
#endif

static struct sa_why why;

static size_t page(void) { return os_page_size(); }

TEST(content_moves)
{
    NEEDS_LOCKED(8 << 20);
    static const size_t sizes[] = {0, 1, 100, 4095, 4096, 4097, 65536, 65537, 300001, 3000000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (size_t align = 1; align <= page(); align *= 64) {
            struct sa_arena a = {0};
            size_t n = sizes[i];
            make(&a, n, align, 5);
            uint8_t *old = raw(&a);
            unsigned protection = sa_protection_of(&a);
            uint64_t rekeys = status().rekeys;
            for (int k = 0; k < 3; k++) {
                OK(sa_rotate(&a, 0, &why));
                uint8_t *now = raw(&a);
                CHECK(now != old);
                SAME((uintptr_t)now % align, 0);
                CHECK(is_content(now, n, 5));
                SAME(sa_state_of(&a), SA_USABLE);
                CHECK(!readable(old)); /* a stale pointer faults */
                CHECK(!sa_is_secure(old, 1) && (n == 0 || sa_is_secure(now, n)));
                CHECK(!readable(slot_data(arena_slot(&a)) + arena_slot(&a).region->data));
                OK(sa_check(&a));
                old = now;
            }
            SAME(sa_protection_of(&a), protection);
            SAME(status().rekeys, rekeys + 3);
            SAME(status().arenas, 1);
            SAME(status().bytes, n);
            sa_close(&a);
            SAME(status().arenas, 0);
        }
}

/* What is left behind on the parked pages is noise. */
TEST(old_pages_hold_noise)
{
    struct sa_arena a = {0};
    make(&a, page(), 1, 5);
    uint8_t *old = raw(&a);
    OK(sa_rotate(&a, 0, &why));
    if (os_protect(old, page(), OS_READ) == 0) /* parked, or mere address space again */
        CHECK(is_noise_from(old, old, page()) || is_all(old, page(), 0));
}

/* Untouched pages of a large arena stay untouched. */
static void stays_sparse(void)
{
    enum { PAGES = 5000 };
    struct sa_arena a = {0};
    static unsigned char vec[PAGES];
    OK(sa_arena_make(&a, PAGES * page(), 1, &why));
    raw(&a)[1234 * page()] = 0x5a;
    raw(&a)[PAGES * page() - 1] = 0x5b;
    OK(sa_fill_end(&a, true));
    OK(sa_rotate(&a, 0, &why));
    size_t touched = 0;
    SAME(os_touched(raw(&a), PAGES * page(), vec), 0);
    for (int i = 0; i < PAGES; i++)
        touched += vec[i] & 1;
    CHECK(touched >= 2);
#ifdef __linux__ /* elsewhere a lock fetches all of them */
    if (!under_tool())
        SAME(touched, 2);
#endif
    SAME(raw(&a)[1234 * page()], 0x5a);
    SAME(raw(&a)[PAGES * page() - 1], 0x5b);
    CHECK(is_all(raw(&a) + 2000 * page(), page(), 0));
}

TEST(large_ones_stay_sparse) { stays_sparse(); }

#ifdef __linux__
TEST(unlocked_ones_stay_sparse)
{
    nobody_with_lock_limit(0);
    stays_sparse();
}
#endif

/* ---- refusals ---------------------------------------------------------------------------- */

static long elapsed_ms(const struct timespec *since)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - since->tv_sec) * 1000 + (now.tv_nsec - since->tv_nsec) / 1000000;
}

TEST(exports_forbid_it)
{
    struct sa_arena a = {0};
    uint8_t *bytes;
    struct timespec begin;
    make(&a, 100, 1, 5);
    OK(sa_export(&a, false, &bytes));
    long at_once, waited, tries = 0;
    do { /* it is late by chance, where the machine is busy, but not each time */
        clock_gettime(CLOCK_MONOTONIC, &begin);
        SAME(sa_rotate(&a, 0, &why), SA_BUSY);
        at_once = elapsed_ms(&begin);
        clock_gettime(CLOCK_MONOTONIC, &begin);
        SAME(sa_rotate(&a, 100, &why), SA_BUSY);
        waited = elapsed_ms(&begin);
        CHECK(waited >= 99);
    } while ((at_once >= 50 || waited >= 400) && ++tries < 50);
    CHECK(at_once < 50 && waited < 400);
    CHECK(raw(&a) == bytes && is_content(bytes, 100, 5)); /* nothing changed */
    SAME(sa_state_of(&a), SA_USABLE);
    sa_unexport(&a);
    OK(sa_rotate(&a, 0, &why));
}

static struct sa_arena shared;

static void *unexports_soon(void *with)
{
    pause_ms(50);
    sa_unexport(&shared);
    return with;
}

TEST(waits_for_exports)
{
    pthread_t thread;
    uint8_t *bytes;
    make(&shared, 100, 1, 5);
    OK(sa_export(&shared, false, &bytes));
    SAME(pthread_create(&thread, NULL, unexports_soon, NULL), 0);
    OK(sa_rotate(&shared, 20000, &why));
    SAME(pthread_join(thread, NULL), 0);
    CHECK(is_content(raw(&shared), 100, 5));
}

static void *returns_soon(void *with)
{
    pause_ms(50);
    OK(sa_return(&shared));
    return with;
}

/* Our own short looks never make it refuse. */
TEST(waits_for_borrowers)
{
    pthread_t thread;
    const uint8_t *look;
    make(&shared, 100, 1, 5);
    OK(sa_borrow(&shared, &look));
    SAME(pthread_create(&thread, NULL, returns_soon, NULL), 0);
    OK(sa_rotate(&shared, 0, &why));
    SAME(pthread_join(thread, NULL), 0);
}

TEST(states_forbid_it)
{
    struct sa_arena a = {0};
    SAME(sa_rotate(&a, 0, &why), SA_CLOSED);
    make(&a, 100, 1, 5);
    uint8_t *at = raw(&a);
    OK(sa_fill_begin(&a, &why));
    SAME(sa_rotate(&a, 1000, &why), SA_FILLING);
    OK(sa_fill_end(&a, false));
    SAME(sa_rotate(&a, 0, &why), SA_WIPED);
    CHECK(raw(&a) == at);
    sa_close(&a);
    SAME(sa_rotate(&a, 0, &why), SA_CLOSED);
}

#ifdef __linux__
TEST(no_entropy_no_change)
{
    if (under_valgrind())
        SKIP("valgrind needs the system call");
    struct sa_arena a = {0};
    make(&a, 100, 1, 5);
    uint8_t *at = raw(&a);
    deny(SYS_getrandom, EAGAIN);
    SAME(sa_rotate(&a, 0, &why), SA_OS_ERROR);
    SAME(why.error, EAGAIN);
    CHECK(raw(&a) == at && is_content(at, 100, 5));
    SAME(sa_state_of(&a), SA_USABLE);
    OK(sa_check(&a));
}

TEST(no_pages_no_change)
{
    if (under_tool())
        SKIP("tools need address space");
    struct sa_arena a = {0};
    make(&a, 300000, 1, 5);
    uint8_t *at = raw(&a);
    limit(RLIMIT_AS, 1 << 20, 1 << 20);
    SAME(sa_rotate(&a, 0, &why), SA_NO_MEMORY);
    CHECK(raw(&a) == at && is_content(at, 300000, 5));
    SAME(sa_state_of(&a), SA_USABLE);
    SAME(status().arenas, 1);
    OK(sa_check(&a));
}
#endif

/* ---- threads -------------------------------------------------------------------------------- */

enum { SIZE = 9000, LARGE = 200000 };
static _Atomic bool over;
static struct sa_arena arenas[3];
static const size_t sizes[3] = {100, SIZE, LARGE};
static _Atomic unsigned rotated, whole, wiped, fills;

static void *rotates(void *with)
{
    struct sa_why mine;
    for (unsigned i = 0; goes_on(&over); i++) {
        enum sa_code code = sa_rotate(&arenas[i % 3], i % 5, &mine);
        CHECK(code == SA_OK || code == SA_WIPED || code == SA_FILLING || code == SA_BUSY);
        atomic_fetch_add(&rotated, code == SA_OK);
    }
    return with;
}

/* Content is whole wherever it is read, or it is not lent. */
static void *reads(void *with)
{
    static _Thread_local uint8_t copy[LARGE];
    for (unsigned i = 0; goes_on(&over); i++) {
        unsigned k = i % 3;
        const uint8_t *look;
        uint8_t *bytes;
        enum sa_code code;
        if (i % 4 == 0) {
            if ((code = sa_export(&arenas[k], false, &bytes)) == SA_OK) {
                uint64_t good = atomic_load(&arenas[k].good);
                bool filling = atomic_load(&arenas[k].use) & USE_FILL;
                memcpy(copy, bytes, sizes[k]);
                if (filling || !arena_whole(&arenas[k]) || atomic_load(&arenas[k].good) != good)
                    code = SA_WIPED; /* or wiped, and filled anew or just being so */
                sa_unexport(&arenas[k]);
            }
        } else if ((code = sa_borrow(&arenas[k], &look)) == SA_OK) {
            memcpy(copy, look, sizes[k]);
            code = sa_return(&arenas[k]);
        }
        CHECK(code == SA_OK || code == SA_WIPED);
        if (code == SA_OK)
            CHECK(is_content(copy, sizes[k], k));
        atomic_fetch_add(code ? &wiped : &whole, 1);
    }
    return with;
}

static void *fills_what_was_wiped(void *with)
{
    static _Thread_local uint8_t content[LARGE];
    struct sa_why mine;
    for (unsigned i = 0; goes_on(&over); i++) {
        unsigned k = i % 3;
        if (sa_state_of(&arenas[k]) == SA_USABLE)
            continue;
        put_content(content, sizes[k], k);
        OK(sa_fill_begin(&arenas[k], &mine));
        enum sa_code code = sa_store(&arenas[k], 0, content, sizes[k]);
        CHECK(code == SA_OK || code == SA_WIPED);
        atomic_fetch_add(&fills, sa_fill_end(&arenas[k], code == SA_OK) == SA_OK);
    }
    return with;
}

static void *locks_down(void *with)
{
    while (goes_on(&over)) {
        CHECK(lockdown() <= 6);
        pause_ms(2);
    }
    return with;
}

static void work(void *(*const bodies[])(void *), size_t count, long ms)
{
    pthread_t threads[8];
    for (unsigned k = 0; k < 3; k++)
        make(&arenas[k], sizes[k], 1, k);
    for (size_t i = 0; i < count; i++)
        SAME(pthread_create(&threads[i], NULL, bodies[i], NULL), 0);
    pause_ms(ms);
    atomic_store(&over, true);
    for (size_t i = 0; i < count; i++)
        SAME(pthread_join(threads[i], NULL), 0);
    CHECK(rotated > 0);
    for (unsigned k = 0; k < 3; k++) {
        if (sa_state_of(&arenas[k]) == SA_USABLE) {
            OK(sa_check(&arenas[k]));
            CHECK(is_content(raw(&arenas[k]), sizes[k], k));
        }
        sa_close(&arenas[k]);
    }
    SAME(status().arenas, 0);
}

/* Nothing is wiped here, so nothing may be lost. */
TEST(rotate_and_read)
{
    void *(*const bodies[])(void *) = {rotates, reads, reads, rotates};
    work(bodies, 4, 1500);
    SAME(wiped, 0);
    CHECK(whole > 0);
}

TEST(rotate_read_and_lock_down)
{
    if (UNDER_TSAN) /* a look and a wipe may overlap: the generation tells, not the bytes */
        SKIP("made of what a race detector calls races");
    void *(*const bodies[])(void *) = {rotates, reads, fills_what_was_wiped, locks_down, rotates};
    no_marker();
    work(bodies, 5, 3000);
    CHECK(whole > 0 && wiped > 0 && fills > 0);
}

/* Rotations against wipes alone: a wipe that came first means noise, never a copy. */
static void *wipes(void *with)
{
    struct sa_why mine;
    for (unsigned i = 0; goes_on(&over); i++) {
        OK(sa_wipe(&arenas[i % 3], &mine));
        SAME(sa_state_of(&arenas[i % 3]), SA_IS_WIPED); /* nobody fills it */
        pause_ms(1);
    }
    return with;
}

TEST(a_wipe_sticks)
{
    void *(*const bodies[])(void *) = {rotates, wipes};
    for (int i = rounds(20); i--;) {
        atomic_store(&over, false);
        atomic_fetch_add(&rotated, 1); /* the wipes may be faster than the first rotation */
        work(bodies, 2, 20);
    }
}

/* Each lockdown looks at all that is mapped as slots: the secret is nowhere. */
static _Atomic unsigned passes;

static void *moves(void *with)
{
    struct sa_why mine;
    struct sa_arena *a = &arenas[1];
    static _Thread_local uint8_t content[SIZE];
    put_content(content, SIZE, 1);
    while (goes_on(&over)) {
        if (sa_rotate(a, 0, &mine) != SA_OK) {
            OK(sa_fill_begin(a, &mine));
            enum sa_code code = sa_store(a, 0, content, SIZE);
            (void)!sa_fill_end(a, code == SA_OK);
        }
    }
    return with;
}

TEST(nowhere_after_a_pass)
{
    if (UNDER_TSAN)
        SKIP("looks at pages without asking");
    pthread_t thread;
    no_marker();
    make(&arenas[1], SIZE, 1, 1);
    struct sa_region *region = arena_slot(&arenas[1]).region;
    SAME(pthread_create(&thread, NULL, moves, NULL), 0);
    for (int i = rounds(3000); i--;) {
        wipers_enter();
        (void)vault_wipe_all(false);
        /* No copy from slot to slot begins now; a store from outside is looked at
         * by its generation and wiped again, so it is let through here. */
        unsigned secrets = 0, stored = 0;
        for (uint32_t k = 0; k < atomic_load(&region->used); k++) {
            struct slot s = {region, k};
            uint64_t h = atomic_load(slot_word(s));
            /* Pinned as wipers do, so that it stays mapped while we look. One that is
             * busy now was wiped by the pass, or is being prepared. */
            if (word_state(h) != SLOT_LIVE || word_access(h) != OS_WRITE || h & WORD_BUSY ||
                !atomic_compare_exchange_strong(slot_word(s), &h, h + WORD_PIN))
                continue;
            secrets += is_content(slot_data(s) + s.region->data - SIZE, SIZE, 1);
            stored += (atomic_load(&arenas[1].use) & USE_FILL) != 0;
            atomic_fetch_sub(slot_word(s), WORD_PIN);
        }
        CHECK(secrets == 0 || stored > 0);
        wipers_leave();
        atomic_fetch_add(&passes, 1);
        pause_ms(0);
    }
    atomic_store(&over, true);
    SAME(pthread_join(thread, NULL), 0);
    CHECK(passes > 0);
}

int main(int argc, char **argv)
{
    check_begin("test_rotate", argc, argv);
    RUN(content_moves);
    RUN(old_pages_hold_noise);
    RUN(large_ones_stay_sparse);
#ifdef __linux__
    RUN(unlocked_ones_stay_sparse);
#endif
    RUN(exports_forbid_it);
    RUN(waits_for_exports);
    RUN(waits_for_borrowers);
    RUN(states_forbid_it);
#ifdef __linux__
    RUN(no_entropy_no_change);
    RUN(no_pages_no_change);
#endif
    RUN(rotate_and_read);
    RUN(rotate_read_and_lock_down);
    RUN(a_wipe_sticks);
    RUN(nowhere_after_a_pass);
    return check_end();
}
