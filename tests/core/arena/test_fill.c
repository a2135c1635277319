/* Fills, which make a wiped arena usable, and stores. */
#include "arenas.h"

#include <pthread.h>
#include <sched.h>
#ifdef __linux__
#include "linux.h"
#endif

static struct sa_why why;

/* ---- fills --------------------------------------------------------------------------------- */

TEST(fill_makes_it_usable)
{
    struct sa_arena a = {0};
    uint8_t *bytes;
    make_wiped(&a, 5000, 16);
    SAME(sa_state_of(&a), SA_IS_WIPED);
    OK(sa_fill_begin(&a, &why));
    SAME(sa_state_of(&a), SA_IS_WIPED);
    SAME(sa_export(&a, false, &bytes), SA_WIPED);
    OK(sa_export(&a, true, &bytes));
    put_content(bytes, 5000, 1);
    OK(sa_fill_end(&a, true));
    SAME(sa_state_of(&a), SA_USABLE);
    CHECK(is_content(bytes, 5000, 1)); /* the export goes on */
    sa_unexport(&a);
    OK(sa_check(&a));
}

/* What was there is gone from the first moment. */
TEST(fill_begins_with_noise)
{
    struct sa_arena a = {0};
    make(&a, 5000, 1, 1);
    OK(sa_fill_begin(&a, &why));
    CHECK(is_noise_from(slot_data(arena_slot(&a)), raw(&a), 5000));
    SAME(sa_state_of(&a), SA_IS_WIPED);
    OK(sa_fill_end(&a, false));
    CHECK(slot_is_noise(arena_slot(&a)));
    SAME(sa_state_of(&a), SA_IS_WIPED);
}

/* A reader of usable content would see the noise. A wiped arena has no readers. */
TEST(readers_forbid_a_fill)
{
    struct sa_arena a = {0};
    struct sa_block block;
    uint8_t *bytes;
    make(&a, 100, 1, 1);
    OK(sa_export(&a, false, &bytes));
    SAME(sa_fill_begin(&a, &why), SA_BUSY);
    CHECK(is_content(bytes, 100, 1));
    sa_unexport(&a);
    for (int change = 0; change < 2; change++) {
        OK(sa_open(&a, change, &block, &why));
        SAME(sa_fill_begin(&a, &why), SA_FILLING);
        CHECK(is_content(raw(&a), 100, 1));
        SAME(sa_state_of(&a), SA_USABLE);
        OK(sa_open_end(&block, &why));
    }
    OK(sa_open(&a, false, &block, &why));
    OK(sa_export(&a, false, &bytes));
    OK(sa_wipe(&a, &why));
    OK(sa_fill_begin(&a, &why));
    put_content(raw(&a), 100, 2);
    OK(sa_fill_end(&a, true));
    sa_unexport(&a);
    CHECK(is_content(raw(&a), 100, 2));
    SAME(sa_open_end(&block, &why), SA_WIPED); /* what it read first may have been noise */
    OK(sa_check(&a));
}

TEST(failed_fill_leaves_noise)
{
    struct sa_arena a = {0};
    make_wiped(&a, 5000, 1);
    OK(sa_fill_begin(&a, &why));
    put_content(raw(&a), 5000, 1);
    OK(sa_fill_end(&a, false));
    CHECK(slot_is_noise(arena_slot(&a)));
    SAME(sa_state_of(&a), SA_IS_WIPED);
    OK(sa_fill_begin(&a, &why)); /* and the next may do better */
    OK(sa_fill_end(&a, true));
    SAME(sa_state_of(&a), SA_USABLE);
}

TEST(one_fill_at_a_time)
{
    struct sa_arena a = {0};
    make(&a, 100, 1, 9);
    for (int good = 0; good < 2; good++) {
        OK(sa_fill_begin(&a, &why));
        put_content(raw(&a), 100, 1);
        SAME(sa_fill_begin(&a, &why), SA_FILLING);
        CHECK(is_content(raw(&a), 100, 1)); /* the second changed nothing */
        OK(sa_fill_end(&a, good));
        SAME(sa_state_of(&a), good ? SA_USABLE : SA_IS_WIPED);
    }
}

