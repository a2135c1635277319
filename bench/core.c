/* What the core's calls cost, beside libsodium, OpenSSL, libgcrypt, memsec and the bare system
 * calls, all in one run. The program prints one JSON object of nanoseconds, of processor time, and
 * counts. Libraries are found by dlopen: the environment's SODIUM, CRYPTO and MEMSEC name them. */
#include "vault/noise.h"
#include "secalloc.h"
#include "vault/vault.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 31 };

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void must(enum sa_code code)
{
    if (code != SA_OK) {
        fprintf(stderr, "bench: core returned %d\n", code);
        exit(1);
    }
}

static struct sa_why why;

/* ---- what is measured: each runs `n` times -------------------------------------- */

static void *(*sodium_alloc)(size_t);
static void (*sodium_drop)(void *);
static void *(*openssl_alloc)(size_t, const char *, int);
static void (*openssl_drop)(void *, size_t, const char *, int);
static struct sa_pool *pool;

static const struct sa_content content = {.from = "0123456789abcdef0123456789abcdef"};

static void isolated(long n)
{
    for (long i = 0; i < n; i++) {
        struct sa_arena a = {0};
        must(sa_arena_make_of(&a, 32, 1, content, 0, &why));
        sa_close(&a);
    }
}

static void sodium(long n)
{
    for (long i = 0; i < n; i++) {
        void *p = sodium_alloc(32);
        memcpy(p, "0123456789abcdef0123456789abcdef", 32);
        sodium_drop(p);
    }
}

static void pooled(long n)
{
    for (long i = 0; i < n; i++) {
        struct sa_arena a = {0};
        must(sa_pool_alloc_of(pool, &a, 32, content, 0, &why));
        sa_close(&a);
    }
}

static void openssl(long n)
{
    for (long i = 0; i < n; i++)
        openssl_drop(openssl_alloc(32, "", 0), 32, "", 0);
}

static void *(*gcrypt_alloc)(size_t);
static void (*gcrypt_drop)(void *);

static void gcrypt(long n)
{
    for (long i = 0; i < n; i++)
        gcrypt_drop(gcrypt_alloc(32));
}

static void *(*memsec_alloc)(size_t);
static void (*memsec_drop)(void *);

static void memsec(long n)
{
    for (long i = 0; i < n; i++) {
        void *p = memsec_alloc(32);
        memcpy(p, "0123456789abcdef0123456789abcdef", 32);
        memsec_drop(p);
    }
}

static char *own_map; /* in a mapping of PIECES, as slots and guards are */
static size_t own_page;
enum { PIECES = 64 };

static void mprotect_pair(long n)
{
    for (long i = 0; i < n; i++)
        if (mprotect(own_map, own_page, PROT_READ | PROT_WRITE) ||
            mprotect(own_map, own_page, PROT_NONE))
            exit(1);
}

static void rekey(long n)
{
    for (long i = 0; i < n; i++)
        must(sa_rekey(&why));
}

enum { PAGES = 1000 };
static struct sa_arena pages[PAGES];

static void pass(long n)
{
    for (long i = 0; i < n; i++)
        (void)vault_wipe_all(false);
}

/* memcpy of the same noise over the same pages. */
static void copy_over(long n)
{
    static uint8_t source[65536]; /* a page, of any size */
    size_t page = sa_page_size();
    for (long i = 0; i < n; i++)
        for (size_t k = 0; k < PAGES; k++) {
            uintptr_t at = sa_address_of(&pages[k]) / page * page;
            memcpy((void *)at, source, page);
        }
}

static struct sa_arena probe;

static void is_secure(long n)
{
    for (long i = 0; i < n; i++)
        if (!sa_is_secure((void *)sa_address_of(&probe), 32))
            exit(1);
}

/* ---- running it ------------------------------------------------------------------- */

struct contender {
    const char *name;
    void (*run)(long);
    long n;
    double least;
};

/* Rounds of all contenders in turn, so that what disturbs one disturbs all. The least of them is
 * what a call takes where nothing else does. */
static void measure(struct contender *c, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        c[i].run(c[i].n / 10 + 1);
        c[i].least = 1e18;
    }
    for (int r = 0; r < ROUNDS; r++)
        for (size_t i = 0; i < count; i++) {
            double start = now_ns();
            c[i].run(c[i].n);
            double each = (now_ns() - start) / (double)c[i].n;
            c[i].least = each < c[i].least ? each : c[i].least;
        }
    for (size_t i = 0; i < count; i++)
        printf("\"%s\": %.2f,\n", c[i].name, c[i].least);
}

