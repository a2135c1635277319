/* Taking, finding and putting slots, as the rest of the core sees the vault. */
#include "arenas.h"
#include "os/os.h"
#include "vault/locks.h"
#include "vault/vault.h"

#include <pthread.h>
#include <sys/resource.h>
#ifdef __linux__
#include "linux.h"
enum { RSS_UNIT = 1024 };
#else
enum { RSS_UNIT = 1 };
#endif

static struct sa_why why;

static size_t page(void) { return os_page_size(); }

static struct slot take(size_t bytes)
{
    struct slot s;
    enum slot_holds holds;
    OK(vault_take(bytes, bytes, 0, &s, &holds, &why));
    SAME(word_state(atomic_load(slot_word(s))), SLOT_OWNED);
    SAME(word_access(atomic_load(slot_word(s))), OS_WRITE);
    if (holds == HOLDS_ZEROS)
        for (size_t i = 0; i < s.region->data; i += 512)
            SAME(slot_data(s)[i], 0);
    return s;
}

static bool is_found(const void *p, size_t n, struct slot s)
{
    struct slot found;
    return vault_find(p, n, &found) && found.region == s.region && found.index == s.index;
}

static bool is_nowhere(const void *p, size_t n)
{
    struct slot found;
    return !vault_find(p, n, &found);
}

/* Every kind of address in and around a slot. */
static void check_addresses(struct slot s)
{
    uint8_t *data = slot_data(s);
    size_t n = s.region->data;
    CHECK(is_found(data, 1, s) && is_found(data, n, s) && is_found(data + n - 1, 1, s));
    CHECK(is_found(data + n / 2, n / 2, s));
    CHECK(is_nowhere(data, n + 1) && is_nowhere(data + n - 1, 2) && is_nowhere(data + 1, n));
    CHECK(is_nowhere(data - 1, 1) && is_nowhere(data - 1, 2) && is_nowhere(data + n, 1));
    CHECK(is_nowhere(data - page(), 1) && is_nowhere(data + n + page() - 1, 1));
    CHECK(is_nowhere(data, SIZE_MAX) && is_nowhere(data + 1, SIZE_MAX - 1));
    CHECK(is_nowhere(data - 1, n + 2)); /* around it */
    CHECK(is_found(data, 0, s) && is_found(data + 1, 0, s) && is_found(data + n, 0, s));
    CHECK(is_nowhere(data - 1, 0) && is_nowhere(data + n + 1, 0));
}

/* ---- addresses --------------------------------------------------------------------------- */

TEST(addresses)
{
    enum { EACH = 20 };
    static const size_t pages[] = {1, 2, 4, 8, 16, 17, 100};
    struct slot slots[7][EACH];
    OK(vault_enter(&why));
    CHECK(is_nowhere(&why, 1) && is_nowhere(NULL, 0) && is_nowhere((void *)UINTPTR_MAX, 1));
    for (size_t i = 0; i < 7; i++)
        for (size_t k = 0; k < EACH; k++) {
            slots[i][k] = take(pages[i] * page());
            SAME(slots[i][k].region->data, pages[i] * page());
        }
    for (size_t i = 0; i < 7; i++)
        for (size_t k = 0; k < EACH; k++)
            check_addresses(slots[i][k]);
    uint8_t *large = slot_data(slots[6][3]), *small = slot_data(slots[0][3]);
    for (size_t i = 0; i < 7; i++)
        for (size_t k = 0; k < EACH; k++)
            vault_put(slots[i][k], pages[i] * page(), true);
    CHECK(is_nowhere(large, 1)); /* its pages are gone; a small one's are kept */
    CHECK(is_found(small, 1, slots[0][3]));
}

static unsigned visits(struct slot which)
{
    unsigned n = 0;
    lock_take(LOCK_VAULT);
    for (struct slot s = {NULL, 0}; vault_next(&s);)
        n += slot_is(s, which);
    lock_give(LOCK_VAULT);
    return n;
}

