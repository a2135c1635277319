/* Pools: cells of every size lie apart, hold what was put there, and hold noise once
 * they are closed. */
#include "arenas.h"

#ifdef __linux__
#include "linux.h"
#endif

#include <limits.h>
#include <pthread.h>
#include <sched.h>

static struct sa_why why;

/* Around every boundary: of the canary, the cell sizes, the sizes with slabs of
 * their own, pages, large slots. */
static const size_t sizes[] = {
    0,    1,    7,    8,    9,    16,   24,   25,   32,   40,   41,   96,    248,   249,    500,
    503,  504,  505,  512,  520,  631,  632,  633,  1016, 1017, 1500, 1783,  1784,  1785,   2039,
    2040, 2041, 2048, 2056, 4087, 4088, 4089, 4096, 8184, 8192, 8200, 65528, 65529, 100000,
};
enum { SIZES = sizeof sizes / sizeof sizes[0], SHARED_MOST = 2040 };

static struct sa_pool *new_pool(void)
{
    struct sa_pool *pool;
    OK(sa_pool_make(&pool, &why));
    return pool;
}

static struct sa_pool_status look(struct sa_pool *pool)
{
    struct sa_pool_status now;
    sa_pool_status(pool, &now);
    return now;
}

static void fill(struct sa_arena *a, unsigned seed)
{
    uint8_t *at;
    OK(sa_export(a, true, &at));
    put_content(at, a->size, seed);
    sa_unexport(a);
    OK(sa_fill_end(a, true));
}

/* A pooled arena with content. */
static void put(struct sa_pool *pool, struct sa_arena *a, size_t size, unsigned seed)
{
    *a = (struct sa_arena){0};
    OK(sa_pool_alloc(pool, a, size, &why));
    fill(a, seed);
}

/* Whole in every respect. */
static void verify(struct sa_arena *a, unsigned seed)
{
    const uint8_t *at;
    SAME(sa_state_of(a), SA_USABLE);
    OK(sa_borrow(a, &at));
    CHECK(is_content(at, a->size, seed));
    OK(sa_return(a));
    OK(sa_check(a));
}

/* ---- one arena ------------------------------------------------------------------------- */

TEST(every_size)
{
    NEEDS_LOCKED(8 << 20);
    struct sa_pool *pool = new_pool();
    for (unsigned i = 0; i < SIZES; i++) {
        size_t size = sizes[i], cell_bytes;
        struct sa_arena a = {0};
        OK(sa_pool_alloc(pool, &a, size, &why));
        SAME(sa_state_of(&a), SA_IS_WIPED); /* inside its first fill */
        SAME(a.size, size);
        CHECK(is_all(raw(&a), size, 0));
        fill(&a, i);
        verify(&a, i);
        uintptr_t at = sa_address_of(&a);
        uint8_t *cell = slab_cell_at(a.slab, a.cell, &cell_bytes);
        CHECK(size + 8 <= cell_bytes); /* room for a canary */
        if (size <= SHARED_MOST) {
            SAME(at, (uintptr_t)cell);
            SAME(at % 16, 0);
            CHECK(cell_bytes <= size + 8 + 15 || cell_bytes - size <= 9 + 15 + size / 4);
        } else {
            SAME((at + size) % sa_page_size(), 0); /* one more byte faults */
        }
        CHECK(sa_is_secure(raw(&a), size));
        CHECK(sa_protection_of(&a) & SA_GUARD);

        struct sa_pool_status now = look(pool);
        SAME(now.arenas, 1);
        SAME(now.bytes, size);
        SAME(status().arenas, 1);
        SAME(status().bytes, size);

        OK(sa_rotate(&a, 0, &why));
        CHECK(sa_address_of(&a) != at);
        verify(&a, i);
        OK(sa_wipe(&a, &why));
        SAME(sa_state_of(&a), SA_IS_WIPED);
        OK(sa_fill_begin(&a, &why));
        fill(&a, i + 1);
        verify(&a, i + 1);
        sa_close(&a);
        SAME(sa_state_of(&a), SA_IS_CLOSED);
        sa_close(&a);
        SAME(look(pool).arenas, 0);
        SAME(look(pool).bytes, 0);
    }
    sa_pool_free(pool);
    SAME(status().arenas, 0);
}