TEST(wiped_meanwhile)
{
    struct sa_arena a = {0};
    uint8_t *bytes;
    for (int how = 0; how < 3; how++) {
        no_marker();
        make_wiped(&a, 100, 1);
        OK(sa_fill_begin(&a, &why));
        if (how == 0)
            OK(sa_wipe(&a, &why));
        else if (how == 1)
            CHECK(slot_wipe(arena_slot(&a)));
        else
            SAME(lockdown(), 1);
        put_content(raw(&a), 100, 1); /* behind the wiper's back */
        SAME(sa_export(&a, true, &bytes), SA_WIPED);
        SAME(sa_store(&a, 0, "x", 1), SA_WIPED);
        SAME(sa_store_random(&a, &why), SA_WIPED);
        SAME(sa_fill_end(&a, true), SA_WIPED);
        CHECK(slot_is_noise(arena_slot(&a)));
        SAME(sa_state_of(&a), SA_IS_WIPED);
        sa_close(&a);
    }
}

TEST(fill_and_rotate)
{
    struct sa_arena a = {0};
    make(&a, 100, 1, 1);
    OK(sa_fill_begin(&a, &why));
    SAME(sa_rotate(&a, 0, &why), SA_FILLING);
    OK(sa_fill_end(&a, true));
    OK(sa_rotate(&a, 0, &why));
}

/* ---- stores ----------------------------------------------------------------------------------- */

TEST(store)
{
    static const size_t sizes[] = {1, 100, 5000, 70001, 300000};
    static uint8_t content[300000];
    put_content(content, sizeof content, 3);
    for (size_t i = 0; i < 5; i++) {
        struct sa_arena a = {0};
        size_t n = sizes[i];
        OK(sa_arena_make(&a, n, 1, &why));
        OK(sa_store(&a, 0, content, n / 2));
        OK(sa_store(&a, n / 2, content + n / 2, n - n / 2));
        OK(sa_fill_end(&a, true));
        CHECK(is_content(raw(&a), n, 3));
        OK(sa_store(&a, n - 1, "!", 1)); /* a usable one may be written in part */
        SAME(raw(&a)[n - 1], '!');
        CHECK(is_content(raw(&a), n - 1, 3));
        OK(sa_check(&a));
        SAME(sa_store(&a, 0, content, n + 1), SA_BAD_RANGE);
        SAME(sa_store(&a, n, content, 1), SA_BAD_RANGE);
        SAME(sa_store(&a, SIZE_MAX, content, 1), SA_BAD_RANGE);
        SAME(sa_store(&a, 1, content, SIZE_MAX), SA_BAD_RANGE);
        OK(sa_store(&a, n, content, 0));
        OK(sa_store(&a, 0, NULL, 0));
        CHECK(is_content(raw(&a), n - 1, 3));
        OK(sa_wipe(&a, &why));
        SAME(sa_store(&a, 0, content, n), SA_WIPED); /* the whole alone would do, in a fill */
        sa_close(&a);
    }
}

TEST(store_from_another)
{
    static const size_t sizes[] = {1, 100, 5000, 70001, 300000};
    for (size_t i = 0; i < 5; i++)
        for (size_t k = 0; k < 5; k++) {
            struct sa_arena from = {0}, to = {0};
            uint8_t *bytes;
            size_t n = sizes[i] < sizes[k] ? sizes[i] : sizes[k];
            make(&from, sizes[i], 1, 1);
            make(&to, sizes[k], 1, 2);
            OK(sa_export(&from, false, &bytes));
            OK(sa_store(&to, 0, bytes, n));
            CHECK(is_content(raw(&to), n, 1));
            CHECK(is_content(bytes, sizes[i], 1));
            OK(sa_store(&to, sizes[k] - 1, bytes + sizes[i] - 1, 1));
            OK(sa_check(&to));
            sa_unexport(&from);
            sa_close(&from);
            sa_close(&to);
        }
}

TEST(store_within_itself)
{
    static uint8_t model[9000];
    struct sa_arena a = {0};
    uint8_t *bytes;
    make(&a, sizeof model, 1, 1);
    put_content(model, sizeof model, 1);
    OK(sa_export(&a, false, &bytes));
    for (int i = rounds(2000); i--;) {
        size_t n = (size_t)rand() % 4000, from = (size_t)rand() % 5000, to = (size_t)rand() % 5000;
        OK(sa_store(&a, to, bytes + from, n));
        memmove(model + to, model + from, n);
        CHECK(!memcmp(bytes, model, sizeof model));
    }
    OK(sa_check(&a));
    sa_unexport(&a);
}

