/* Where pages come from and go to: batches, parking, limits, memory maps. */
#include "arenas.h"
#include "os/os.h"
#include "vault/budget.h"
#include "vault/state.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#ifdef __linux__
#include "linux.h"
#endif

static struct sa_why why;

static size_t page(void) { return os_page_size(); }

static struct slot take(size_t bytes)
{
    struct slot s;
    enum slot_holds holds;
    OK(vault_take(bytes, bytes, 0, &s, &holds, &why));
    return s;
}

/* Start, as if arenas came and went in a row: then their pages are kept. */
static void start_in_a_row(void)
{
    OK(vault_enter(&why));
    vault.emptied_ms = os_about_now_ms();
}

/* ---- parking ----------------------------------------------------------------------------- */

TEST(parked_pages_are_closed)
{
    start_in_a_row();
    struct slot s = take(1);
    uint8_t *data = slot_data(s);
    slot_publish(s, false);
    memset(data, 0x5a, page());
    CHECK(slot_wipe(s));
    vault_put(s, 1, slot_retire(s));
    CHECK(!readable(data));
    if (word_state(atomic_load(slot_word(s))) != SLOT_PARKED)
        SKIP("slots are not kept here");
    SAME(os_protect(data, page(), OS_READ), 0);
    CHECK(is_noise_from(data, data, page()));
}

/* An address never comes back at once. */
TEST(another_address_each_time)
{
    NEEDS_LOCKED(1 << 20);
    static const size_t pages[] = {1, 16};
    start_in_a_row();
    for (size_t i = 0; i < 2; i++) {
        uint8_t *last = NULL;
        for (int k = 0; k < rounds(3000); k++) {
            struct slot s = take(pages[i] * page());
            CHECK(slot_data(s) != last);
            last = slot_data(s);
            vault_put(s, pages[i] * page(), true);
            if (word_state(atomic_load(slot_word(s))) != SLOT_PARKED)
                SKIP("slots are not kept here");
        }
    }
}

/* Of those parked one of the older half is taken, at random. */
TEST(oldest_half_at_random)
{
    enum { MOST = 128, TRIES = 400 };
    struct slot slots[MOST];
    unsigned times[MOST] = {0}, different = 0, n = 0;
    start_in_a_row();
    vault.classes[0].latest = UINT32_MAX; /* that one would be left over */
    while (n < 64 || (vault.classes[0].parked && n < MOST))
        slots[n++] = take(1); /* until none but these will be parked */
    SAME(vault.classes[0].parked, 0);
    for (int t = 0; t < TRIES; t++) {
        for (unsigned i = 0; i < n; i++)
            vault_put(slots[i], 1, true);
        if (vault.classes[0].parked != n)
            SKIP("slots are not kept here");
        struct slot first = take(1);
        unsigned which = 0;
        while (which < n && slot_data(slots[which]) != slot_data(first))
            which++;
        CHECK(which < (n + 1) / 2);
        times[which]++;
        vault_put(first, 1, true);
        for (unsigned i = 0; i < n; i++) { /* the last one back may not come at once */
            if (vault.classes[0].parked == 1)
                vault.classes[0].latest = UINT32_MAX;
            slots[i] = take(1);
        }
        SAME(vault.classes[0].parked, 0);
    }
    for (unsigned i = 0; i < n / 2; i++) {
        different += times[i] > 0;
        CHECK(times[i] < TRIES / 4); /* 12.5 expected */
    }
    CHECK(different > n / 4);
}

/* Secretmem keeps the machine from hibernating: it goes with the last arena, unless the one
 * before went just now, or by a call. */