/* What no pages can be had for, up to the end of what a size_t holds. */
TEST(impossible_sizes)
{
    static const size_t impossible[] = {
        (size_t)1 << 47, PTRDIFF_MAX - 4096, PTRDIFF_MAX,   (size_t)PTRDIFF_MAX + 1,
        SIZE_MAX - 4096, SIZE_MAX - 24,      SIZE_MAX - 23, SIZE_MAX - 22,
        SIZE_MAX - 8,    SIZE_MAX - 7,       SIZE_MAX};
    struct sa_pool *pool = new_pool();
    struct sa_arena one;
    put(pool, &one, 32, 1);
    for (unsigned i = 0; i < sizeof impossible / sizeof impossible[0]; i++) {
        struct sa_arena a = {0};
        SAME(sa_pool_alloc(pool, &a, impossible[i], &why), SA_NO_MEMORY);
        SAME(sa_state_of(&a), SA_IS_CLOSED);
        sa_close(&a);
    }
    SAME(look(pool).arenas, 1);
    verify(&one, 1);
    sa_close(&one);
    sa_pool_free(pool);
}

/* ---- neighbours ------------------------------------------------------------------------ */

enum { MANY = 3000 };
static struct sa_arena many[MANY];

static int by_address(const void *x, const void *y)
{
    uintptr_t a = sa_address_of(*(struct sa_arena *const *)x);
    uintptr_t b = sa_address_of(*(struct sa_arena *const *)y);
    return a < b ? -1 : a > b;
}

/* Bytes and canary of one end before the next begins. */
static void lie_apart(size_t count)
{
    static struct sa_arena *sorted[MANY];
    for (size_t i = 0; i < count; i++)
        sorted[i] = &many[i];
    qsort(sorted, count, sizeof sorted[0], by_address);
    for (size_t i = 1; i < count; i++) {
        uintptr_t end = sa_address_of(sorted[i - 1]) + sorted[i - 1]->size;
        size_t canary = sorted[i - 1]->size <= SHARED_MOST ? 8 : 0;
        CHECK(end + canary <= sa_address_of(sorted[i]));
    }
}

/* Enough of one size for several slabs, then holes, then the holes filled. */
static void neighbours(size_t size)
{
    struct sa_pool *pool = new_pool();
    size_t count = size > SHARED_MOST ? 40 : size > 500 ? 400 : MANY;
    size_t slabs = 0;
    for (size_t i = 0; i < count; i++) {
        put(pool, &many[i], size, (unsigned)i);
        slabs += i == 0 || many[i].slab != many[i - 1].slab;
    }
    CHECK(slabs > 2 || sa_page_size() > 4096);
    lie_apart(count);
    SAME(look(pool).arenas, count);
    SAME(look(pool).bytes, count * size);
    for (size_t i = 0; i < count; i++)
        verify(&many[i], (unsigned)i);

    size_t mapped = look(pool).mapped;
    for (size_t i = 0; i < count; i += 3)
        sa_close(&many[i]);
    for (size_t i = 1; i < count; i += 3)
        OK(sa_wipe(&many[i], &why));
    for (size_t i = 2; i < count; i += 3)
        verify(&many[i], (unsigned)i);
    for (size_t i = 0; i < count; i += 3)
        put(pool, &many[i], size, (unsigned)i + 5);
    CHECK(look(pool).mapped <= mapped || size > SHARED_MOST); /* the holes were used */
    lie_apart(count);
    for (size_t i = 0; i < count; i++) {
        if (i % 3 == 1)
            SAME(sa_state_of(&many[i]), SA_IS_WIPED);
        else
            verify(&many[i], (unsigned)i + (i % 3 ? 0 : 5));
    }
    for (size_t i = 0; i < count; i++)
        sa_close(&many[i]);
    SAME(look(pool).arenas, 0);
    CHECK(look(pool).mapped <= 16 * sa_page_size()); /* one slab is kept for the next */
    sa_pool_free(pool);
}

