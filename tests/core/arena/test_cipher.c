/* Encryption of sealed content: what lies on the pages then, what undoes it, what a wipe and a
 * forger come to, and where its lock goes. */
#include "arena/cipher.h"
#include "arenas.h"
#include "base/blake2b.h"
#include "vault/prekey.h"
#include "vault/relock.h"
#include "vault/state.h"

#ifdef __linux__
#include "linux.h"
#endif

#include <pthread.h>
#include <sys/mman.h>

static struct sa_why why;
static struct sa_arena a;

/* The bytes of a sealed arena, past the library, which is made to believe that nothing was. */
static uint8_t *peek(struct sa_arena *of)
{
    struct slot s = arena_slot(of);
    SAME(os_protect(slot_data(s), s.region->data, OS_WRITE), 0);
    return raw(of);
}

static void put_back(struct sa_arena *of)
{
    struct slot s = arena_slot(of);
    SAME(os_protect(slot_data(s), s.region->data, OS_NONE), 0);
}

static void seal_encrypted(struct sa_arena *of)
{
    OK(sa_seal_as(of, SA_SEAL_ENCRYPTED, &why));
    SAME(sa_state_of(of), SA_IS_SEALED);
}

static void holds(struct sa_arena *of, size_t size, unsigned seed)
{
    struct sa_block block;
    OK(sa_open(of, false, &block, &why));
    CHECK(!sa_is_encrypted(of));
    CHECK(is_content(raw(of), size, seed));
    OK(sa_check(of));
    OK(sa_open_end(&block, &why));
}

/* How many of `n` bytes are what they would be as content. */
static size_t alike(const uint8_t *at, size_t n, unsigned seed)
{
    size_t same = 0;
    for (size_t i = 0; i < n; i++)
        same += at[i] == content_at(i, seed);
    return same;
}

/* ---- while it is sealed ----------------------------------------------------------------- */

static const size_t sizes[] = {0, 1, 32, 4095, 4096, 4097, 70000, SA_ENCRYPTED_MOST};

TEST(ciphertext_behind_no_access)
{
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t n = sizes[i];
        make(&a, n, 1, 3);
        CHECK(!sa_is_encrypted(&a));
        OK(sa_seal(&a, &why)); /* as it was before, and still is by default */
        CHECK(!sa_is_encrypted(&a));
        SAME(alike(peek(&a), n, 3), n);
        put_back(&a);
        seal_encrypted(&a); /* what was sealed already */
        CHECK(sa_is_encrypted(&a));
        CHECK(!readable(slot_data(arena_slot(&a))));
        CHECK(alike(peek(&a), n, 3) <= n / 64 + 3);
        put_back(&a);
        holds(&a, n, 3);
        CHECK(sa_is_encrypted(&a));
        OK(sa_seal(&a, &why)); /* no more than what it is */
        CHECK(sa_is_encrypted(&a));
        OK(sa_seal_as(&a, SA_SEAL_PLAIN, &why));
        CHECK(!sa_is_encrypted(&a));
        SAME(alike(peek(&a), n, 3), n);
        put_back(&a);
        sa_close(&a);
    }
    SAME(status().arenas, 0);
}

TEST(what_is_not_encrypted)
{
    make(&a, SA_ENCRYPTED_MOST + 1, 1, 3);
    SAME(sa_seal_as(&a, SA_SEAL_ENCRYPTED, &why), SA_TOO_LARGE);
    SAME(sa_state_of(&a), SA_USABLE);
    bool before = true;
    OK(sa_encrypt_by_default(true, &before, &why));
    CHECK(!before && sa_encrypts());
    SAME(sa_seal(&a, &why), SA_TOO_LARGE);
    OK(sa_seal_as(&a, SA_SEAL_PLAIN, &why));
    sa_close(&a);
    SAME(sa_seal(&a, &why), SA_CLOSED);

    make(&a, 32, 1, 3);
    OK(sa_seal(&a, &why));
    CHECK(sa_is_encrypted(&a));
    sa_close(&a);
    CHECK(!sa_is_encrypted(&a));
    OK(sa_encrypt_by_default(false, &before, &why));
    CHECK(before);

    struct sa_pool *pool;
    struct sa_arena in = {0};
    OK(sa_pool_make(&pool, &why));
    OK(sa_pool_alloc(pool, &in, 32, &why));
    OK(sa_fill_end(&in, true));
    SAME(sa_seal_as(&in, SA_SEAL_ENCRYPTED, &why), SA_POOLED);
    CHECK(!sa_is_encrypted(&in));
    sa_close(&in);
    sa_pool_free(pool);
}

