/* A sealed pool whose pages stay open for one arena's sake: until that is done with, however it
 * ends, and no longer. */
#include "arenas.h"

#include <pthread.h>

static struct sa_why why;
static struct sa_pool *pool;
static struct sa_arena filled, other;
static uint8_t *beside; /* the other's content, on the same page */

static void put(struct sa_arena *a, unsigned seed)
{
    uint8_t *bytes;
    OK(sa_pool_alloc(pool, a, 32, &why));
    OK(sa_export(a, true, &bytes));
    put_content(bytes, 32, seed);
    sa_unexport(a);
    OK(sa_fill_end(a, true));
}

/* The block in which a fill began has ended, in a pool that is sealed otherwise. With `lent`
 * what is filled is exported. */
static void fill_goes_on(bool lent)
{
    uint64_t generation;
    uint8_t *bytes;
    OK(sa_pool_make(&pool, &why));
    put(&filled, 1);
    put(&other, 2);
    beside = raw(&other);
    OK(sa_pool_seal(pool, &why));
    CHECK(!readable(beside));
    OK(sa_pool_open(pool, true, &generation, &why));
    OK(sa_fill_begin(&filled, &why));
    if (lent)
        OK(sa_export(&filled, true, &bytes));
    SAME(sa_pool_open_end(pool, true, generation, &why), SA_BUSY);
    CHECK(readable(beside));
}

static void is_sealed(void)
{
    uint64_t generation;
    CHECK(!readable(beside));
    OK(sa_pool_open(pool, false, &generation, &why));
    CHECK(is_content(beside, 32, 2));
    OK(sa_pool_open_end(pool, false, generation, &why));
    CHECK(!readable(beside));
    sa_close(&filled);
    sa_close(&other);
    sa_pool_free(pool);
}

TEST(the_fill_ends)
{
    fill_goes_on(false);
    OK(sa_fill_end(&filled, true));
    is_sealed();
}

TEST(closed_inside_the_fill)
{
    fill_goes_on(false);
    sa_close(&filled);
    is_sealed();
}

TEST(closed_inside_the_fill_while_lent)
{
    fill_goes_on(true);
    sa_close(&filled);
    CHECK(readable(beside)); /* the holder of the buffer may still store */
    sa_unexport(&filled);
    is_sealed();
}

TEST(the_fill_ends_after_the_close)
{
    fill_goes_on(true);
    sa_close(&filled);
    SAME(sa_fill_end(&filled, true), SA_CLOSED);
    CHECK(readable(beside));
    sa_unexport(&filled);
    is_sealed();
}

TEST(the_fill_ends_while_lent)
{
    fill_goes_on(true);
    OK(sa_fill_end(&filled, true));
    CHECK(readable(beside));
    sa_unexport(&filled);
    is_sealed();
}

/* ---- a lift that ends while the pool is opened ----------------------------------------------- */

static _Atomic bool over;

static void *checks(void *unused)
{
    while (goes_on(&over))
        OK(sa_check(&other));
    return unused;
}

/* What ends it was about to lower the pages, and must not do so any more once they are opened. */
TEST(lifts_and_blocks)
{
    pthread_t checker;
    OK(sa_pool_make(&pool, &why));
    put(&other, 2);
    beside = raw(&other);
    OK(sa_pool_seal(pool, &why));
    atomic_store(&over, false);
    SAME(pthread_create(&checker, NULL, checks, NULL), 0);
    for (int i = rounds(4000); i--;) {
        uint64_t generation;
        OK(sa_pool_open(pool, i % 2, &generation, &why));
        CHECK(readable(beside));
        OK(sa_pool_open_end(pool, i % 2, generation, &why));
    }
    atomic_store(&over, true);
    SAME(pthread_join(checker, NULL), 0);
    CHECK(!readable(beside));
    sa_close(&other);
    sa_pool_free(pool);
}

int main(int argc, char **argv)
{
    check_begin("test_pool_seal", argc, argv);
    RUN(the_fill_ends);
    RUN(closed_inside_the_fill);
    RUN(closed_inside_the_fill_while_lent);
    RUN(the_fill_ends_after_the_close);
    RUN(the_fill_ends_while_lent);
    RUN(lifts_and_blocks);
    return check_end();
}