static void *symbol(void *library, const char *name)
{
    void *found = library ? dlsym(library, name) : NULL;
    if (library && !found)
        exit(2);
    return found;
}

static void open_libraries(void)
{
    const char *sodium_path = getenv("SODIUM"), *crypto_path = getenv("CRYPTO");
    void *s = dlopen(sodium_path ? sodium_path : "libsodium.so.23", RTLD_NOW);
    if (!s) {
        fprintf(stderr, "bench: %s\n", dlerror());
        exit(2);
    }
    void *c = dlopen(crypto_path ? crypto_path : "libcrypto.so.3", RTLD_NOW);
    if (!c) {
        fprintf(stderr, "bench: %s\n", dlerror());
        exit(2);
    }
    int (*init)(void) = (int (*)(void))symbol(s, "sodium_init");
    if (init() < 0)
        exit(2);
    sodium_alloc = (void *(*)(size_t))symbol(s, "sodium_malloc");
    sodium_drop = (void (*)(void *))symbol(s, "sodium_free");
    int (*secure)(size_t, size_t) = (int (*)(size_t, size_t))symbol(c, "CRYPTO_secure_malloc_init");
    if (!secure((size_t)1 << 18, 16))
        exit(2);
    openssl_alloc = (void *(*)(size_t, const char *, int))symbol(c, "CRYPTO_secure_malloc");
    openssl_drop = (void (*)(void *, size_t, const char *, int))symbol(c,
                                                                       "CRYPTO_secure_clear_free");
}

/* libgcrypt's secure heap, where the library is. */
static void open_gcrypt(void)
{
    enum { INIT_SECMEM = 24, INITIALIZATION_FINISHED = 38 };
    void *g = dlopen("libgcrypt.so.20", RTLD_NOW);
    if (!g)
        return;
    const char *(*version)(const char *) = (const char *(*)(const char *))symbol(
        g, "gcry_check_version");
    unsigned (*control)(int, ...) = (unsigned (*)(int, ...))symbol(g, "gcry_control");
    if (!version(NULL) || control(INIT_SECMEM, 1 << 18, 0) || control(INITIALIZATION_FINISHED, 0))
        return;
    gcrypt_alloc = (void *(*)(size_t))symbol(g, "gcry_malloc_secure");
    gcrypt_drop = (void (*)(void *))symbol(g, "gcry_free");
}

/* memsec's, by way of bench/memsec, where it was built. */
static void open_memsec(void)
{
    const char *path = getenv("MEMSEC");
    void *m = path ? dlopen(path, RTLD_NOW) : NULL;
    memsec_alloc = (void *(*)(size_t))symbol(m, "bench_memsec_malloc");
    memsec_drop = (void (*)(void *))symbol(m, "bench_memsec_free");
}

/* What a lockdown of many pooled arenas takes, and memset of the same pages. */
static void measure_lockdown(void)
{
    enum { ARENAS = 100000, TURNS = 9 };
    static struct sa_arena pooled_arenas[ARENAS];
    static uint8_t *at[ARENAS];
    double ours = 1e18, theirs = 1e18;
    int stderr_before;
    must(sa_set_lockdown_fd(-1, &stderr_before, &why)); /* no marker */
    for (int turn = 0; turn < TURNS; turn++) {
        struct sa_pool *many;
        size_t wiped;
        must(sa_pool_make(&many, &why));
        for (size_t i = 0; i < ARENAS; i++)
            must(sa_pool_alloc_of(many, &pooled_arenas[i], 32, content, 0, &why));
        double start = now_ns();
        must(sa_lockdown(&wiped, &why));
        double took = now_ns() - start;
        ours = took < ours ? took : ours;
        size_t count = 0, page = sa_page_size(); /* wiped, so that no canary is looked at */
        for (size_t i = 0; i < ARENAS; i++) {
            uint8_t *first = (uint8_t *)(sa_address_of(&pooled_arenas[i]) / page * page);
            if (!count || at[count - 1] != first)
                at[count++] = first;
        }
        start = now_ns();
        for (size_t i = 0; i < count; i++)
            memset(at[i], turn + 1, page);
        took = now_ns() - start;
        theirs = took < theirs ? took : theirs;
        sa_pool_free(many);
    }
    printf("\"lockdown_100000\": %.0f,\n\"memset_100000\": %.0f,\n", ours, theirs);
}

static void make(struct sa_arena *a, size_t size)
{
    must(sa_arena_make(a, size, 1, &why));
    must(sa_fill_end(a, true));
}