/* A walk comes by each slot once; not by the place of a large one that went. */
TEST(each_is_visited_once)
{
    static const size_t pages[] = {1, 1, 16, 2, 17, 100, 40, 1};
    struct slot slots[8], none = {NULL, 0};
    OK(vault_enter(&why));
    CHECK(!vault_next(&none));
    for (size_t i = 0; i < 8; i++)
        slots[i] = take(pages[i] * page());
    for (size_t i = 0; i < 8; i++)
        SAME(visits(slots[i]), 1);
    vault_put(slots[5], pages[5] * page(), true);
    SAME(visits(slots[5]), 0);
    SAME(visits(slots[6]), 1); /* which comes after */
    SAME(visits(slots[4]), 1);
}

/* Any size gets the least class that holds it. */
TEST(size_classes)
{
    OK(vault_enter(&why));
    for (size_t pages = 0; pages < 40; pages++)
        for (size_t less = 0; less < (pages ? 2 : 1); less++) {
            size_t want = 1;
            while (want < pages && want < 16)
                want *= 2;
            want = pages > 16 ? pages : want;
            struct slot s = take(pages * page() - less);
            SAME(s.region->data, want * page());
            vault_put(s, pages * page() - less, true);
        }
}

static void touch(void *with)
{
    /* Pages are not inherited, so the child has a slot of its own to fall off. */
    const size_t *sizes = with;
    OK(vault_enter(&why));
    struct slot s = take(sizes[0]);
    volatile uint8_t *data = slot_data(s);
    data[0] = data[s.region->data - 1] = 1;
    if (sizes[2])
        data[(ptrdiff_t)(sizes[1] ? s.region->data : 0) - !sizes[1]] = 1;
    else
        (void)data[(ptrdiff_t)(sizes[1] ? s.region->data : 0) - !sizes[1]];
}

TEST(guards_fault_on_both_sides)
{
    static const size_t pages[] = {1, 2, 4, 8, 16, 17, 300};
    for (size_t i = 0; i < 7; i++)
        for (size_t above = 0; above < 2; above++)
            for (size_t store = 0; store < 2; store++) {
                size_t with[] = {pages[i] * page(), above, store};
                CHECK(is_fault(death_of(in_child(touch, with))));
            }
    OK(vault_enter(&why));
    for (size_t i = 0; i < 7; i++) {
        struct slot s = take(pages[i] * page());
        uint8_t *data = slot_data(s), *end = data + s.region->data;
        CHECK(readable(data) && readable(end - 1));
        CHECK(!readable(data - 1) && !readable(data - page()));
        CHECK(!readable(end) && !readable(end + page() - 1));
    }
}

/* ---- sizes ----------------------------------------------------------------------------------- */

TEST(impossible_sizes)
{
    OK(vault_enter(&why));
    struct sa_status before = status();
    const size_t sizes[] = {SIZE_MAX,
                            SIZE_MAX - 1,
                            SIZE_MAX - page(),
                            SIZE_MAX - 3 * page(),
                            SIZE_MAX / 2 + 1,
                            PTRDIFF_MAX,
                            (size_t)PTRDIFF_MAX - 2 * page(),
                            (size_t)1 << 62};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (size_t align = 1; align <= page(); align *= 16) {
            struct sa_arena a = {0};
            if (UNDER_ASAN && sizes[i] < SIZE_MAX / 2)
                continue; /* it reports what its mmap refuses */
            why = (struct sa_why){0};
            SAME(sa_arena_make(&a, sizes[i], align, &why), SA_NO_MEMORY);
            SAME(sa_state_of(&a), SA_IS_CLOSED);
            sa_close(&a);
        }
    struct sa_status after = status();
    SAME(after.arenas, before.arenas);
    SAME(after.bytes, before.bytes);
    SAME(after.locked_bytes, before.locked_bytes);
    struct slot s = take(1); /* and all goes on */
    vault_put(s, 1, true);
}

