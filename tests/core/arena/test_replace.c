/* Replacing content whole, the blocks that tell of wipes, and the turns of those who wait. */
#include "arenas.h"

#include <pthread.h>

static struct sa_why why;

/* `seed` names the content. */
static enum sa_code replace_by(struct sa_arena *a, unsigned seed)
{
    struct sa_why mine;
    struct sa_arena fresh = {0};
    static _Thread_local uint8_t content[200000];
    put_content(content, a->size, seed);
    enum sa_code code = sa_twin(a, &fresh, &mine);
    if (code)
        return code;
    code = sa_store(&fresh, 0, content, a->size);
    enum sa_code end = sa_fill_end(&fresh, code == SA_OK);
    code = code ? code : end;
    if (!code)
        code = sa_replace(a, &fresh, &mine);
    sa_close(&fresh);
    return code;
}

TEST(content_is_replaced)
{
    static const size_t sizes[] = {0, 1, 100, 4096, 5000, 70001, 200000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int pooled = 0; pooled < 2; pooled++) {
            struct sa_arena a = {0};
            struct sa_pool *pool = NULL;
            size_t n = sizes[i];
            if (pooled) {
                OK(sa_pool_make(&pool, &why));
                OK(sa_pool_alloc(pool, &a, n, &why));
                put_content(raw(&a), n, 1);
                OK(sa_fill_end(&a, true));
            } else {
                make(&a, n, 16, 1);
            }
            uintptr_t before = sa_address_of(&a);
            OK(replace_by(&a, 2));
            CHECK(sa_address_of(&a) != before);
            CHECK(is_content(raw(&a), n, 2));
            SAME(status().arenas, 1);
            OK(sa_rotate(&a, 0, &why));
            CHECK(is_content(raw(&a), n, 2));
            OK(sa_wipe(&a, &why));
            OK(replace_by(&a, 3));
            SAME(sa_state_of(&a), SA_USABLE);
            CHECK(is_content(raw(&a), n, 3));
            CHECK(n == 0 || sa_is_secure(raw(&a), n));
            OK(sa_check(&a));
            sa_close(&a);
            SAME(replace_by(&a, 4), SA_CLOSED);
            if (pool)
                sa_pool_free(pool);
            SAME(status().arenas, 0);
        }
}

TEST(readers_forbid_it)
{
    struct sa_arena a = {0};
    struct sa_block block;
    uint8_t *bytes;
    make(&a, 100, 1, 1);
    OK(sa_export(&a, false, &bytes));
    SAME(replace_by(&a, 2), SA_BUSY);
    OK(sa_wipe(&a, &why));
    OK(replace_by(&a, 2)); /* where it lies: the export is for life, perhaps */
    CHECK(is_content(bytes, 100, 2) && bytes == raw(&a));
    sa_unexport(&a);
    for (int change = 0; change < 2; change++) {
        OK(sa_open(&a, change, &block, &why));
        SAME(replace_by(&a, 3), SA_FILLING);
        OK(sa_open_end(&block, &why));
    }
    CHECK(is_content(raw(&a), 100, 2));
    OK(sa_fill_begin(&a, &why));
    SAME(replace_by(&a, 3), SA_FILLING);
    OK(sa_fill_end(&a, false));
}

TEST(a_sealed_one_stays_sealed)
{
    struct sa_arena a = {0};
    struct sa_block block;
    make(&a, 100, 1, 1);
    OK(sa_seal(&a, &why));
    OK(replace_by(&a, 2));
    SAME(sa_state_of(&a), SA_IS_SEALED);
    SAME(word_access(atomic_load(slot_word(arena_slot(&a)))), OS_NONE);
    OK(sa_open(&a, false, &block, &why));
    CHECK(is_content(raw(&a), 100, 2));
    OK(sa_open_end(&block, &why));
}

/* A twin that a wipe overtook is not put in place. */
TEST(a_wiped_twin)
{
    struct sa_arena a = {0}, fresh = {0};
    make(&a, 100, 1, 1);
    OK(sa_twin(&a, &fresh, &why));
    OK(sa_fill_end(&fresh, true));
    CHECK(slot_wipe(arena_slot(&fresh)));
    SAME(sa_replace(&a, &fresh, &why), SA_WIPED);
    CHECK(is_content(raw(&a), 100, 1));
    sa_close(&fresh);
    OK(sa_check(&a));
}