TEST(nothing_stays_when_the_last_one_goes)
{
    OK(vault_enter(&why));
    struct slot a = take(1), b = take(3 * page());
    vault_put(a, 1, true);
    vault_put(b, 3 * page(), true);
    SAME(status().secretmem_bytes, 0);
    a = take(1);
    if (!(word_granted(atomic_load(slot_word(a))) & SA_SECRETMEM))
        SKIP("there is no secretmem");
    NEEDS_LOCKED(16 * page()); /* of what users are charged for a sixteenth stays */
    start_in_a_row();
    vault_put(a, 1, true);
    CHECK(status().secretmem_bytes > 0); /* in a row they stay */
    vault.emptied_ms -= 1000;
    vault_put(take(1), 1, true);
    SAME(status().secretmem_bytes, 0);
    start_in_a_row();
    vault_put(take(1), 1, true);
    CHECK(status().secretmem_bytes > 0);
    sa_trim();
    SAME(status().secretmem_bytes, 0);
    SAME(vault.maps, 0);
}

/* A pool's pages too, but not those that are in use. */
TEST(a_pool_is_trimmed)
{
    struct sa_pool *pool;
    struct sa_arena a = {0}, b = {0}, c = {0};
    OK(sa_pool_make(&pool, &why));
    OK(sa_pool_alloc(pool, &a, 32, &why));
    OK(sa_pool_alloc(pool, &b, 320, &why));
    OK(sa_fill_end(&b, true));
    sa_close(&a);
    size_t before = status().locked_bytes;
    if (!before)
        SKIP("nothing is locked here");
    sa_trim();
    CHECK(status().locked_bytes < before && status().locked_bytes >= page());
    OK(sa_check(&b));
    OK(sa_pool_alloc(pool, &c, 32, &why));
    OK(sa_fill_end(&c, true));
    sa_close(&b);
    sa_close(&c);
    sa_trim();
    SAME(status().locked_bytes, 0);
    sa_pool_free(pool);
}

/* However many are closed, few stay. */
TEST(parking_has_an_end)
{
    enum { N = PARKED + 300 };
    static struct slot slots[N];
    if (under_tool())
        SKIP("many maps");
    start_in_a_row();
    for (int i = 0; i < N; i++)
        slots[i] = take(1);
    for (int i = 0; i < N; i++)
        vault_put(slots[i], 1, true);
    CHECK(vault.classes[0].parked <= PARKED);
    CHECK(status().locked_bytes <= PARKED * page());
    SAME(vault.classes[0].mapped, vault.classes[0].parked);
    for (int i = 0; i < N; i++)
        slots[i] = take(1);
    SAME(status().arenas, N);
}

static int turns;

static void *takes_and_puts(void *with)
{
    struct sa_why mine;
    unsigned seed = (unsigned)(uintptr_t)with;
    for (int i = turns; i--;) {
        struct slot s;
        enum slot_holds holds;
        size_t bytes = ((size_t)1 << rand_r(&seed) % 6) * page();
        OK(vault_take(bytes, bytes, 0, &s, &holds, &mine));
        slot_data(s)[bytes - 1] = (uint8_t)seed;
        sched_yield();
        SAME(slot_data(s)[bytes - 1], (uint8_t)seed); /* it is ours alone */
        vault_put(s, bytes, true);
    }
    return NULL;
}

TEST(threads)
{
    pthread_t threads[4];
    start_in_a_row();
    /* Under a low limit each is mapped, fetched and given back anew: 9 ms, where emulated. */
    turns = rounds(os_lock_limit() < 1 << 20 ? 2000 : 20000);
    for (uintptr_t i = 0; i < 4; i++)
        SAME(pthread_create(&threads[i], NULL, takes_and_puts, (void *)(i + 1)), 0);
    for (int i = 0; i < 4; i++)
        SAME(pthread_join(threads[i], NULL), 0);
    size_t parked = 0, mapped = 0;
    for (unsigned c = 0; c < CLASSES; c++) {
        SAME(vault.classes[c].parked, vault.classes[c].mapped);
        parked += vault.classes[c].parked;
        mapped += vault.classes[c].parked * (page() << c);
    }
    CHECK(status().locked_bytes == 0 || status().locked_bytes == mapped);
    SAME(status().arenas, 0);
    CHECK(parked > 0 || status().locked_bytes == 0);
}

#ifdef __linux__
static unsigned granted(struct slot s) { return word_granted(atomic_load(slot_word(s))); }