TEST(status_counts)
{
    OK(vault_enter(&why));
    SAME(status().arenas, 0);
    struct slot one = take(100), two = take(20 * page());
    struct sa_status now = status();
    SAME(now.arenas, 2);
    SAME(now.bytes, 100 + 20 * page());
    CHECK(now.started);
    vault_put(one, 100, true);
    vault_put(two, 20 * page(), true);
    now = status();
    SAME(now.arenas, 0);
    SAME(now.bytes, 0);
}

/* ---- wiping all ---------------------------------------------------------------------------------- */

TEST(wipes_all_that_is_live)
{
    enum { EACH = 12 };
    static const size_t pages[] = {1, 2, 4, 8, 16, 17, 40};
    struct slot slots[7][EACH];
    OK(vault_enter(&why));
    for (size_t i = 0; i < 7; i++)
        for (size_t k = 0; k < EACH; k++) {
            struct slot s = slots[i][k] = take(pages[i] * page());
            memset(slot_data(s), 0x5a, s.region->data);
            if (k % 3) /* the others stay owned: they hold no secret yet */
                slot_publish(s, false);
            if (k % 3 == 2)
                SAME(slot_set_access(s, (enum os_access)(k / 3 % 2)), 0); /* none, read */
        }
    SAME(vault_wipe_all(true), 7 * EACH / 3 * 2);
    for (size_t i = 0; i < 7; i++)
        for (size_t k = 0; k < EACH; k++) {
            struct slot s = slots[i][k];
            SAME(slot_generation(s) > 0, k % 3 != 0);
            if (k % 3 == 2) { /* what was closed is closed again */
                SAME(word_access(atomic_load(slot_word(s))), k / 3 % 2);
                SAME(readable(slot_data(s)), k / 3 % 2);
                SAME(os_protect(slot_data(s), s.region->data, OS_WRITE), 0);
            }
            if (k % 3)
                CHECK(slot_is_noise(s));
            else
                CHECK(is_all(slot_data(s), s.region->data, 0x5a));
        }
    memset(slot_data(slots[0][2]), 0x5a, page());
    SAME(vault_wipe_all(false), 7 * EACH / 3 * 2);
    CHECK(slot_is_noise(slots[0][2])); /* left open where nobody closes it again */
}

static _Atomic bool over;

static void *locks_down(void *unused)
{
    while (goes_on(&over))
        lockdown();
    return unused;
}

/* A lockdown puts a seal back on; the slot may be gone by then. It must not wait
 * for the slot to come back. */
TEST(closing_under_a_lockdown)
{
    if (UNDER_TSAN) /* the owner and the lockdown wipe at once: by design both write */
        SKIP("made of what a race detector calls races");
    pthread_t thread;
    alarm(HANGS);
    no_marker();
    OK(vault_enter(&why));
    SAME(pthread_create(&thread, NULL, locks_down, NULL), 0);
    for (int i = rounds(3000); i--;) {
        struct slot s = take(1);
        slot_publish(s, false);
        SAME(slot_set_access(s, OS_NONE), 0);
        CHECK(slot_wipe(s));
        vault_put(s, 1, slot_retire(s));
    }
    atomic_store(&over, true);
    SAME(pthread_join(thread, NULL), 0);
}

/* Looking up an address while large arenas come and go. */
static void *looks_up(void *with)
{
    struct slot found;
    while (goes_on(&over)) {
        CHECK(vault_find(with, 1, &found));
        CHECK(is_nowhere((void *)(UINTPTR_MAX - 9), 1)); /* above all, so that each is looked at */
    }
    return NULL;
}