TEST(neighbours_of_every_size)
{
    static const size_t some[] = {0,   1,   8,    9,    32,   100,  504,
                                  505, 640, 1500, 2040, 2041, 4096, 70000};
    for (unsigned i = 0; i < sizeof some / sizeof some[0]; i++)
        neighbours(some[i]);
    SAME(status().arenas, 0);
}

TEST(a_small_secret_takes_little)
{
    struct sa_pool *pool = new_pool();
    for (size_t i = 0; i < MANY; i++)
        put(pool, &many[i], 32, 1);
    CHECK(look(pool).mapped <= MANY * 48 + 17 * sa_page_size()); /* the last slab has room */
    sa_pool_free(pool);
    SAME(status().bytes, 0);
    for (size_t i = 0; i < MANY; i++)
        SAME(sa_state_of(&many[i]), SA_IS_CLOSED);
}

/* A cell given up while its page lives on: by close, rotate and clear. */
TEST(freed_cells_hold_noise)
{
    struct sa_pool *pool = new_pool();
    for (unsigned i = 0; i < SIZES && sizes[i] <= SHARED_MOST; i++) {
        struct sa_arena neighbour, a;
        size_t bytes;
        put(pool, &neighbour, sizes[i], 1);
        put(pool, &a, sizes[i], 2);
        uint8_t *cell = slab_cell_at(a.slab, a.cell, &bytes);
        sa_close(&a);
        if (readable(cell)) { /* with two cells to a page they may be on two slabs */
            CHECK(is_noise_from(cell, cell, bytes));
        }
        put(pool, &a, sizes[i], 2);
        cell = slab_cell_at(a.slab, a.cell, &bytes);
        OK(sa_wipe(&a, &why));
        CHECK(is_noise_from(cell, cell, bytes));
        OK(sa_fill_begin(&a, &why));
        fill(&a, 3);
        cell = slab_cell_at(a.slab, a.cell, &bytes);
        OK(sa_rotate(&a, 0, &why));
        verify(&a, 3);
        if (readable(cell))
            CHECK(is_noise_from(cell, cell, bytes));
        verify(&neighbour, 1);
        sa_close(&a);
        sa_close(&neighbour);
    }
    sa_pool_free(pool);
}

/* ---- the canary -------------------------------------------------------------------------- */

struct spoiling {
    size_t size, past;
    void (*finds_out)(struct sa_pool *pool, struct sa_arena *a);
};

static void checks(struct sa_pool *pool, struct sa_arena *a)
{
    (void)pool;
    OK(sa_check(a));
}

static void closes(struct sa_pool *pool, struct sa_arena *a)
{
    (void)pool;
    sa_close(a);
}

static void rotates_once(struct sa_pool *pool, struct sa_arena *a)
{
    (void)pool;
    OK(sa_rotate(a, 0, &why));
}

static void closes_all(struct sa_pool *pool, struct sa_arena *a)
{
    (void)a;
    sa_pool_close(pool);
}

/* A pool for a child that is to die; of what, it says on standard error. */
static struct sa_pool *quiet_pool(void)
{
    CHECK(freopen("/dev/null", "w", stderr));
    no_marker();
    return new_pool();
}

static void spoils(void *with)
{
    const struct spoiling *s = with;
    struct sa_pool *pool = quiet_pool();
    struct sa_arena neighbour, a;
    put(pool, &neighbour, s->size, 1);
    put(pool, &a, s->size, 1);
    raw(&a)[s->size + s->past] ^= 1;
    s->finds_out(pool, &a);
}