/* ---- memory maps ---------------------------------------------------------------------------- */

/* Each slot is a map of its own, open or closed: changing its access splits none. */
static void slots_are_maps(void *with)
{
    static const size_t pages[] = {1, 2, 4, 8, 16, 17};
    if (with)
        nobody_with_lock_limit(*(size_t *)with);
    OK(vault_enter(&why));
    struct slot slots[6][3];
    for (size_t i = 0; i < 6; i++)
        for (size_t k = 0; k < 3; k++) {
            struct slot s = slots[i][k] = take(pages[i] * page());
            CHECK(is_exact_map(slot_data(s), s.region->data, "rw-"));
            bool by_nature = granted(s) & SA_SECRETMEM && os_charges_users();
            SAME(!!(granted(s) & SA_LOCK) && !by_nature, map_has(slot_data(s), "lo"));
        }
    for (size_t i = 0; i < 6; i++)
        for (size_t k = 0; k < 3; k++) {
            struct slot s = slots[i][k];
            slot_publish(s, false);
            unsigned before = count_maps();
            SAME(slot_set_access(s, OS_NONE), 0);
            CHECK(is_exact_map(slot_data(s), s.region->data, "---"));
            SAME(slot_set_access(s, OS_READ), 0);
            CHECK(is_exact_map(slot_data(s), s.region->data, "r--"));
            SAME(count_maps(), before);
        }
}

TEST(every_slot_is_one_map)
{
    static size_t none = 0, some = 65536;
    if (under_tool())
        SKIP("needs its own maps and limits");
    SAME(in_child(slots_are_maps, NULL), 0);
    SAME(in_child(slots_are_maps, &some), 0);
    SAME(in_child(slots_are_maps, &none), 0);
}

/* The whole segment of a slot lies in one closed map again, which may go on into
 * the next segment. */
static void is_one_reservation(struct slot s)
{
    struct map m;
    uintptr_t base = (uintptr_t)atomic_load(&s.region->base);
    CHECK(map_at((void *)base, &m) && m.end >= base + s.region->bytes);
    CHECK(!memcmp(m.access, "---", 3));
}

/* Without a lock nothing is kept, and the reservation merges again. */
TEST(given_back_at_once_without_a_lock)
{
    if (under_tool())
        SKIP("needs its own maps and limits");
    enum { N = 100 };
    struct slot slots[N];
    nobody_with_lock_limit(0);
    OK(vault_enter(&why));
    for (int i = 0; i < N; i++) {
        slots[i] = take(1);
        SAME(granted(slots[i]), SA_NODUMP);
    }
    for (int i = 0; i < N; i++) /* with gaps first */
        vault_put(slots[i * 37 % N], 1, true);
    CHECK(count_maps() < 60);
    is_one_reservation(slots[0]);
    SAME(status().locked_bytes, 0);
    SAME(vault.maps, 0);
}

/* What the kernel calls locked: secretmem only where it is charged as such. */
static size_t locked_by_us(void)
{
    struct sa_status now = status();
    return now.locked_bytes - (now.charges_users ? now.secretmem_bytes : 0);
}