/* Nonce by nonce, and none of another's. */
TEST(nonces_never_come_again)
{
    struct sa_arena b = {0};
    uint64_t last = 0;
    no_marker();
    make(&a, 32, 1, 3);
    make(&b, 32, 1, 3);
    for (int i = 0; i < 100; i++) {
        struct sa_arena *of = i % 3 ? &a : &b;
        seal_encrypted(of);
        uint64_t nonce = atomic_load(&slot_cipher(arena_slot(of))->nonce);
        CHECK(nonce > last);
        last = nonce;
        if (i % 10 == 5)
            (void)lockdown();
        OK(sa_seal_as(of, SA_SEAL_PLAIN, &why));
        if (i % 10 == 5)
            for (int k = 0; k < 2; k++) {
                OK(sa_fill_begin(k ? &a : &b, &why));
                OK(sa_fill_end(k ? &a : &b, true));
            }
    }
}

/* What lies where ciphertext was is none, though the table said so. */
TEST(the_next_in_its_place)
{
    no_marker();
    for (int i = 0; i < 40; i++) {
        make(&a, 100, 1, 3);
        CHECK(!atomic_load(&slot_cipher(arena_slot(&a))->nonce));
        OK(sa_seal(&a, &why));
        holds(&a, 100, 3);
        seal_encrypted(&a);
        sa_close(&a); /* parked, and taken again */
    }
}

/* Where an arena's own export or block is still there, it is plaintext until that ends. */
TEST(exports_and_blocks)
{
    uint8_t *bytes;
    struct sa_block outer, inner;
    make(&a, 100, 1, 3);
    OK(sa_export(&a, false, &bytes));
    SAME(sa_seal_as(&a, SA_SEAL_ENCRYPTED, &why), SA_BUSY);
    sa_unexport(&a);
    seal_encrypted(&a);
    OK(sa_open(&a, false, &outer, &why));
    OK(sa_open(&a, true, &inner, &why));
    raw(&a)[7] = 9;
    OK(sa_open_end(&inner, &why));
    CHECK(!sa_is_encrypted(&a));
    OK(sa_export(&a, false, &bytes));
    SAME(sa_open_end(&outer, &why), SA_BUSY);
    SAME(bytes[7], 9);
    CHECK(!sa_is_encrypted(&a));
    sa_unexport(&a);
    CHECK(sa_is_encrypted(&a));
    CHECK(!readable(slot_data(arena_slot(&a))));
    OK(sa_open(&a, false, &outer, &why));
    SAME(raw(&a)[7], 9);
    OK(sa_open_end(&outer, &why));
}

TEST(filled_anew)
{
    make(&a, 100, 1, 3);
    seal_encrypted(&a);
    for (int whole = 0; whole < 2; whole++) {
        OK(sa_fill_begin(&a, &why));
        CHECK(!sa_is_encrypted(&a));
        put_content(raw(&a), 100, 4);
        OK(sa_fill_end(&a, whole));
        SAME(sa_is_encrypted(&a), whole);
    }
    CHECK(alike(peek(&a), 100, 4) < 10);
    put_back(&a);
    holds(&a, 100, 4);
}

/* As ciphertext, to the byte. */
TEST(rotates)
{
    NEEDS_LOCKED(1 << 20);
    static uint8_t before[70000];
    for (size_t i = 0; i < 2; i++) {
        size_t n = i ? sizeof before : 100;
        make(&a, n, 1, 3);
        seal_encrypted(&a);
        memcpy(before, peek(&a), n);
        put_back(&a);
        uintptr_t was = sa_address_of(&a);
        OK(sa_rotate(&a, 0, &why));
        CHECK(sa_address_of(&a) != was);
        SAME(sa_state_of(&a), SA_IS_SEALED);
        CHECK(sa_is_encrypted(&a));
        CHECK(!memcmp(before, peek(&a), n));
        put_back(&a);
        holds(&a, n, 3);
        sa_close(&a);
    }
}