TEST(any_damage_behind_is_tampering)
{
    static const size_t some[] = {0, 1, 8, 9, 32, 504, 505, 2040};
    static void (*const ways[])(struct sa_pool *, struct sa_arena *) = {checks, closes,
                                                                        rotates_once, closes_all};
    for (unsigned i = 0; i < sizeof some / sizeof some[0]; i++)
        for (unsigned way = 0; way < 4; way++)
            for (size_t past = 0; past < 8; past += under_tool() ? 7 : 1) {
                struct spoiling s = {some[i], past, ways[way]};
                SAME(death_of(in_child(spoils, &s)), SIGABRT);
            }
}

TEST(the_last_byte_is_the_owners)
{
    struct sa_pool *pool = new_pool();
    struct sa_arena a;
    put(pool, &a, 32, 1);
    raw(&a)[31] ^= 1;
    OK(sa_check(&a));
    sa_close(&a);
    sa_pool_free(pool);
}

static void writes_before(void *with)
{
    struct sa_arena a, b;
    (void)with;
    struct sa_pool *pool = quiet_pool();
    put(pool, &a, 32, 1);
    put(pool, &b, 32, 1);
    CHECK(raw(&b) > raw(&a));
    raw(&b)[-1] ^= 1;
    sa_close(&a); /* the one in front finds out */
}

TEST(damage_in_front_is_the_neighbours) { SAME(death_of(in_child(writes_before, NULL)), SIGABRT); }

/* ---- wiping and closing --------------------------------------------------------------------- */

TEST(lockdown_wipes_and_counts)
{
    no_marker();
    struct sa_pool *one = new_pool(), *two = new_pool();
    struct sa_arena alone = {0};
    make(&alone, 32, 1, 1);
    for (unsigned i = 0; i < SIZES; i++)
        put(i % 2 ? one : two, &many[i], sizes[i], i);
    SAME(lockdown(), SIZES + 1);
    for (unsigned i = 0; i < SIZES; i++) {
        SAME(sa_state_of(&many[i]), SA_IS_WIPED);
        CHECK(!is_content(raw(&many[i]), many[i].size, i) || many[i].size < 2);
        OK(sa_fill_begin(&many[i], &why));
        fill(&many[i], i);
        verify(&many[i], i);
    }
    sa_pool_free(one);
    sa_pool_free(two);
    SAME(lockdown(), 1);
    sa_close(&alone);
    SAME(lockdown(), 0);
}

TEST(closing_with_live_exports)
{
    struct sa_pool *pool = new_pool();
    for (unsigned i = 0; i < SIZES; i++)
        put(pool, &many[i], sizes[i], i);
    uint8_t *at[SIZES];
    for (unsigned i = 0; i < SIZES; i++)
        OK(sa_export(&many[i], false, &at[i]));
    sa_pool_close(pool);
    for (unsigned i = 0; i < SIZES; i++) {
        SAME(sa_state_of(&many[i]), SA_IS_CLOSED);
        if (sizes[i])
            CHECK(readable(at[i]) && readable(at[i] + sizes[i] - 1));
        CHECK(sizes[i] < 8 || !is_content(at[i], sizes[i], i));
        CHECK(sizes[i] < 8 || !is_all(at[i], sizes[i], 0));
    }
    CHECK(look(pool).closed && look(pool).mapped > 0);
    for (unsigned i = 0; i < SIZES; i++)
        sa_unexport(&many[i]);
    SAME(look(pool).mapped, 0);
    SAME(look(pool).arenas, 0);
    for (unsigned i = 0; i < SIZES; i++)
        CHECK(!readable(at[i]));
    sa_pool_free(pool);
}

/* What a live export gets after the close is gone when it ends, also where the page
 * lives on for a neighbour. */