static size_t make_until_failure(struct sa_arena *many, size_t limit)
{
    size_t n = 0;
    while (n < limit && sa_arena_make(&many[n], 32, 1, &why) == SA_OK) {
        must(sa_fill_end(&many[n], true));
        n++;
    }
    return n;
}

__attribute__((visibility("default"))) int main(void)
{
    enum { MANY = 40000, SECRETS = 87000 };
    open_libraries();
    puts("{");

    own_page = sa_page_size();
    own_map = mmap(NULL, PIECES * own_page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (own_map == MAP_FAILED)
        return 1;
    for (size_t i = 1; i < PIECES; i += 2) {
        if (mprotect(own_map + i * own_page, own_page, PROT_READ | PROT_WRITE))
            return 1;
        own_map[i * own_page] = 1;
    }
    own_map += (PIECES / 2 + 1) * own_page;
    must(sa_pool_make(&pool, &why));
    struct contender calls[] = {
        {"isolated", isolated, 2000, 0},
        {"sodium", sodium, 1000, 0},
        {"pooled", pooled, 20000, 0},
        {"openssl", openssl, 20000, 0},
        {"mprotect_pair", mprotect_pair, 2000, 0},
        {"rekey", rekey, 2000, 0},
    };
    struct contender peers[sizeof calls / sizeof calls[0] + 2];
    size_t count = sizeof calls / sizeof calls[0];
    memcpy(peers, calls, sizeof calls);
    open_gcrypt();
    if (gcrypt_alloc)
        peers[count++] = (struct contender){"gcrypt", gcrypt, 20000, 0};
    open_memsec();
    if (memsec_alloc)
        peers[count++] = (struct contender){"memsec", memsec, 1000, 0};
    measure(peers, count);
    measure_lockdown();

    /* The pass over 1,000 pages and what memcpy takes for them. */
    for (size_t i = 0; i < PAGES; i++)
        make(&pages[i], 32);
    struct contender passes[] = {{"pass_1000", pass, 20, 0}, {"memcpy_1000", copy_over, 20, 0}};
    measure(passes, 2);
    for (size_t i = 0; i < PAGES; i++) {
        must(sa_wipe(&pages[i], &why)); /* memcpy went over the canaries too */
        sa_close(&pages[i]);
    }

    struct sa_arena big = {0};
    make(&big, (size_t)1 << 30);
    must(sa_store(&big, 0, "x", 1));
    double start = now_ns();
    pass(1);
    printf("\"pass_sparse_gib\": %.0f,\n", now_ns() - start);
    sa_close(&big);

    /* A fresh page's first touch, before anything is parked for it. */
    struct sa_arena fresh = {0};
    make(&fresh, 1024 * own_page);
    volatile char *bytes = (volatile char *)sa_address_of(&fresh);
    start = now_ns();
    for (size_t i = 1; i < 1000; i++)
        bytes[i * own_page] = 1;
    printf("\"first_touch\": %.0f,\n", (now_ns() - start) / 999);
    sa_close(&fresh);

    static struct sa_arena many[MANY];
    make(&probe, 32);
    struct contender one[] = {{"is_secure_1", is_secure, 200000, 0}};
    measure(one, 1);
    for (size_t i = 0; i < 9; i++)
        make(&many[i], 32);
    struct contender few[] = {{"isolated_10", isolated, 2000, 0}};
    measure(few, 1);
    for (size_t i = 9; i < 9999; i++)
        make(&many[i], 32);
    struct contender ten[] = {{"is_secure_10000", is_secure, 200000, 0}};
    measure(ten, 1);
    for (size_t i = 9999; i < 29999; i++)
        make(&many[i], 32);
    struct contender lots[] = {{"isolated_30000", isolated, 2000, 0}};
    measure(lots, 1);
    printf("\"most_isolated\": %zu,\n", 30000 + make_until_failure(many + 29999, MANY - 29999));
    for (size_t i = 0; i < MANY; i++)
        sa_close(&many[i]);

    static struct sa_arena secrets[SECRETS];
    for (size_t i = 0; i < SECRETS; i++) {
        must(sa_pool_alloc(pool, &secrets[i], 32, &why));
        must(sa_fill_end(&secrets[i], true));
    }
    struct sa_pool_status held;
    sa_pool_status(pool, &held);
    printf("\"pool_bytes_a_secret\": %.2f,\n", (double)held.mapped / SECRETS);
    sa_pool_free(pool);
    printf("\"noise_bytes\": %d\n}\n", NOISE_BYTES);
    return 0;
}