/* At the limit parked pages are given back before anything goes unlocked. */
TEST(given_back_before_the_lock_is_missed)
{
    if (under_tool())
        SKIP("needs its own maps and limits");
    enum { LIMIT = 64 };
    struct slot slots[LIMIT];
    nobody_with_lock_limit(LIMIT * page());
    start_in_a_row();
    for (int i = 0; i < LIMIT; i++) {
        slots[i] = take(1);
        CHECK(granted(slots[i]) & SA_LOCK);
    }
    SAME(status().locked_bytes, LIMIT * page());
    SAME(status().lock_limit, LIMIT * page());
    unsigned missing = 0;
    (void)sa_shortfall(&missing, &why); /* of no secretmem at all is told apart */
    struct slot beyond = take(1);
    unsigned falls = budget_is_shared() ? SA_SECRETMEM : SA_LOCK; /* mlock's is another account */
    CHECK(!(granted(beyond) & falls));
    CHECK(sa_shortfall(&missing, &why) && missing & falls);
    CHECK(!strcmp(why.limit, "RLIMIT_MEMLOCK"));
    CHECK(!sa_shortfall(&missing, &why)); /* once */
    vault_put(beyond, 1, true);
    SAME(vault.classes[0].mapped, LIMIT); /* it was not worth keeping */
    for (int i = 0; i < LIMIT; i++)
        vault_put(slots[i], 1, true);
    if (!budget_is_shared()) /* else few stay */
        SAME(vault.classes[0].parked, LIMIT);
    struct slot large[LIMIT / 16];
    for (int i = 0; i < LIMIT / 16; i++) {
        large[i] = take(16 * page());
        CHECK(granted(large[i]) & SA_LOCK);
    }
    SAME(vault.classes[0].mapped, 0);
    SAME(status().locked_bytes, LIMIT * page());
    SAME(status_number("VmLck:") * 1024, locked_by_us());
    is_one_reservation(slots[0]);
    for (int i = 0; i < LIMIT / 16; i++)
        vault_put(large[i], 16 * page(), true);
    struct slot huge = take(LIMIT * page()); /* a mapping of its own */
    CHECK(granted(huge) & SA_LOCK);
    is_one_reservation(large[0]);
    vault_put(huge, LIMIT * page(), true);
    SAME(status().locked_bytes, 0);
    SAME(status_number("VmLck:"), 0);
    SAME(vault.maps, 0);
}

TEST(locked_bytes_are_the_kernels)
{
    NEEDS_LOCKED(1 << 20);
    if (under_tool())
        SKIP("needs its own limits");
    OK(vault_enter(&why));
    size_t before = status_number("VmLck:") * 1024;
    struct slot small = take(1), large = take(100 * page());
    if (!(granted(small) & SA_LOCK))
        SKIP("nothing is locked here");
    SAME(locked_by_us(), status_number("VmLck:") * 1024 - before);
    SAME(status().locked_bytes, 101 * page());
    for (int i = 0; i < 20; i++)
        (void)take(1);
    SAME(locked_by_us(), status_number("VmLck:") * 1024 - before);
    vault_put(large, 100 * page(), true);
    vault_put(small, 1, true);
    SAME(locked_by_us(), status_number("VmLck:") * 1024 - before);
}

TEST(no_descriptor_stays)
{
    unsigned before = count_descriptors();
    OK(vault_enter(&why));
    for (unsigned c = 0; c < 7; c++)
        (void)take(page() << c);
    SAME(count_descriptors(), before);
}

/* ---- the limit on maps -------------------------------------------------------------------------- */

static void *does_nothing(void *with) { return with; }

TEST(a_map_limits_worth)
{
    if (under_tool())
        SKIP("many maps");
    static struct sa_arena arenas[40000];
    size_t n = 0;
    enum sa_code code = SA_OK;
    no_marker();
    OK(vault_enter(&why));
    size_t limit = vault.map_limit;
    while (n < 40000 && !(code = sa_arena_make(&arenas[n], 32, 1, &why))) {
        memset((void *)arena_bytes(&arenas[n]), (int)(n % 255) + 1, 32);
        OK(sa_fill_end(&arenas[n], true));
        n++;
    }
    if (code) {
        SAME(code, SA_NO_MEMORY);
        CHECK(why.limit && !strcmp(why.limit, "vm.max_map_count"));
        SAME(why.allowed, limit);
        CHECK(n > limit / 32 * 15 - 20 && n <= limit / 16 * 15 / 2);
    }
    if (limit >= 65530)
        CHECK(n >= 30000);
    /* The program around us still gets maps of its own. */
    void *blocks[100];
    for (int i = 0; i < 100; i++)
        CHECK((blocks[i] = malloc(1 << 20)));
    pthread_t threads[20];
    for (int i = 0; i < 20; i++)
        SAME(pthread_create(&threads[i], NULL, does_nothing, NULL), 0);
    for (int i = 0; i < 20; i++)
        SAME(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < 100; i++)
        free(blocks[i]);
    /* All are whole, can be sealed and opened, and are wiped. */
    for (size_t i = 0; i < n; i += 997) {
        CHECK(is_all(raw(&arenas[i]), 32, (uint8_t)(i % 255 + 1)));
        SAME(slot_set_access(arena_slot(&arenas[i]), OS_NONE), 0);
        SAME(slot_set_access(arena_slot(&arenas[i]), OS_WRITE), 0);
    }
    SAME(lockdown(), n);
    /* One less makes room for one more, whatever its size class. */
    struct sa_arena more = {0};
    for (size_t i = 0; i < 40 && i < n; i++)
        sa_close(&arenas[i]);
    OK(sa_arena_make(&more, 3 * page(), 1, &why));
    for (size_t i = 40; i < n; i++)
        sa_close(&arenas[i]);
    sa_close(&more);
    SAME(status().arenas, 0);
}