TEST(written_after_the_close)
{
    struct sa_pool *pool = new_pool();
    struct sa_arena neighbour, a;
    size_t bytes;
    uint8_t *held;
    for (int by_pool = 0; by_pool < 2; by_pool++) {
        put(pool, &neighbour, 200, 1);
        put(pool, &a, 200, 2);
        uint8_t *cell = slab_cell_at(a.slab, a.cell, &bytes), *at;
        OK(sa_export(&neighbour, false, &held));
        OK(sa_export(&a, false, &at));
        if (by_pool)
            sa_pool_close(pool);
        else
            sa_close(&a);
        put_content(at, 200, 3);
        sa_unexport(&a);
        CHECK(is_noise_from(cell, cell, bytes));
        sa_unexport(&neighbour);
        sa_close(&neighbour);
    }
    sa_pool_free(pool);
}

TEST(a_closed_pool)
{
    struct sa_pool *pool = new_pool();
    struct sa_arena a, late = {0};
    put(pool, &a, 32, 1);
    sa_pool_close(pool);
    sa_pool_close(pool);
    SAME(sa_pool_alloc(pool, &late, 32, &why), SA_CLOSED);
    SAME(sa_rotate(&a, 0, &why), SA_CLOSED);
    SAME(sa_wipe(&a, &why), SA_CLOSED);
    sa_close(&a);
    CHECK(look(pool).closed);
    SAME(look(pool).mapped, 0);
    sa_pool_free(pool);
}

TEST(empty_pools)
{
    for (int i = 0; i < 1000; i++) {
        struct sa_pool *pool = new_pool(), *other = new_pool(), *third = new_pool();
        SAME(look(pool).mapped, 0);
        sa_pool_free(i % 2 ? pool : other);
        sa_pool_free(third);
        sa_pool_free(i % 2 ? other : pool);
    }
    SAME(status().locked_bytes, 0);
}

static void uses_the_parents(void *with)
{
    struct sa_pool *pool = with;
    struct sa_arena mine = {0};
    SAME(sa_pool_alloc(pool, &mine, 32, &why), SA_FORKED);
    CHECK(look(pool).closed);
    SAME(look(pool).arenas, 0);
    SAME(sa_state_of(&many[0]), SA_IS_FORKED);
    SAME(status().arenas, 0);
    sa_close(&many[0]);
    sa_pool_close(pool);
    struct sa_pool *own = new_pool();
    put(own, &mine, 32, 9);
    verify(&mine, 9);
    OK(sa_rotate(&mine, 0, &why));
    verify(&mine, 9);
    sa_pool_free(pool);
    verify(&mine, 9);
    sa_pool_free(own);
    SAME(sa_state_of(&mine), SA_IS_CLOSED);
}

TEST(in_a_child)
{
    struct sa_pool *pool = new_pool();
    for (unsigned i = 0; i < SIZES; i++)
        put(pool, &many[i], sizes[i], i);
    SAME(in_child(uses_the_parents, pool), 0);
    for (unsigned i = 0; i < SIZES; i++)
        verify(&many[i], i);
    sa_pool_free(pool);
}

#ifdef __linux__
/* No map to be had: the error, and everything as it was. */
TEST(cannot_grow)
{
    if (under_tool())
        SKIP("the tool maps memory of its own");
    struct sa_pool *pool = new_pool();
    for (unsigned i = 0; i < SIZES; i++)
        put(pool, &many[i], sizes[i], i);
    struct sa_pool_status before = look(pool);
    deny(SYS_mmap, ENOMEM);
    size_t refused = 0;
    for (unsigned i = SIZES; i < MANY; i++) {
        enum sa_code code;
        if ((code = sa_pool_alloc(pool, &many[i], sizes[i % SIZES], &why))) {
            SAME(code, SA_NO_MEMORY);
            CHECK(why.call);
            SAME(sa_state_of(&many[i]), SA_IS_CLOSED);
            refused++;
        } else {
            fill(&many[i], i);
        }
    }
    CHECK(refused > 10);
    CHECK(look(pool).arenas > before.arenas); /* what had room went on */
    for (unsigned i = 0; i < MANY; i++)
        if (sa_state_of(&many[i]) != SA_IS_CLOSED)
            verify(&many[i], i);
    sa_pool_free(pool);
}