TEST(blocks_count_the_arenas_own_wipes)
{
    struct sa_arena a = {0};
    struct sa_block block, inner;
    make(&a, 100, 1, 1);
    for (int how = 0; how < 5; how++) {
        OK(sa_open(&a, how % 2, &block, &why));
        OK(sa_rotate(&a, 0, &why));
        OK(sa_open(&a, true, &inner, &why));
        OK(sa_open_end(&inner, &why));
        OK(sa_rotate(&a, 0, &why));
        if (how == 1)
            OK(sa_wipe(&a, &why));
        else if (how == 2)
            CHECK(slot_wipe(arena_slot(&a)));
        if (how == 3) {
            OK(sa_wipe(&a, &why));
            OK(replace_by(&a, 1));
        }
        if (how == 4)
            sa_close(&a);
        SAME(sa_open_end(&block, &why), how == 0 ? SA_OK : how == 4 ? SA_CLOSED : SA_WIPED);
        if (how < 3 && how > 0)
            OK(replace_by(&a, 1));
    }
}

TEST(a_block_of_a_pool)
{
    struct sa_pool *pool;
    struct sa_arena a = {0}, other = {0};
    uint64_t generation;
    uint8_t *bytes;
    no_marker();
    OK(sa_pool_make(&pool, &why));
    for (int how = 0; how < 4; how++) {
        OK(sa_pool_alloc(pool, &a, 32, &why));
        OK(sa_fill_end(&a, true));
        OK(sa_pool_open(pool, true, &generation, &why));
        OK(sa_pool_alloc(pool, &other, 32, &why));
        OK(sa_fill_end(&other, true));
        OK(sa_wipe(&other, &why)); /* nobody has a buffer of it */
        sa_close(&other);
        if (how == 1 || how == 2) {
            OK(sa_export(&a, false, &bytes));
            if (how == 1)
                OK(sa_wipe(&a, &why));
            else
                sa_close(&a);
            sa_unexport(&a);
        } else if (how == 3) {
            CHECK(lockdown() > 0);
        }
        SAME(sa_pool_open_end(pool, true, generation, &why), how ? SA_WIPED : SA_OK);
        sa_close(&a);
    }
    sa_pool_free(pool);
}

/* 32 bits of it came round after 2^31 clears, and noise read as whole. */
TEST(a_cells_wipes_do_not_come_round)
{
    struct sa_pool *pool;
    struct sa_arena a = {0};
    OK(sa_pool_make(&pool, &why));
    OK(sa_pool_alloc(pool, &a, 32, &why));
    OK(sa_fill_end(&a, true));
    uint64_t before = arena_generation(&a);
    atomic_fetch_add(&a.wipes, ((uint64_t)1 << 32) - 2);
    OK(sa_wipe(&a, &why));
    SAME(arena_generation(&a), before + ((uint64_t)1 << 32));
    SAME(sa_state_of(&a), SA_IS_WIPED);
    sa_close(&a);
    sa_pool_free(pool);
}

/* ---- turns ----------------------------------------------------------------------------- */

static struct sa_arena shared;
static _Atomic int seen;

static void *asks(void *with)
{
    atomic_store(&seen, sa_held_off(&shared) ? 1 : 0);
    return with;
}

static bool held_off_elsewhere(void)
{
    pthread_t thread;
    SAME(pthread_create(&thread, NULL, asks, NULL), 0);
    SAME(pthread_join(thread, NULL), 0);
    return atomic_load(&seen);
}

static void *opens_and_asks(void *with)
{
    struct sa_block block;
    struct sa_why mine;
    OK(sa_open(&shared, false, &block, &mine));
    bool inside = sa_held_off(&shared);
    OK(sa_open_end(&block, &mine));
    atomic_store(&seen, inside ? 1 : sa_held_off(&shared) ? 2 : 0);
    return with;
}

