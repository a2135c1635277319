/* What lives in the vault, told while others make, move and close. */
#include "arenas.h"

#include <pthread.h>
#include <string.h>

static struct sa_why why;
static struct sa_live seen[4096];

static const struct sa_live *entry_of(struct sa_arena *a)
{
    size_t n = sa_census(seen, 4096);
    for (size_t i = 0; i < n && i < 4096; i++)
        if (seen[i].address && seen[i].address == sa_address_of(a))
            return &seen[i];
    return NULL;
}

TEST(tells)
{
    SAME(sa_census(NULL, 0), 0); /* before first use */
    struct sa_arena a = {0}, large = {0};
    make(&a, 100, 64, 1);
    make(&large, 300000, 1, 2);
    const struct sa_live *e = entry_of(&a);
    CHECK(e);
    SAME(e->size, 100);
    SAME(e->arenas, 1);
    SAME(e->protection, sa_protection_of(&a));
    CHECK(e->may_read && e->may_write && !e->wiped && !e->sealed && !e->pooled);
    CHECK(entry_of(&large));
    OK(sa_rotate(&a, 0, &why));
    OK(sa_rotate(&large, 0, &why));
    OK(sa_seal(&a, &why));
    e = entry_of(&a);
    CHECK(e && e->sealed && !e->may_read);
    OK(sa_wipe(&large, &why));
    CHECK(entry_of(&large)->wiped);
    size_t all = sa_census(NULL, 0);
    SAME(sa_census(seen, 1), all); /* as many as there are, whatever the room */
    sa_close(&a);
    sa_close(&large);
    size_t n = sa_census(seen, 4096);
    for (size_t i = 0; i < n; i++)
        SAME(seen[i].arenas, 0);
}

static struct sa_named named[8];

static void is_named(size_t at, struct sa_arena *of, const char *name)
{
    CHECK(named[at].pages <= sa_address_of(of));
    CHECK(sa_address_of(of) < named[at].pages + (1 << 16));
    CHECK(!strcmp(named[at].name, name));
}

TEST(names_of_what_lies_in_pools)
{
    struct sa_arena own = {0}, in[4] = {0};
    struct sa_pool *pool;
    SAME(sa_census_names(NULL, 0), 0);
    make(&own, 100, 1, 1);
    OK(sa_set_name(&own, "own", 3, &why));
    OK(sa_pool_make(&pool, &why));
    for (size_t i = 0; i < 4; i++) {
        OK(sa_pool_alloc(pool, &in[i], 30, &why));
        OK(sa_fill_end(&in[i], true));
    }
    SAME(sa_census_names(named, 8), 0); /* an arena's own is told with its pages */
    OK(sa_set_name(&in[1], "one", 3, &why));
    OK(sa_set_name(&in[3], "three", 5, &why));
    SAME(sa_census_names(named, 8), 2);
    bool up = sa_address_of(&in[1]) < sa_address_of(&in[3]);
    is_named(!up, &in[1], "one");
    is_named(up, &in[3], "three");
    SAME(sa_census_names(named, 1), 2);
    OK(sa_rotate(&in[3], 0, &why));
    SAME(sa_census_names(named, 8), 2);
    sa_close(&in[1]);
    SAME(sa_census_names(named, 8), 1);
    is_named(0, &in[3], "three");
    sa_pool_close(pool);
    SAME(sa_census_names(named, 8), 0);
    for (size_t i = 0; i < 4; i++) {
        sa_close(&in[i]);
        OK(sa_set_name(&in[i], NULL, 0, &why));
    }
    sa_pool_free(pool);
    OK(sa_set_name(&own, NULL, 0, &why));
}

static _Atomic bool over;
static _Atomic int churned;

static void *churns(void *unused)
{
    (void)unused;
    while (!over) {
        struct sa_why w;
        struct sa_arena a = {0}, large = {0}, pooled = {0};
        struct sa_pool *pool;
        make(&a, 10, 16, 1);
        make(&large, 100000, 1, 2);
        OK(sa_rotate(&a, 0, &w));
        OK(sa_rotate(&large, 0, &w));
        OK(sa_seal(&a, &w));
        OK(sa_pool_make(&pool, &w));
        OK(sa_pool_alloc(pool, &pooled, 30, &w));
        OK(sa_fill_end(&pooled, true));
        OK(sa_set_name(&pooled, "pooled", 6, &w));
        OK(sa_rotate(&pooled, 0, &w));
        sa_pool_close(pool);
        sa_close(&pooled);
        OK(sa_set_name(&pooled, NULL, 0, &w));
        sa_pool_free(pool);
        sa_close(&a);
        sa_close(&large);
        churned++;
    }
    return unused;
}

TEST(while_others_work)
{
    NEEDS_LOCKED(1 << 20);
    enum { THREADS = 3 };
    pthread_t threads[THREADS];
    struct sa_arena fixed[5] = {0};
    for (unsigned i = 0; i < 5; i++)
        make(&fixed[i], 77, 1, i);
    for (unsigned i = 0; i < THREADS; i++)
        SAME(pthread_create(&threads[i], NULL, churns, NULL), 0);
    while (churned < rounds(300)) {
        size_t n = sa_census(seen, 4096), mine = 0;
        for (size_t i = 0; i < n; i++) {
            mine += seen[i].size == 77;
            CHECK(seen[i].pooled || !seen[i].arenas || seen[i].size == 77 || seen[i].size == 10 ||
                  seen[i].size == 100000);
            if (seen[i].address)
                CHECK(seen[i].address >= seen[i].pages &&
                      seen[i].address + seen[i].size <= seen[i].pages + seen[i].data);
        }
        SAME(mine, 5);
        n = sa_census_names(named, 8);
        CHECK(n <= 2 * THREADS);
        for (size_t i = 0; i < n; i++)
            CHECK(!strcmp(named[i].name, "pooled"));
    }
    over = true;
    for (unsigned i = 0; i < THREADS; i++)
        SAME(pthread_join(threads[i], NULL), 0);
}

int main(int argc, char **argv)
{
    check_begin("test_census", argc, argv);
    RUN(tells);
    RUN(names_of_what_lies_in_pools);
    RUN(while_others_work);
    return check_end();
}