enum { LIMIT = 65536 };

/* mlock's account, and where a user is charged for secretmem that one, too. */
static bool within_the_limit(void)
{
    struct sa_status now = status();
    return now.locked_bytes <= (now.charges_users ? 2u : 1u) * LIMIT;
}

TEST(under_a_lock_limit)
{
    if (under_tool())
        SKIP("the tool has pages of its own");
    nobody_with_lock_limit(LIMIT);
    struct sa_pool *pool = new_pool();
    for (unsigned i = 0; i < 600; i++) {
        put(pool, &many[i], 32, i);
        CHECK(sa_protection_of(&many[i]) & SA_LOCK);
    }
    CHECK(within_the_limit());
    for (unsigned i = 600; i < MANY; i++)
        put(pool, &many[i], 32, i); /* beyond it they work all the same */
    CHECK(within_the_limit());
    for (unsigned i = 0; i < MANY; i++)
        verify(&many[i], i);
    sa_pool_free(pool);
    /* The budget came back. */
    struct sa_arena a = {0};
    make(&a, LIMIT, 1, 1);
    CHECK(sa_protection_of(&a) & SA_LOCK);
    sa_close(&a);
}
#endif

/* ---- by chance, against a shadow ------------------------------------------------------------ */

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> 11;
}

/* What an arena ought to be. */
struct shadow {
    struct sa_arena a;
    enum sa_state state;
    unsigned seed;
};

enum { SHADOWS = 400 };

struct player {
    struct sa_pool *pool;
    uint64_t random;
    int steps;
    struct shadow shadows[SHADOWS];
};

static void verify_shadow(struct shadow *s)
{
    SAME(sa_state_of(&s->a), s->state);
    if (s->state == SA_USABLE)
        verify(&s->a, s->seed);
    else if (s->state == SA_IS_WIPED)
        OK(sa_check(&s->a));
}

static void step(struct player *p)
{
    uint64_t r = next_random(&p->random);
    struct shadow *s = &p->shadows[r % SHADOWS];
    unsigned what = (unsigned)(r >> 20) % 10;
    s->seed = s->state == SA_USABLE ? s->seed : (unsigned)(r >> 30) % 1000;
    verify_shadow(s);
    if (s->state == SA_IS_CLOSED) {
        size_t size = sizes[(r >> 40) % (what ? 35 : SIZES)];
        put(p->pool, &s->a, size, s->seed);
        s->state = SA_USABLE;
    } else if (what < 4) {
        sa_close(&s->a);
        s->state = SA_IS_CLOSED;
    } else if (what < 6) {
        enum sa_code code = sa_rotate(&s->a, 0, &why);
        SAME(code, s->state == SA_USABLE ? SA_OK : SA_WIPED);
    } else if (what < 8) {
        OK(sa_wipe(&s->a, &why));
        s->state = SA_IS_WIPED;
    } else {
        OK(sa_fill_begin(&s->a, &why));
        if (what == 9) {
            OK(sa_fill_end(&s->a, false));
            s->state = SA_IS_WIPED;
        } else {
            s->seed++;
            fill(&s->a, s->seed);
            s->state = SA_USABLE;
        }
    }
    verify_shadow(s);
}

static void begin_play(struct player *p, struct sa_pool *pool, uint64_t seed, int steps)
{
    memset(p, 0, sizeof *p);
    p->pool = pool;
    p->random = seed * 0x9e3779b97f4a7c15u | 1;
    p->steps = steps;
    for (unsigned i = 0; i < SHADOWS; i++)
        p->shadows[i].state = SA_IS_CLOSED;
}

static void *play(void *with)
{
    struct player *p = with;
    for (int i = 0; i < p->steps; i++)
        step(p);
    for (unsigned i = 0; i < SHADOWS; i++)
        verify_shadow(&p->shadows[i]);
    for (unsigned i = 0; i < SHADOWS; i++)
        sa_close(&p->shadows[i].a);
    return NULL;
}

