/* What lives in the vault, told while others make, move and close. */
#include "arenas.h"

#include <pthread.h>

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
        OK(sa_rotate(&pooled, 0, &w));
        sa_pool_close(pool);
        sa_close(&pooled);
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
    }
    over = true;
    for (unsigned i = 0; i < THREADS; i++)
        SAME(pthread_join(threads[i], NULL), 0);
}

int main(int argc, char **argv)
{
    check_begin("test_census", argc, argv);
    RUN(tells);
    RUN(while_others_work);
    return check_end();
}