TEST(replaced)
{
    struct sa_arena twin = {0};
    make(&a, 100, 1, 3);
    seal_encrypted(&a);
    for (unsigned seed = 4; seed < 6; seed++) {
        OK(sa_twin(&a, &twin, &why));
        put_content(raw(&twin), 100, seed);
        OK(sa_fill_end(&twin, true));
        OK(sa_replace(&a, &twin, &why));
        sa_close(&twin);
        SAME(sa_state_of(&a), SA_IS_SEALED);
        CHECK(sa_is_encrypted(&a));
        CHECK(alike(peek(&a), 100, seed) < 10);
        put_back(&a);
        holds(&a, 100, seed);
        OK(sa_wipe(&a, &why)); /* the second time it is wiped */
        CHECK(!sa_is_encrypted(&a));
        twin = (struct sa_arena){0};
    }
}

/* ---- wipes ------------------------------------------------------------------------------ */

TEST(wiped_while_sealed)
{
    struct sa_block block;
    uint64_t era, next;
    no_marker();
    make(&a, 100, 1, 3);
    seal_encrypted(&a);
    OK(prekey_have(&era, &why));
    SAME(lockdown(), 1); /* the bytes that keys come of are no arena */
    CHECK(sa_is_wiped(&a));
    SAME(sa_open(&a, false, &block, &why), SA_WIPED);
    SAME(sa_state_of(&a), SA_IS_SEALED);
    OK(sa_fill_begin(&a, &why));
    put_content(raw(&a), 100, 5);
    OK(sa_fill_end(&a, true));
    CHECK(sa_is_encrypted(&a));
    OK(prekey_have(&next, &why));
    CHECK(next != era);
    uint8_t key[PREKEY_KEY];
    CHECK(!prekey_key(era, key));
    holds(&a, 100, 5);
    OK(sa_wipe(&a, &why)); /* this one alone: the bytes stay */
    OK(prekey_have(&era, &why));
    SAME(era, next);
    SAME(sa_open(&a, true, &block, &why), SA_WIPED);
    OK(sa_seal_as(&a, SA_SEAL_PLAIN, &why));
    seal_encrypted(&a); /* noise, which nobody encrypts */
    CHECK(!sa_is_encrypted(&a));
}

/* A pass wipes the bytes that keys come of before any slot. */
static void *passes(void *by_handler)
{
    if (by_handler) {
        wipers_enter();
        (void)vault_wipe_all(false);
        wipers_leave();
    } else {
        (void)lockdown();
    }
    return NULL;
}

TEST(keys_go_first)
{
    if (UNDER_TSAN) /* keys are made and wiped at once, by design: the stamp tells, not the bytes */
        SKIP("both look at the bytes that keys come of");
    no_marker();
    for (uintptr_t by_handler = 0; by_handler < 2; by_handler++) {
        uint64_t era;
        uint8_t key[PREKEY_KEY];
        sigset_t mask;
        pthread_t thread;
        make(&a, 100, 1, 3);
        OK(prekey_have(&era, &why));
        CHECK(prekey_key(era, key));
        struct slot s = arena_slot(&a);
        CHECK(slot_lock_pair(s, s, &mask)); /* the pass waits here */
        SAME(pthread_create(&thread, NULL, passes, (void *)by_handler), 0);
        while (prekey_key(era, key))
            os_wait(99);
        CHECK(is_content(raw(&a), 100, 3));
        slot_unlock_pair(s, s, true, &mask);
        SAME(pthread_join(thread, NULL), 0);
        CHECK(sa_is_wiped(&a));
        sa_close(&a);
    }
}

/* Threads that seal and open, and one that locks down: never is a wipe taken for tampering, and
 * never is there other content than what was written. */
static _Atomic bool done;