TEST(any_order)
{
    NEEDS_LOCKED(8 << 20);
    static struct player player;
    no_marker();
    for (unsigned round = 0; round < 4; round++) {
        begin_play(&player, new_pool(), round + 1, rounds(20000));
        for (int i = 0; i < player.steps; i++) {
            step(&player);
            if (i % 5000 != 4999)
                continue;
            size_t live = 0, bytes = 0;
            for (unsigned k = 0; k < SHADOWS; k++) {
                verify_shadow(&player.shadows[k]);
                if (player.shadows[k].state == SA_IS_CLOSED)
                    continue;
                live++;
                bytes += player.shadows[k].a.size;
                player.shadows[k].state = SA_IS_WIPED; /* by what comes now */
            }
            SAME(look(player.pool).arenas, live);
            SAME(look(player.pool).bytes, bytes);
            SAME(lockdown(), live);
        }
        play(&player);
        SAME(look(player.pool).arenas, 0);
        sa_pool_free(player.pool);
    }
    SAME(status().arenas, 0);
}

/* ---- threads -------------------------------------------------------------------------------- */

enum { THREADS = 4 };

static void start(pthread_t *thread, void *(*body)(void *), void *with)
{
    SAME(pthread_create(thread, NULL, body, with), 0);
}

static void join(pthread_t thread) { SAME(pthread_join(thread, NULL), 0); }

TEST(threads_in_one_pool)
{
    NEEDS_LOCKED(8 << 20);
    static struct player players[THREADS];
    pthread_t threads[THREADS];
    struct sa_pool *pool = new_pool();
    for (unsigned i = 0; i < THREADS; i++) {
        begin_play(&players[i], pool, i + 1, rounds(10000));
        start(&threads[i], play, &players[i]);
    }
    for (unsigned i = 0; i < THREADS; i++)
        join(threads[i]);
    SAME(look(pool).arenas, 0);
    SAME(look(pool).bytes, 0);
    sa_pool_free(pool);
    SAME(status().arenas, 0);
}

static struct sa_arena shared[8];
static _Atomic bool done;

static void *rotates(void *seed)
{
    struct sa_why mine;
    uint64_t random = (uintptr_t)seed;
    while (goes_on(&done)) {
        enum sa_code code = sa_rotate(&shared[next_random(&random) % 8], 1000, &mine);
        CHECK(code == SA_OK || code == SA_BUSY);
    }
    return NULL;
}

static void *reads(void *seed)
{
    uint64_t random = (uintptr_t)seed;
    for (int i = 0; i < rounds(30000); i++) {
        unsigned k = next_random(&random) % 8;
        verify(&shared[k], k);
    }
    return NULL;
}

TEST(rotated_by_all_while_read)
{
    NEEDS_LOCKED(16 * sa_page_size()); /* or a rotation is refused: it would lower a protection */
    pthread_t threads[4];
    struct sa_pool *pool = new_pool();
    for (unsigned i = 0; i < 8; i++)
        put(pool, &shared[i], i == 7 ? 3000 : 20 * i, i);
    for (uintptr_t i = 0; i < 4; i++)
        start(&threads[i], i < 2 ? rotates : reads, (void *)(i + 1));
    join(threads[2]);
    join(threads[3]);
    atomic_store(&done, true);
    join(threads[0]);
    join(threads[1]);
    for (unsigned i = 0; i < 8; i++)
        verify(&shared[i], i);
    sa_pool_free(pool);
}

/* Makes arenas on the heap until the pool is closed under its feet, and frees each
 * as soon as it is closed, by whomever. */