TEST(finding_under_way)
{
    pthread_t thread;
    OK(vault_enter(&why));
    struct slot fixed = take(1);
    SAME(pthread_create(&thread, NULL, looks_up, slot_data(fixed)), 0);
    for (size_t i = 0; i < (size_t)(UNDER_TSAN ? 1500 : rounds(500)); i++) {
        size_t bytes = (17 + i % 50) * page();
        struct slot s = take(bytes);
        if (!UNDER_TSAN) { /* which remembers but the last few looks: those of the thread */
            CHECK(is_found(slot_data(fixed), 1, fixed));
            CHECK(is_found(slot_data(s) + bytes - 1, 1, s));
        }
        vault_put(s, bytes, true);
    }
    atomic_store(&over, true);
    SAME(pthread_join(thread, NULL), 0);
}

/* ---- large ones ---------------------------------------------------------------------------------- */

TEST(one_gibibyte)
{
    size_t gib = (size_t)1 << 30;
    struct rusage usage;
    no_marker();
    struct sa_arena a = {0};
    OK(vault_enter(&why));
    if (status().lock_limit < 2 * gib)
        SKIP("the lock limit is below a GiB");
    OK(sa_arena_make(&a, gib - 5, 1, &why));
    uint8_t *bytes;
    OK(sa_export(&a, true, &bytes));
    for (size_t at = 0; at < gib - 5; at += gib / 16)
        bytes[at] = 0x5a;
    bytes[gib - 6] = 0x5a;
    sa_unexport(&a);
    OK(sa_fill_end(&a, true));
    CHECK(!readable(raw(&a) + gib - 5));
    SAME(lockdown(), 1);
    SAME(sa_state_of(&a), SA_IS_WIPED);
    bytes = raw(&a);
    const uint8_t *data = slot_data(arena_slot(&a)), *last = data + arena_slot(&a).region->data;
    for (size_t at = 0; at < gib - 5; at += gib / 16) { /* the noise of before the rekey */
        const uint8_t *here = data + ((size_t)(bytes + at - data) & ~(size_t)(NOISE_BYTES - 1));
        CHECK(bytes[at] != 0x5a || bytes[at + 1] != 0);
        CHECK(!memcmp(here, last - NOISE_BYTES, NOISE_BYTES));
    }
    sa_close(&a);
    SAME(status().locked_bytes, 0);
    CHECK(!readable(bytes));
    SAME(getrusage(RUSAGE_SELF, &usage), 0);
    if (!under_tool()) /* untouched pages are never touched */
        CHECK((size_t)usage.ru_maxrss < gib / 4 / RSS_UNIT);
}

TEST(large_ones_come_and_go)
{
    enum { LIVE = 40 };
    struct slot live[LIVE];
    size_t sizes[LIVE] = {0};
    OK(vault_enter(&why));
    for (int i = 0; i < rounds(2000); i++) {
        int k = rand() % LIVE;
        if (sizes[k]) {
            CHECK(is_found(slot_data(live[k]) + sizes[k] - 1, 1, live[k]));
            vault_put(live[k], sizes[k], true);
            sizes[k] = 0;
        } else {
            sizes[k] = (17 + (size_t)rand() % 60) * page();
            live[k] = take(sizes[k]);
            CHECK(!readable(slot_data(live[k]) - 1));
            CHECK(!readable(slot_data(live[k]) + sizes[k]));
        }
    }
    for (int k = 0; k < LIVE; k++)
        if (sizes[k])
            vault_put(live[k], sizes[k], true);
    SAME(status().arenas, 0);
    SAME(status().locked_bytes, 0);
}

int main(int argc, char **argv)
{
    check_begin("test_vault", argc, argv);
    RUN(addresses);
    RUN(each_is_visited_once);
    RUN(size_classes);
    RUN(guards_fault_on_both_sides);
    RUN(impossible_sizes);
    RUN(status_counts);
    RUN(wipes_all_that_is_live);
    RUN(closing_under_a_lockdown);
    RUN(finding_under_way);
    RUN(one_gibibyte);
    RUN(large_ones_come_and_go);
    return check_end();
}