static void *works(void *number)
{
    struct sa_arena mine = {0};
    struct sa_block block;
    struct sa_why unused;
    unsigned seed = (unsigned)(uintptr_t)number;
    make_wiped(&mine, 3000, 1);
    while (!atomic_load(&done)) {
        if (sa_is_wiped(&mine) && sa_fill_begin(&mine, &unused) == SA_OK) {
            put_content(raw(&mine), 3000, seed);
            if (sa_fill_end(&mine, true) != SA_OK)
                continue;
        }
        if (sa_seal_as(&mine, SA_SEAL_ENCRYPTED, &unused))
            continue;
        if (seed % 2 && sa_rotate(&mine, 0, &unused))
            continue;
        if (sa_open(&mine, false, &block, &unused))
            continue;
        bool right = is_content(raw(&mine), 3000, seed);
        enum sa_code code = sa_open_end(&block, &unused);
        CHECK(right || code == SA_WIPED);
    }
    sa_close(&mine);
    return NULL;
}

TEST(beside_lockdowns)
{
    if (UNDER_TSAN) /* keys are made and wiped at once, by design: the stamp tells, not the bytes */
        SKIP("both look at the bytes that keys come of");
    NEEDS_LOCKED(1 << 20);
    pthread_t threads[3];
    no_marker();
    for (uintptr_t i = 0; i < 3; i++)
        SAME(pthread_create(&threads[i], NULL, works, (void *)(i + 1)), 0);
    for (int i = 0; i < rounds(1500); i++) {
        (void)lockdown();
        os_wait(i % 5 ? 0 : 99);
    }
    atomic_store(&done, true);
    for (int i = 0; i < 3; i++)
        SAME(pthread_join(threads[i], NULL), 0);
}

/* ---- tampering ---------------------------------------------------------------------------- */

enum { CONTENT, TAG, NONCE, WHATS_TAMPERED = NONCE + 8 }; /* each byte of the nonce */

static void tamper(void *with)
{
    int before, *what = with;
    OK(sa_set_lockdown_fd(what[1], &before, &why));
    struct sa_block block;
    make(&a, 100, 1, 3);
    seal_encrypted(&a);
    struct slot_cipher *c = slot_cipher(arena_slot(&a));
    if (what[0] == CONTENT) {
        peek(&a)[99] ^= 1;
        put_back(&a);
    } else if (what[0] == TAG) {
        c->tag[15] ^= 0x80;
    } else {
        atomic_fetch_add(&c->nonce, (uint64_t)1 << 8 * (what[0] - NONCE));
    }
    close(2);
    OK(sa_open(&a, false, &block, &why)); /* does not return */
}

TEST(a_forger_is_found_out)
{
    int ends[2];
    char got[8];
    SAME(pipe(ends), 0);
    for (int what = CONTENT; what < WHATS_TAMPERED; what++) {
        int with[2] = {what, ends[1]};
        SAME(death_of(in_child(tamper, with)), SIGABRT);
        SAME(read(ends[0], got, sizeof got), 1);
        SAME(got[0], 'F');
    }
}

/* ---- nothing beside ------------------------------------------------------------------------- */

/* How often `n` bytes, each exclusive-or'd with 0x55, lie anywhere in this process. */
static int copies(const uint8_t *masked, size_t n)
{
    static uint8_t chunk[1 << 16];
    struct os_maps walk;
    struct os_map map;
    int found = 0;
    OK(os_maps_begin(&walk, &why));
    while (os_maps_next(&walk, &map)) {
        if (!map.readable)
            continue;
        for (uintptr_t at = map.start; at < map.end; at += sizeof chunk - n) {
            size_t part = map.end - at < sizeof chunk ? map.end - at : sizeof chunk;
            size_t got = os_maps_read(&walk, at, chunk, part);
            for (size_t i = 0; i + n <= got; i++) {
                size_t k = 0;
                while (k < n && (chunk[i + k] ^ 0x55) == masked[k])
                    k++;
                bool own = at + i >= (uintptr_t)chunk && at + i < (uintptr_t)(chunk + sizeof chunk);
                found += k == n && !own;
            }
            memset(chunk, 0, sizeof chunk);
        }
    }
    SAME(os_maps_end(&walk), 0);
    return found;
}