TEST(large_ones_at_the_map_limit)
{
    if (under_tool())
        SKIP("many maps");
    struct slot slots[300];
    OK(vault_enter(&why));
    vault.map_limit = 1000; /* as if; asked anew where it bites, so we set the use as well */
    vault.maps = os_map_limit() / 16 * 15 - 40;
    size_t n = 0;
    enum sa_code code = SA_OK;
    enum slot_holds holds;
    while (n < 300 && !(code = vault_take(17 * page(), 1, 0, &slots[n], &holds, &why)))
        n++;
    SAME(code, SA_NO_MEMORY);
    SAME(n, 10);
    CHECK(why.limit && !strcmp(why.limit, "vm.max_map_count"));
    vault_put(slots[0], 1, true);
    OK(vault_take(17 * page(), 1, 0, &slots[0], &holds, &why));
}

/* ---- other limits --------------------------------------------------------------------------------- */

TEST(little_address_space)
{
    if (under_tool())
        SKIP("tools need all of it");
    limit(RLIMIT_AS, (size_t)200 << 20, (size_t)200 << 20);
    struct sa_arena arenas[200] = {{0}};
    for (int i = 0; i < 200; i++)
        make(&arenas[i], 5000, 1, (unsigned)i);
    CHECK(arena_slot(&arenas[0]).region->bytes <= (size_t)25 << 20);
    void *ours = malloc((size_t)100 << 20); /* most is left to the program */
    CHECK(ours);
    free(ours);
    for (int i = 0; i < 200; i++) {
        CHECK(is_content(raw(&arenas[i]), 5000, (unsigned)i));
        sa_close(&arenas[i]);
    }
}

TEST(no_address_space)
{
    if (under_tool())
        SKIP("tools need all of it");
    struct sa_arena a = {0};
    limit(RLIMIT_AS, (size_t)16 << 20, (size_t)16 << 20);
    OK(vault_enter(&why));
    limit(RLIMIT_AS, 1 << 20, 1 << 20); /* less than is in use */
    SAME(sa_arena_make(&a, 100, 1, &why), SA_NO_MEMORY);
    CHECK(why.call && why.error == ENOMEM);
    SAME(sa_arena_make(&a, 100 * page(), 1, &why), SA_NO_MEMORY);
    SAME(status().arenas, 0);
}

/* Segments of many sizes fill up and are followed by others. */
TEST(many_small_segments)
{
    if (under_tool())
        SKIP("tools need all of it");
    static struct sa_arena arenas[3000];
    no_marker();
    size_t most = page() << 14; /* 64 MiB with pages of 4 KiB: an arena takes two */
    limit(RLIMIT_AS, most, most);
    for (unsigned i = 0; i < 3000; i++)
        make(&arenas[i], 100, 1, i);
    CHECK(atomic_load(&vault.segment_count) > 1);
    for (unsigned i = 0; i < 3000; i++) {
        CHECK(is_content(raw(&arenas[i]), 100, i));
        CHECK(sa_is_secure(raw(&arenas[i]), 100));
    }
    SAME(lockdown(), 3000);
    for (unsigned i = 0; i < 3000; i++)
        sa_close(&arenas[i]);
}