static void *makes_until_closed(void *with)
{
    struct sa_pool *pool = with;
    struct sa_why mine;
    struct sa_arena *held[64] = {0};
    for (unsigned i = 0;; i++) {
        struct sa_arena **a = &held[i % 64];
        if (*a) {
            sa_close(*a);
            free(*a);
        }
        *a = calloc(1, sizeof **a);
        CHECK(*a);
        enum sa_code code = sa_pool_alloc(pool, *a, 32 + i % 3, &mine);
        if (code) {
            SAME(code, SA_CLOSED);
            break;
        }
        code = sa_fill_end(*a, true);
        CHECK(code == SA_OK || code == SA_CLOSED);
    }
    for (unsigned i = 0; i < 64; i++)
        if (held[i]) {
            sa_close(held[i]);
            free(held[i]);
        }
    return NULL;
}

TEST(closed_while_others_make_and_close)
{
    for (int round = 0; round < rounds(100); round++) {
        pthread_t threads[THREADS];
        struct sa_pool *pool = new_pool();
        for (unsigned i = 0; i < THREADS; i++)
            start(&threads[i], makes_until_closed, pool);
        pause_ms(round % 5);
        sa_pool_close(pool);
        for (unsigned i = 0; i < THREADS; i++)
            join(threads[i]);
        SAME(look(pool).arenas, 0);
        SAME(look(pool).mapped, 0);
        sa_pool_free(pool);
    }
}

static struct sa_arena target;
static _Atomic int together; /* who came to the start; macOS has no barriers */

static void start_together(void)
{
    atomic_fetch_add(&together, 1);
    /* Who yields at once may lose a time slice to the other one, started on its core. */
    for (int i = 0; atomic_load(&together) < 2; i++)
        if (i >= 10000)
            sched_yield();
}

static void *stores(void *content)
{
    start_together();
    while (sa_store(&target, 0, content, target.size) == SA_OK)
        continue;
    return NULL;
}

/* What is stored after the wipe of a close must not stay in the free cell. A neighbour
 * in use keeps the page readable. */
TEST(no_store_falls_behind_a_close)
{
    static uint8_t content[2000];
    if (UNDER_TSAN)
        SKIP("storing and wiping at once is what it is about");
    put_content(content, sizeof content, 7);
    /* Where others keep the cores busy, a round costs a time slice or two. */
    time_t end = time(NULL) + 3;
    for (int round = 0; round < rounds(4000) && (round < 100 || time(NULL) < end); round++) {
        struct sa_pool *pool = new_pool();
        struct sa_arena neighbour;
        pthread_t thread;
        size_t bytes;
        uint8_t *held;
        put(pool, &neighbour, sizeof content, 1);
        OK(sa_export(&neighbour, false, &held));
        put(pool, &target, sizeof content, 1);
        SAME(target.slab == neighbour.slab, true);
        uint8_t *cell = slab_cell_at(target.slab, target.cell, &bytes);
        atomic_store(&together, 0);
        start(&thread, stores, content);
        start_together();
        for (unsigned i = 0; i < (unsigned)round % 97 * 16; i++)
            __asm__ volatile("");
        if (round % 2)
            sa_close(&target);
        else
            sa_pool_close(pool);
        join(thread);
        CHECK(is_noise_from(cell, cell, bytes));
        sa_unexport(&neighbour);
        sa_pool_free(pool);
    }
}

int main(int argc, char **argv)
{
    check_begin("test_pool", argc, argv);
    RUN(every_size);
    RUN(impossible_sizes);
    RUN(neighbours_of_every_size);
    RUN(a_small_secret_takes_little);
    RUN(freed_cells_hold_noise);
    RUN(any_damage_behind_is_tampering);
    RUN(the_last_byte_is_the_owners);
    RUN(damage_in_front_is_the_neighbours);
    RUN(lockdown_wipes_and_counts);
    RUN(closing_with_live_exports);
    RUN(written_after_the_close);
    RUN(a_closed_pool);
    RUN(empty_pools);
    RUN(in_a_child);
#ifdef __linux__
    RUN(cannot_grow);
    RUN(under_a_lock_limit);
#endif
    RUN(any_order);
    RUN(threads_in_one_pool);
    RUN(rotated_by_all_while_read);
    RUN(closed_while_others_make_and_close);
    RUN(no_store_falls_behind_a_close);
    return check_end();
}