static __attribute__((noinline)) void learn_key(uint8_t masked[PREKEY_KEY])
{
    uint64_t era;
    uint8_t key[PREKEY_KEY];
    OK(prekey_have(&era, &why));
    CHECK(prekey_key(era, key));
    for (int i = 0; i < PREKEY_KEY; i++)
        masked[i] = key[i] ^ 0x55;
    memset(key, 0, sizeof key);
    __asm__ __volatile__("" : : "r"(key) : "memory");
}

/* Sanitizers leave mlock out, and have memory of their own; walks through that take too long. */
#define NEEDS_NO_TOOL() \
    do { \
        if (under_tool()) \
            SKIP("a sanitizer or valgrind is at work"); \
    } while (0)

TEST(no_key_and_no_content_beside)
{
    NEEDS_NO_TOOL();
    enum { N = 48 };
    uint8_t masked_key[PREKEY_KEY], masked[N];
    static uint8_t control[PREKEY_KEY];
    (void)sa_use_secretmem(false); /* that no walk would see */
    make(&a, N, 1, 3);
    for (size_t i = 0; i < N; i++)
        masked[i] = content_at(i, 3) ^ 0x55;
    learn_key(masked_key);
    seal_encrypted(&a);
    struct sa_block block;
    OK(sa_open(&a, false, &block, &why));
    SAME(copies(masked, N), 1); /* itself */
    SAME(copies(masked_key, PREKEY_KEY), 0);
    OK(sa_open_end(&block, &why));
    (void)peek(&a); /* else a walk would pass it over */
    SAME(copies(masked, N), 0);
    SAME(copies(masked_key, PREKEY_KEY), 0);
    put_back(&a);
    for (int i = 0; i < PREKEY_KEY; i++)
        control[i] = masked_key[i] ^ 0x55;
    __asm__ __volatile__("" : : "r"(control) : "memory");
    SAME(copies(masked_key, PREKEY_KEY), 1);
}

/* ---- forks ---------------------------------------------------------------------------------- */

static void in_a_child(void *parents_era)
{
    uint64_t era = *(uint64_t *)parents_era;
    uint8_t key[PREKEY_KEY];
    struct sa_block block;
    static const uint8_t zeros[PREKEY_BYTES];
    CHECK(!prekey_has_pages() && !prekey_key(era, key));
    SAME(vault.may_unlock, 0);
    CHECK(!sa_is_encrypted(&a));
    SAME(sa_open(&a, false, &block, &why), SA_FORKED);
    struct sa_arena own = {0};
    make(&own, 100, 1, 4);
    seal_encrypted(&own);
    holds(&own, 100, 4);
    uint8_t of_zeros[PREKEY_KEY];
    OK(prekey_have(&era, &why));
    CHECK(prekey_key(era, key));
    blake2b_256(of_zeros, zeros, sizeof zeros);
    CHECK(memcmp(key, of_zeros, sizeof key)); /* new pages are zeros until bytes are drawn */
    SAME(lockdown(), 1);
}

TEST(a_child_has_keys_of_its_own)
{
    uint64_t era;
    no_marker();
    (void)sa_use_secretmem(false); /* whose lock nobody gives */
    make(&a, 100, 1, 3);
    seal_encrypted(&a);
    CHECK(vault.may_unlock || !(sa_protection_of(&a) & SA_LOCK));
    OK(prekey_have(&era, &why));
    SAME(in_child(in_a_child, &era), 0);
    holds(&a, 100, 3);
}

/* ---- locks ---------------------------------------------------------------------------------- */

#ifdef __linux__

enum { MANY = 64 };
static struct sa_arena many[MANY];

static bool is_locked(struct sa_arena *of)
{
    bool told = sa_protection_of(of) & SA_LOCK;
    SAME(map_has(slot_data(arena_slot(of)), " lo"), told);
    return told;
}

/* The limit is 64 KiB, and the keys' bytes take 16 of them. More arenas than fit are locked as
 * they are made, each in its turn: those that are sealed give theirs. */