TEST(a_turn_holds_newcomers_off)
{
    struct sa_turn turn = {0}, second = {0};
    uint8_t *bytes;
    pthread_t thread;
    make(&shared, 100, 1, 1);
    CHECK(!held_off_elsewhere());
    OK(sa_export(&shared, false, &bytes));
    sa_turn_wait(&shared, &turn, false, 1);
    CHECK(!sa_held_off(&shared)); /* its own thread */
    CHECK(held_off_elsewhere());
    sa_turn_wait(&shared, &second, false, 1);
    CHECK(!second.place); /* one that waits */
    SAME(pthread_create(&thread, NULL, opens_and_asks, NULL), 0);
    SAME(pthread_join(thread, NULL), 0);
    SAME(atomic_load(&seen), 2);
    sa_unexport(&shared);
    sa_turn_end(&shared, &turn);
    CHECK(!held_off_elsewhere());
    sa_turn_end(&shared, &turn);
    OK(sa_rotate(&shared, 0, &why));
    sa_close(&shared);
}

static struct sa_turn lost;

static void *takes_and_ends(void *with)
{
    sa_turn_wait(&shared, &lost, false, 1);
    return with;
}

/* What the parent's turns and blocks say of an arena says nothing of one that a child makes in
 * the same place. */
static void waits_anew(void *parents)
{
    struct sa_turn turn = {0}, *theirs = parents;
    struct sa_block block;
    uint8_t *bytes;
    shared = (struct sa_arena){0};
    make(&shared, 100, 1, 1);
    OK(sa_export(&shared, false, &bytes));
    pthread_t thread;
    SAME(pthread_create(&thread, NULL, takes_and_ends, NULL), 0);
    SAME(pthread_join(thread, NULL), 0);
    CHECK(lost.place);               /* though a turn of the parent's runs */
    CHECK(sa_held_off(&shared));     /* though it had a block open here */
    sa_turn_end(&shared, theirs);
    CHECK(sa_held_off(&shared));
    sa_turn_end(&shared, &turn);
    OK(sa_open(&shared, false, &block, &why));
    CHECK(!sa_held_off(&shared));
    OK(sa_open_end(&block, &why));
    CHECK(sa_held_off(&shared));
}

TEST(turns_and_blocks_are_not_inherited)
{
    struct sa_turn turn = {0};
    struct sa_block block;
    uint8_t *bytes;
    make(&shared, 100, 1, 1);
    OK(sa_open(&shared, false, &block, &why));
    OK(sa_export(&shared, false, &bytes));
    sa_turn_wait(&shared, &turn, true, 1);
    CHECK(turn.place);
    SAME(in_child(waits_anew, &turn), 0);
    sa_turn_end(&shared, &turn);
    sa_unexport(&shared);
    OK(sa_open_end(&block, &why));
    sa_close(&shared);
}

TEST(a_turn_lapses)
{
    struct sa_turn turn = {0};
    uint8_t *bytes;
    pthread_t thread;
    make(&shared, 100, 1, 1);
    OK(sa_export(&shared, false, &bytes));
    SAME(pthread_create(&thread, NULL, takes_and_ends, NULL), 0);
    SAME(pthread_join(thread, NULL), 0);
    CHECK(lost.place);
    sa_stand_by(&shared, 60000);
    CHECK(!sa_held_off(&shared));
    sa_turn_wait(&shared, &turn, false, 1);
    CHECK(turn.place);
    sa_turn_end(&shared, &turn);
    sa_unexport(&shared);
    sa_close(&shared);
}

/* ---- all at once ----------------------------------------------------------------------- */

enum { KEYS = 4, BYTES = 3000 };
static struct sa_arena keys[KEYS];
static _Atomic bool over;
static _Atomic unsigned replaced, read_whole, overtaken;

static void *replaces(void *with)
{
    for (unsigned i = 0; goes_on(&over); i++) {
        enum sa_code code = replace_by(&keys[i % KEYS], i % 2);
        CHECK(code == SA_OK || code == SA_BUSY || code == SA_FILLING || code == SA_WIPED);
        atomic_fetch_add(&replaced, code == SA_OK);
    }
    return with;
}

static void *reads_in_blocks(void *with)
{
    static _Thread_local uint8_t copy[BYTES];
    struct sa_why mine;
    for (unsigned i = 0; goes_on(&over); i++) {
        struct sa_arena *a = &keys[i % KEYS];
        struct sa_block block;
        const uint8_t *bytes;
        if (sa_open(a, i % 3 == 0, &block, &mine) != SA_OK)
            continue;
        if (i % 16 == 0)
            pause_ms(3); /* long enough for a wipe to come by */
        enum sa_code code = sa_borrow(a, &bytes);
        if (code == SA_OK) {
            memcpy(copy, bytes, BYTES);
            code = sa_return(a);
        }
        enum sa_code end = sa_open_end(&block, &mine);
        CHECK(end == SA_OK || end == SA_WIPED);
        if (end == SA_OK) {
            OK(code);
            CHECK(is_content(copy, BYTES, 0) || is_content(copy, BYTES, 1));
        }
        atomic_fetch_add(end ? &overtaken : &read_whole, 1);
    }
    return with;
}