TEST(store_random)
{
    struct sa_arena a = {0};
    uint8_t before[64];
    OK(sa_arena_make(&a, 64, 1, &why));
    OK(sa_store_random(&a, &why));
    OK(sa_fill_end(&a, true));
    CHECK(!is_all(raw(&a), 64, 0));
    memcpy(before, raw(&a), 64);
    OK(sa_store_random(&a, &why));
    CHECK(memcmp(raw(&a), before, 64));
    OK(sa_check(&a));
    sa_close(&a);
    OK(sa_arena_make(&a, 0, 1, &why));
    OK(sa_store_random(&a, &why));
}

/* A source whose pages a wiper had to give up: refused, and never waited for. */
TEST(store_from_what_was_given_up)
{
    struct sa_arena from = {0}, to = {0};
    uint8_t *bytes;
    alarm(HANGS);
    make(&from, 100, 1, 1);
    make(&to, 100, 1, 2);
    OK(sa_export(&from, false, &bytes));
    atomic_fetch_or(slot_word(arena_slot(&from)), WORD_DROPPED); /* as a wiper leaves it */
    CHECK(slot_wipe(arena_slot(&from)));
    CHECK(sa_store(&to, 0, bytes, 100) != SA_OK);
}

#ifdef __linux__
TEST(no_entropy)
{
    if (under_valgrind())
        SKIP("valgrind needs the system call");
    struct sa_arena a = {0};
    make(&a, 64, 1, 1);
    deny(SYS_getrandom, EAGAIN);
    SAME(sa_store_random(&a, &why), SA_OS_ERROR);
    SAME(why.error, EAGAIN);
    CHECK(!strcmp(why.call, "getrandom"));
}

TEST(fill_of_what_was_given_up)
{
    if (under_tool())
        SKIP("needs a tight data limit");
    struct sa_arena a = {0};
    deny(447, ENOSYS); /* memfd_secret: its pages do not count as data */
    make(&a, 100, 1, 1);
    SAME(slot_set_access(arena_slot(&a), OS_NONE), 0);
    struct rlimit before;
    SAME(getrlimit(RLIMIT_DATA, &before), 0);
    limit(RLIMIT_DATA, os_page_size(), before.rlim_max);
    OK(sa_wipe(&a, &why));
    limit(RLIMIT_DATA, before.rlim_cur, before.rlim_max);
    SAME(sa_state_of(&a), SA_IS_WIPED);
    SAME(sa_fill_begin(&a, &why), SA_OS_ERROR);
    CHECK(why.hint);
    SAME(sa_state_of(&a), SA_IS_WIPED);
    sa_close(&a); /* and its slot does not come back */
    struct sa_arena next[40] = {{0}};
    for (unsigned i = 0; i < 40; i++)
        make(&next[i], 100, 1, i);
    for (unsigned i = 0; i < 40; i++)
        CHECK(is_content(raw(&next[i]), 100, i));
}
#endif

/* ---- threads ------------------------------------------------------------------------------------- */

static _Atomic bool over;
static struct sa_arena left, right;
static _Atomic unsigned good, bad;

/* Who stores and who looks take turns, so that only a wipe can come between. */
static pthread_mutex_t turns = PTHREAD_MUTEX_INITIALIZER;

/* Copies back and forth between two arenas, filling anew what was wiped. */
static void *copies(void *with)
{
    static const size_t size = 5000;
    struct sa_arena *from = with ? &left : &right, *to = with ? &right : &left;
    struct sa_why mine;
    uint8_t *bytes;
    while (goes_on(&over)) {
        pthread_mutex_lock(&turns);
        if (sa_export(from, false, &bytes) == SA_OK) {
            enum sa_code code = sa_store(to, 0, bytes, size);
            CHECK(code == SA_OK || code == SA_WIPED);
            atomic_fetch_add(code ? &bad : &good, 1);
            sa_unexport(from);
        } else {
            atomic_fetch_add(&bad, 1);
            OK(sa_fill_begin(from, &mine));
            static _Thread_local uint8_t content[5000];
            put_content(content, size, 1);
            enum sa_code stored = sa_store(from, 0, content, size);
            (void)!sa_fill_end(from, stored == SA_OK);
        }
        pthread_mutex_unlock(&turns);
        sched_yield();
    }
    return NULL;
}