static void locks_go_round(void *unused)
{
    (void)unused;
    nobody_with_lock_limit(64 << 10);
    (void)sa_use_secretmem(false);
    bool before;
    OK(sa_encrypt_by_default(true, &before, &why));
    for (int i = 0; i < MANY; i++) {
        OK(sa_arena_make_with(&many[i], 100, 1, SA_LOCK, &why));
        put_content(arena_bytes(&many[i]), 100, (unsigned)i);
        OK(sa_fill_end(&many[i], true));
        CHECK(is_locked(&many[i]));
        OK(sa_seal(&many[i], &why));
    }
    size_t locked = 0;
    for (int i = 0; i < MANY; i++) {
        bool was = is_locked(&many[i]);
        CHECK(is_exact_map(slot_data(arena_slot(&many[i])), os_page_size(), "---"));
        struct sa_block block;
        OK(sa_open(&many[i], false, &block, &why));
        CHECK(is_locked(&many[i]));
        CHECK(is_content(raw(&many[i]), 100, (unsigned)i));
        OK(sa_open_end(&block, &why));
        locked += was;
    }
    CHECK(locked < MANY && status().locked_bytes <= 64 << 10);
    SAME(status_number("VmLck:") << 10, status().locked_bytes);
    unsigned missing;
    CHECK(!sa_shortfall(&missing, &why));
    for (int i = 0; i < MANY; i++) {
        if (i % 2)
            OK(sa_rotate(&many[i], 0, &why));
        OK(sa_check(&many[i]));
        sa_close(&many[i]);
    }
    SAME(status_number("VmLck:") << 10, status().locked_bytes);
    SAME(vault.may_unlock, 0);
}

TEST(a_spent_limit)
{
    NEEDS_NO_TOOL();
    SAME(in_child(locks_go_round, NULL), 0);
}

/* Others that do not give theirs take all: what gave its lock opens without one, which is told,
 * and under a requirement it does not open, and not for writing anew either. */
static void no_lock_left(void *require_it)
{
    const unsigned required = require_it ? SA_LOCK : 0;
    struct sa_block block;
    nobody_with_lock_limit(64 << 10);
    (void)sa_use_secretmem(false);
    OK(sa_arena_make_with(&a, 100, 1, required, &why));
    put_content(arena_bytes(&a), 100, 3);
    OK(sa_fill_end(&a, true));
    seal_encrypted(&a);
    while (is_locked(&a)) {
        struct sa_arena *of = &many[0];
        while (atomic_load(&of->region))
            of++;
        OK(sa_arena_make(of, 4096, 1, &why));
        OK(sa_fill_end(of, true));
    }
    unsigned missing = 0;
    CHECK(!sa_shortfall(&missing, &why));
    enum sa_code want = required ? SA_UNPROTECTED : SA_OK;
    SAME(sa_open(&a, false, &block, &why), want);
    if (required) {
        SAME(why.missing, SA_LOCK);
        CHECK(!strcmp(why.call, "mlock"));
        SAME(sa_state_of(&a), SA_IS_SEALED);
        CHECK(sa_is_encrypted(&a));
        CHECK(!readable(slot_data(arena_slot(&a))));
        SAME(sa_fill_begin(&a, &why), SA_UNPROTECTED);
        CHECK(sa_is_encrypted(&a));
        struct sa_arena twin = {0};
        SAME(sa_twin(&a, &twin, &why), SA_UNPROTECTED);
        OK(sa_rotate(&a, 0, &why)); /* ciphertext needs none */
        for (int i = 0; i < 2; i++)
            sa_close(&many[i]);
        holds(&a, 100, 3);
        CHECK(sa_protection_of(&a) & SA_LOCK);
    } else {
        CHECK(is_content(raw(&a), 100, 3));
        CHECK(!is_locked(&a));
        CHECK(sa_shortfall(&missing, &why) && missing == SA_LOCK);
        OK(sa_open_end(&block, &why));
        CHECK(sa_is_encrypted(&a));
        (void)sa_require(SA_LOCK);
        SAME(sa_open(&a, false, &block, &why), SA_UNPROTECTED);
    }
}

TEST(no_lock_to_open_it)
{
    NEEDS_NO_TOOL();
    SAME(in_child(no_lock_left, NULL), 0);
    SAME(in_child(no_lock_left, &why), 0);
}