static void *rotates(void *with)
{
    struct sa_why mine;
    for (unsigned i = 0; goes_on(&over); i++)
        (void)!sa_rotate(&keys[i % KEYS], 2, &mine);
    return with;
}

static void *locks_down(void *with)
{
    while (goes_on(&over)) {
        (void)lockdown();
        pause_ms(2);
    }
    return with;
}

/* Every second one of a pool, which is returned; the others with `own` bytes. */
static struct sa_pool *make_keys(size_t own)
{
    struct sa_pool *pool;
    OK(sa_pool_make(&pool, &why));
    for (unsigned i = 0; i < KEYS; i++) {
        if (i % 2)
            OK(sa_pool_alloc(pool, &keys[i], BYTES, &why));
        else
            OK(sa_arena_make(&keys[i], own, 1, &why));
    }
    return pool;
}

TEST(replaced_read_rotated_and_locked_down)
{
    NEEDS_LOCKED(16 * sa_page_size()); /* or a move is refused: it would lower a protection */
    if (UNDER_TSAN) /* a look and a wipe may overlap: the generation tells, not the bytes */
        SKIP("made of what a race detector calls races");
    void *(*const bodies[])(void *) = {replaces, reads_in_blocks, reads_in_blocks, rotates,
                                       locks_down};
    enum { THREADS = sizeof bodies / sizeof bodies[0] };
    pthread_t threads[THREADS];
    no_marker();
    struct sa_pool *pool = make_keys(BYTES);
    for (unsigned i = 0; i < KEYS; i++) {
        put_content(raw(&keys[i]), BYTES, 0);
        OK(sa_fill_end(&keys[i], true));
    }
    for (unsigned i = 0; i < THREADS; i++)
        SAME(pthread_create(&threads[i], NULL, bodies[i], NULL), 0);
    for (int i = 0; i < 2000 || !replaced || !read_whole || !overtaken; i += 10)
        pause_ms(10);
    atomic_store(&over, true);
    for (unsigned i = 0; i < THREADS; i++)
        SAME(pthread_join(threads[i], NULL), 0);
    for (unsigned i = 0; i < KEYS; i++) {
        OK(sa_check(&keys[i]));
        sa_close(&keys[i]);
    }
    sa_pool_free(pool);
    SAME(status().arenas, 0);
}

/* A twin is made like the place where the arena lies, which a rotation changes meanwhile: a
 * race detector tells whether the two meet. */
TEST(twins_beside_rotations)
{
    pthread_t thread;
    no_marker();
    struct sa_pool *pool = make_keys(20 * os_page_size());
    for (unsigned i = 0; i < KEYS; i++)
        OK(sa_fill_end(&keys[i], true));
    SAME(pthread_create(&thread, NULL, rotates, NULL), 0);
    for (int i = rounds(20000); i--;) {
        struct sa_arena fresh = {0};
        OK(sa_twin(&keys[i % KEYS], &fresh, &why));
        SAME(sa_protection_of(&fresh), sa_protection_of(&keys[i % KEYS]));
        sa_close(&fresh);
    }
    atomic_store(&over, true);
    SAME(pthread_join(thread, NULL), 0);
    for (unsigned i = 0; i < KEYS; i++)
        sa_close(&keys[i]);
    sa_pool_free(pool);
}

int main(int argc, char **argv)
{
    check_begin("test_replace", argc, argv);
    RUN(content_is_replaced);
    RUN(readers_forbid_it);
    RUN(a_sealed_one_stays_sealed);
    RUN(a_wiped_twin);
    RUN(blocks_count_the_arenas_own_wipes);
    RUN(a_block_of_a_pool);
    RUN(a_cells_wipes_do_not_come_round);
    RUN(a_turn_holds_newcomers_off);
    RUN(a_turn_lapses);
    RUN(turns_and_blocks_are_not_inherited);
    RUN(replaced_read_rotated_and_locked_down);
    RUN(twins_beside_rotations);
    return check_end();
}