/* Part of it is content, part is not. */
static bool is_mixture(const uint8_t *copy, size_t n)
{
    size_t pieces = n / 8, same = 0;
    for (size_t i = 0; i < pieces; i++) {
        uint8_t want[8];
        for (size_t k = 0; k < 8; k++)
            want[k] = content_at(8 * i + k, 1);
        same += !memcmp(copy + 8 * i, want, 8);
    }
    return same != 0 && same != pieces;
}

static void *locks_down(void *with)
{
    while (goes_on(&over)) {
        lockdown();
        pause_ms(1);
    }
    return with;
}

TEST(copies_under_lockdown)
{
    if (UNDER_TSAN) /* what is stored behind a wiper is wiped again: by design both write */
        SKIP("made of what a race detector calls races");
    pthread_t threads[3];
    no_marker();
    make(&left, 5000, 1, 1);
    make(&right, 5000, 1, 1);
    SAME(pthread_create(&threads[0], NULL, copies, NULL), 0);
    SAME(pthread_create(&threads[1], NULL, copies, &left), 0);
    SAME(pthread_create(&threads[2], NULL, locks_down, NULL), 0);
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do { /* a source may turn to noise before it is copied, but never in the middle */
        static uint8_t copy[5000];
        const uint8_t *look;
        struct sa_arena *a = rand() % 2 ? &left : &right;
        pthread_mutex_lock(&turns);
        if (sa_borrow(a, &look) == SA_OK) {
            memcpy(copy, look, sizeof copy);
            if (sa_return(a) == SA_OK)
                CHECK(!is_mixture(copy, sizeof copy));
        }
        pthread_mutex_unlock(&turns);
        clock_gettime(CLOCK_MONOTONIC, &now);
        sched_yield(); /* under valgrind threads hardly take turns by themselves */
    } while (now.tv_sec - begin.tv_sec < 2 || good == 0 || bad == 0);
    atomic_store(&over, true);
    for (int i = 0; i < 3; i++)
        SAME(pthread_join(threads[i], NULL), 0);
    CHECK(good > 0 && bad > 0);
}

/* Fills of several threads: one at a time, and each ends as its own thread has it. */
static void *fills(void *with)
{
    struct sa_why mine;
    for (int i = rounds(20000); i--;) {
        enum sa_code code = sa_fill_begin(&left, &mine);
        CHECK(code == SA_OK || code == SA_FILLING);
        if (code == SA_OK)
            OK(sa_fill_end(&left, !(with && i % 3 == 0)));
        enum sa_state state = sa_state_of(&left);
        CHECK(state == SA_USABLE || state == SA_IS_WIPED);
    }
    return NULL;
}

TEST(fills_at_once)
{
    pthread_t threads[3];
    make(&left, 100, 1, 1);
    for (int i = 0; i < 3; i++)
        SAME(pthread_create(&threads[i], NULL, fills, i ? NULL : &left), 0);
    for (int i = 0; i < 3; i++)
        SAME(pthread_join(threads[i], NULL), 0);
    OK(sa_fill_begin(&left, &why));
    OK(sa_fill_end(&left, true));
    SAME(sa_state_of(&left), SA_USABLE);
    OK(sa_check(&left));
}

int main(int argc, char **argv)
{
    check_begin("test_fill", argc, argv);
    RUN(fill_makes_it_usable);
    RUN(fill_begins_with_noise);
    RUN(failed_fill_leaves_noise);
    RUN(readers_forbid_a_fill);
    RUN(one_fill_at_a_time);
    RUN(wiped_meanwhile);
    RUN(fill_and_rotate);
    RUN(store);
    RUN(store_from_another);
    RUN(store_within_itself);
    RUN(store_random);
    RUN(store_from_what_was_given_up);
#ifdef __linux__
    RUN(no_entropy);
    RUN(fill_of_what_was_given_up);
#endif
    RUN(copies_under_lockdown);
    RUN(fills_at_once);
    return check_end();
}