/* Until there is none left: all others' arenas take what they are given. */
static void spend_locks(void)
{
    struct sa_arena *of = &many[0];
    do {
        while (atomic_load(&of->region))
            of++;
        OK(sa_arena_make(of, 4096, 1, &why));
        OK(sa_fill_end(of, true));
    } while (is_locked(of));
}

/* What is open keeps its lock, and so does noise: what will be written there counts on it. */
static void keeps_its_lock(void *wiped)
{
    struct sa_block block;
    nobody_with_lock_limit(64 << 10);
    (void)sa_use_secretmem(false);
    make(&a, 100, 1, 3);
    if (wiped) {
        bool before;
        OK(sa_encrypt_by_default(true, &before, &why));
        OK(sa_wipe(&a, &why));
        seal_encrypted(&a);
        spend_locks();
        OK(sa_fill_begin(&a, &why));
        CHECK(is_locked(&a));
        return;
    }
    seal_encrypted(&a);
    OK(sa_open(&a, false, &block, &why));
    CHECK(is_locked(&a));
    spend_locks();
    CHECK(is_locked(&a));
    OK(sa_open_end(&block, &why));
}

TEST(what_keeps_its_lock)
{
    NEEDS_NO_TOOL();
    SAME(in_child(keeps_its_lock, NULL), 0);
    SAME(in_child(keeps_its_lock, &why), 0);
}

/* As everything, they have what is required of all. */
static void no_secretmem(void *unused)
{
    (void)unused;
    bool before = true;
    deny(447, ENOSYS); /* memfd_secret */
    (void)sa_require(SA_SECRETMEM);
    SAME(sa_encrypt_by_default(true, &before, &why), SA_UNPROTECTED);
    SAME(why.missing, SA_SECRETMEM);
    CHECK(before && !sa_encrypts());
    (void)sa_require(0);
    OK(sa_encrypt_by_default(true, &before, &why));
    CHECK(!before && sa_encrypts());
}

TEST(keys_that_are_to_be_in_secretmem)
{
    NEEDS_NO_TOOL();
    SAME(in_child(no_secretmem, NULL), 0);
}

/* The bytes that keys come of are locked, or nothing is encrypted. */
static void no_lock_at_all(void *unused)
{
    (void)unused;
    nobody_with_lock_limit(8 << 10);
    bool before = true;
    SAME(sa_encrypt_by_default(true, &before, &why), SA_UNPROTECTED);
    SAME(why.missing, SA_LOCK);
    CHECK(before && !sa_encrypts());
    make(&a, 100, 1, 3);
    SAME(sa_seal_as(&a, SA_SEAL_ENCRYPTED, &why), SA_UNPROTECTED);
    SAME(sa_state_of(&a), SA_USABLE);
    CHECK(is_content(raw(&a), 100, 3));
    OK(sa_seal(&a, &why));
    SAME(sa_seal_as(&a, SA_SEAL_ENCRYPTED, &why), SA_UNPROTECTED);
    SAME(sa_state_of(&a), SA_IS_SEALED);
    CHECK(!readable(slot_data(arena_slot(&a))));
    holds(&a, 100, 3);
}

TEST(keys_that_cannot_be_locked)
{
    NEEDS_NO_TOOL();
    SAME(in_child(no_lock_at_all, NULL), 0);
}

#endif

int main(int argc, char **argv)
{
    check_begin("test_cipher", argc, argv);
    RUN(ciphertext_behind_no_access);
    RUN(what_is_not_encrypted);
    RUN(nonces_never_come_again);
    RUN(the_next_in_its_place);
    RUN(exports_and_blocks);
    RUN(filled_anew);
    RUN(rotates);
    RUN(replaced);
    RUN(wiped_while_sealed);
    RUN(keys_go_first);
    RUN(beside_lockdowns);
    RUN(a_forger_is_found_out);
    RUN(no_key_and_no_content_beside);
    RUN(a_child_has_keys_of_its_own);
#ifdef __linux__
    RUN(a_spent_limit);
    RUN(no_lock_to_open_it);
    RUN(what_keeps_its_lock);
    RUN(keys_that_are_to_be_in_secretmem);
    RUN(keys_that_cannot_be_locked);
#endif
    return check_end();
}