static void under_mlockall(void *with)
{
    if (with)
        nobody_with_lock_limit(*(size_t *)with);
    SAME(mlockall(MCL_FUTURE), 0);
    struct sa_arena arenas[40] = {{0}};
    no_marker();
    for (int i = 0; i < 40; i++)
        make(&arenas[i], 1000, 1, (unsigned)i);
    CHECK(status_number("VmLck:") < 8192); /* the reservation is not locked */
    for (int i = 0; i < 40; i++)
        CHECK(is_content(raw(&arenas[i]), 1000, (unsigned)i));
    CHECK(lockdown() == 40);
    for (int i = 0; i < 40; i++)
        sa_close(&arenas[i]);
}

TEST(mlockall_of_all_future)
{
    NEEDS_LOCKED(1 << 20);
    static size_t usual = (size_t)8 << 20;
    if (under_tool())
        SKIP("tools map much");
    SAME(in_child(under_mlockall, NULL), 0);
    SAME(in_child(under_mlockall, &usual), 0);
}

/* Giving back at the limit works under mlockall too, where even the page that
 * takes the place counts as locked for a moment. */
TEST(given_back_under_mlockall)
{
    if (under_tool())
        SKIP("tools map much");
    nobody_with_lock_limit((size_t)8 << 20);
    no_marker();
    OK(vault_enter(&why));
    SAME(mlockall(MCL_FUTURE), 0);
    static struct slot slots[4000];
    enum slot_holds holds;
    int n = 0;
    while (n < 4000 && !vault_take(1, 1, 0, &slots[n], &holds, &why))
        n++; /* until not even unlocked pages are to be had */
    CHECK(n > 500 && n < 4000);
    for (int i = 0; i < n; i++)
        vault_put(slots[i], 1, true);
    struct slot s = take(16 * page());
    CHECK(granted(s) & SA_LOCK);
    vault_put(s, 16 * page(), true);
}

/* All of it without secretmem, as in many a container. */
TEST(without_secretmem)
{
    if (under_valgrind())
        SKIP("valgrind knows no secretmem anyhow");
    deny(447, EPERM); /* memfd_secret */
    start_in_a_row();
    struct slot small = take(1);
    SAME(granted(small) & SA_SECRETMEM, 0);
    CHECK(!status().secretmem);
    unsigned missing = 0;
    CHECK(sa_shortfall(&missing, &why));
    SAME(missing, SA_SECRETMEM);
    SAME(why.error, EPERM);
    struct slot large = take(50 * page()); /* unlocked, under a low limit */
    SAME(granted(large) & SA_SECRETMEM, 0);
    vault_put(small, 1, true);
    if (granted(small) & SA_LOCK)
        SAME(word_state(atomic_load(slot_word(small))), SLOT_PARKED); /* good enough to keep */
    vault_put(large, 50 * page(), true);
}
#endif

int main(int argc, char **argv)
{
    check_begin("test_pages", argc, argv);
    RUN(parked_pages_are_closed);
    RUN(another_address_each_time);
    RUN(oldest_half_at_random);
    RUN(nothing_stays_when_the_last_one_goes);
    RUN(a_pool_is_trimmed);
    RUN(parking_has_an_end);
    RUN(threads);
#ifdef __linux__
    RUN(every_slot_is_one_map);
    RUN(given_back_at_once_without_a_lock);
    RUN(given_back_before_the_lock_is_missed);
    RUN(locked_bytes_are_the_kernels);
    RUN(no_descriptor_stays);
    RUN(a_map_limits_worth);
    RUN(large_ones_at_the_map_limit);
    RUN(little_address_space);
    RUN(no_address_space);
    RUN(many_small_segments);
    RUN(mlockall_of_all_future);
    RUN(given_back_under_mlockall);
    RUN(without_secretmem);
#endif
    return check_end();
}
