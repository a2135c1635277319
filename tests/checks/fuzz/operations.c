/* libFuzzer over sequences of the core's operations. Beside each arena runs a shadow:
 * what it must hold, which state it must be in, what each call must come to. The
 * library lives on from one input to the next; an input ends with all closed.
 *
 * Signals are part of it: one that the process survives wipes everything, and so does
 * a damaged canary, whose abort is caught here. */
#include "../../core/arenas.h"

#include "vault/canary.h"
#include "base/ct.h"

#include <setjmp.h>

enum { ARENAS = 8, POOLS = 2, MOST = 70016, EXPORTS_MOST = 4 };

struct shadow {
    struct sa_arena a;
    bool made, closed;
    bool sealed;         /* and inside a block that changes: */
    struct sa_block block;
    bool inside, overtaken; /* it is open; a wipe came since */
    bool whole;          /* usable, save while it is being filled */
    bool broken;         /* of the fill: a wipe came by */
    bool unknown;        /* written to behind a wipe */
    bool noisy;          /* some of the content is noise itself */
    int fills, exports;
    int pool;            /* -1: none */
    size_t size, align;
    uint8_t *at;         /* of the exports */
    uint8_t content[MOST];
};

static struct shadow shadows[ARENAS];
static struct sa_pool *pools[POOLS];
static bool pool_closed[POOLS], pool_sealed[POOLS]; /* as an arena */
static uint64_t pool_generation[POOLS];
static uint8_t pattern[MOST + 256], scratch[MOST];
static bool armed, disarmed, aborting;
static jmp_buf aborted;
static struct sa_why why;

#undef CHECK
#undef SAME
#undef OK
void __real_abort(void);
#define CHECK(expression) \
    ((expression) \
         ? (void)0 \
         : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #expression), __real_abort()))
#define SAME(have, want) \
    do { \
        long long have_ = (long long)(have), want_ = (long long)(want); \
        if (have_ != want_) \
            fprintf(stderr, "%s:%d: %s: %lld, not %lld\n", __FILE__, __LINE__, #have, have_, \
                    want_), \
                __real_abort(); \
    } while (0)

/* ---- what the library calls ------------------------------------------------------------ */

/* The library aborts over a canary that we damaged: back to who damaged it. */
_Noreturn void __wrap_abort(void);
void __wrap_abort(void)
{
    if (aborting)
        longjmp(aborted, 1);
    __real_abort();
    __builtin_unreachable();
}

/* Its message would be all that is on the terminal. */
ssize_t __real_write(int fd, const void *text, size_t n);
ssize_t __wrap_write(int fd, const void *text, size_t n);
ssize_t __wrap_write(int fd, const void *text, size_t n)
{
    return aborting ? (ssize_t)n : __real_write(fd, text, n);
}

static void survive(int sig) { (void)sig; }

/* ---- the input ----------------------------------------------------------------------------- */

static const uint8_t *input, *input_end;

static unsigned next(void) { return input < input_end ? *input++ : 0; }
static unsigned below(unsigned n) { return next() % n; }

static size_t some_size(void)
{
    static const size_t edges[] = {495,  496,  497,  504,  505,  2039, 2040, 2041,
                                   4080, 4088, 4095, 4096, 4097, 8191, 8193, 32769};
    /* Mapped each time, and slow: seldom. */
    static const size_t large[] = {65535, 65536, 65537, 70001};
    unsigned b = next();
    if (b < 160)
        return b;
    if (b < 240)
        return (b - 160) * 50 + next();
    return b == 255 && (b = next()) < 16 ? large[b % 4] : edges[b % 16];
}

/* ---- the shadow ---------------------------------------------------------------------------------- */

static bool there(const struct shadow *s) { return s->made && !(s->closed && !s->exports); }

static void wiped(struct shadow *s)
{
    s->whole = false;
    s->broken = s->overtaken = true;
    s->unknown = false;
}

static void all_wiped(void)
{
    for (int i = 0; i < ARENAS; i++)
        if (there(&shadows[i]))
            wiped(&shadows[i]);
}

static unsigned live(void)
{
    unsigned n = 0;
    for (int i = 0; i < ARENAS; i++)
        n += there(&shadows[i]);
    return n;
}

/* Nothing of what it held is at its place: no eight bytes are where they were. */
static bool is_gone(const uint8_t *at, const uint8_t *held, size_t n)
{
    for (size_t i = 0; i + 8 <= n; i += 8)
        if (!memcmp(at + i, held + i, 8))
            return false;
    return true;
}

static void check_canary(struct shadow *s)
{
    if (s->closed || !s->whole || s->fills)
        return;
    size_t bytes = arena_slot(&s->a).region->data;
    uint8_t *from = slot_data(arena_slot(&s->a)), *at = arena_bytes(&s->a);
    if (s->a.slab)
        from = slab_cell_at(s->a.slab, s->a.cell, &bytes);
    CHECK(canary_whole(from, at) && canary_whole(at + s->size, from + bytes));
}

static void look(struct shadow *s)
{
    if (!s->made)
        return;
    const uint8_t *bytes;
    bool usable = !s->closed && s->whole && !s->fills;
    SAME(sa_state_of(&s->a), s->closed ? SA_IS_CLOSED : usable ? SA_USABLE : SA_IS_WIPED);
    SAME(sa_borrow(&s->a, &bytes), s->closed ? SA_CLOSED : usable ? SA_OK : SA_WIPED);
    if (usable) {
        CHECK(!memcmp(bytes, s->content, s->size));
        CHECK((uintptr_t)bytes % s->align == 0);
        CHECK(s->size == 0 || sa_is_secure(bytes, s->size));
        CHECK(!sa_is_secure(bytes, s->size + s->a.tail + 1));
        CHECK(!s->exports || bytes == s->at);
        SAME(sa_return(&s->a), SA_OK);
        check_canary(s);
    } else if (!s->closed && s->fills && !s->broken) {
        CHECK(!memcmp(raw(&s->a), s->content, s->size)); /* as far as it was filled */
    } else if (!s->unknown && !s->noisy && there(s)) {
        CHECK(is_gone(s->exports ? s->at : raw(&s->a), s->content, s->size));
    }
    if (!s->closed)
        CHECK((sa_protection_of(&s->a) & (SA_GUARD | SA_NOFORK)) == (SA_GUARD | SA_NOFORK));
}

static void look_at_all(void)
{
    size_t arenas = 0, bytes = 0;
    for (int i = 0; i < ARENAS; i++) {
        look(&shadows[i]);
        if (there(&shadows[i])) {
            arenas++;
            bytes += shadows[i].size;
        }
    }
    struct sa_status now = status();
    SAME(now.arenas, arenas);
    SAME(now.bytes, bytes);
    SAME(now.handlers[6], armed ? SA_HANDLER_ARMED : now.handlers[6]);
}

/* ---- operations ------------------------------------------------------------------------------------ */

static void fill_whole(struct shadow *s, unsigned seed)
{
    SAME(sa_store(&s->a, 0, pattern + seed, s->size), SA_OK);
    memcpy(s->content, pattern + seed, s->size);
    s->noisy = false;
}

static void born(struct shadow *s, size_t size, size_t align, int pool)
{
    s->made = true;
    s->sealed = s->closed = s->whole = s->broken = s->unknown = s->noisy = false;
    s->fills = 1;
    s->exports = 0;
    s->pool = pool;
    s->size = size;
    s->align = align;
    memset(s->content, 0, size);
    armed = armed || !disarmed;
    CHECK(!memcmp(raw(&s->a), s->content, size));
    unsigned seed = next();
    if (seed >= 224)
        return; /* stays in its fill */
    fill_whole(s, seed);
    SAME(sa_fill_end(&s->a, true), SA_OK);
    s->fills = 0;
    s->whole = true;
}

static void make_one(struct shadow *s)
{
    if (there(s))
        return;
    size_t size = some_size(), align = (size_t)1 << below(14);
    enum sa_code code = sa_arena_make(&s->a, size, align, &why);
    SAME(code, align > os_page_size() ? SA_BAD_ALIGN : SA_OK);
    if (!code)
        born(s, size, align, -1);
}

static void pool_one(struct shadow *s)
{
    int p = (int)below(POOLS);
    if (there(s))
        return;
    if (!pools[p]) {
        SAME(sa_pool_make(&pools[p], &why), SA_OK);
        pool_closed[p] = pool_sealed[p] = false;
    }
    size_t size = some_size();
    enum sa_code code = sa_pool_alloc(pools[p], &s->a, size, &why);
    SAME(code, pool_closed[p] ? SA_CLOSED : SA_OK);
    if (!code)
        born(s, size, 1, p);
}

static void store(struct shadow *s, const uint8_t *from, size_t most)
{
    size_t offset = some_size(), n = some_size();
    n = n < most ? n : most;
    bool outside = offset > s->size || n > s->size - offset;
    bool can = s->fills ? !s->broken : s->whole;
    memcpy(scratch, from, n);
    SAME(sa_store(&s->a, offset, from, n), s->closed ? SA_CLOSED
                                           : outside ? SA_BAD_RANGE
                                           : can     ? SA_OK
                                                     : SA_WIPED);
    if (!s->closed && !outside && can)
        memcpy(s->content + offset, scratch, n);
}

static void store_from_arena(struct shadow *s)
{
    struct shadow *from = &shadows[below(ARENAS)];
    if (from->made && from->exports) {
        size_t offset = from->size ? some_size() % from->size : 0;
        store(s, from->at + offset, from->size - offset);
        s->noisy = true; /* for all we know */
    }
}

static void store_random(struct shadow *s)
{
    bool can = s->fills ? !s->broken : s->whole;
    SAME(sa_store_random(&s->a, &why), s->closed ? SA_CLOSED : can ? SA_OK : SA_WIPED);
    if (!s->closed && can)
        memcpy(s->content, raw(&s->a), s->size);
}

/* What keeps the content from being written anew. */
static enum sa_code replacement(const struct shadow *s)
{
    return s->closed                ? SA_CLOSED
           : s->fills               ? SA_FILLING
           : s->whole && s->exports ? SA_BUSY
           : s->whole && s->inside  ? SA_FILLING
                                    : SA_OK;
}

static void fill_begin(struct shadow *s)
{
    enum sa_code want = replacement(s);
    SAME(sa_fill_begin(&s->a, &why), want);
    if (want)
        return;
    s->fills = 1;
    s->broken = s->whole = s->unknown = false;
    s->overtaken = s->noisy = true;
    memcpy(s->content, raw(&s->a), s->size);
}

static void fill_end(struct shadow *s, bool whole)
{
    if (!s->fills)
        return;
    if (whole && !s->closed && !s->broken && next() % 4)
        fill_whole(s, next());
    bool good = whole && !s->broken;
    s->fills = 0;
    SAME(sa_fill_end(&s->a, whole), s->closed ? SA_CLOSED : good || !whole ? SA_OK : SA_WIPED);
    if (s->closed)
        return;
    if (!good)
        wiped(s);
    s->whole = good;
}

static void replace(struct shadow *s)
{
    struct sa_arena fresh = {0};
    enum sa_code want = replacement(s), code = sa_twin(&s->a, &fresh, &why);
    SAME(code, s->closed ? SA_CLOSED : SA_OK);
    if (code)
        return;
    armed = armed || !disarmed;
    unsigned seed = next();
    SAME(sa_store(&fresh, 0, pattern + seed, s->size), SA_OK);
    SAME(sa_fill_end(&fresh, true), SA_OK);
    SAME(sa_replace(&s->a, &fresh, &why), want);
    sa_close(&fresh);
    if (want)
        return;
    memcpy(s->content, pattern + seed, s->size);
    s->whole = s->overtaken = true;
    s->broken = s->unknown = s->noisy = false;
    CHECK(!memcmp(raw(&s->a), s->content, s->size));
}

static void export(struct shadow *s)
{
    uint8_t *at;
    bool filling = next() & 1;
    if (s->exports == EXPORTS_MOST)
        return;
    bool can = filling ? s->fills && !s->broken : !s->fills && s->whole;
    SAME(sa_export(&s->a, filling, &at), s->closed ? SA_CLOSED : can ? SA_OK : SA_WIPED);
    if (s->closed || !can)
        return;
    CHECK(!s->exports++ || at == s->at);
    s->at = at;
}

static void unexport(struct shadow *s)
{
    if (!s->exports)
        return;
    uint8_t *at = s->at;
    s->exports--;
    sa_unexport(&s->a);
    CHECK(there(s) || s->size == 0 || !sa_is_secure(at, s->size));
}

/* A consumer writes through its buffer, or wipes part of it. */
static void write_through(struct shadow *s, bool clears)
{
    if (!s->exports || !s->size)
        return;
    size_t offset = some_size() % s->size, n = some_size() % (s->size - offset) + 1;
    if (clears) {
        SAME(sa_clear(s->at + offset, n, &why), SA_OK);
        CHECK(is_noise_from(s->at + offset, s->at + offset, n));
    } else {
        memcpy(s->at + offset, pattern + next(), n);
    }
    if (!s->closed && (s->fills ? !s->broken : s->whole))
        memcpy(s->content + offset, s->at + offset, n), s->noisy |= clears;
    else
        s->unknown = true;
}

static void wipe(struct shadow *s)
{
    SAME(sa_wipe(&s->a, &why), s->closed ? SA_CLOSED : SA_OK);
    if (!s->closed)
        wiped(s);
}

static enum sa_code rotation(const struct shadow *s)
{
    return s->closed    ? SA_CLOSED
           : s->fills   ? SA_FILLING
           : s->exports ? SA_BUSY
           : s->whole   ? SA_OK
                        : SA_WIPED;
}

static void rotate(struct shadow *s)
{
    uintptr_t before = sa_address_of(&s->a);
    enum sa_code want = rotation(s);
    SAME(sa_rotate(&s->a, 0, &why), want);
    CHECK(want || sa_address_of(&s->a) != before);
}

static void close_one(struct shadow *s)
{
    uint8_t *at = s->closed ? NULL : raw(&s->a);
    s->unknown = s->unknown && s->closed; /* else noise is all over it */
    sa_close(&s->a);
    s->closed = true;
    s->whole = false;
    if (s->inside)
        SAME(sa_open_end(&s->block, &why), SA_CLOSED);
    s->inside = false;
    CHECK(!at || s->exports || s->size == 0 || !sa_is_secure(at, s->size));
    sa_close(&s->a);
}

/* One byte beside the content, and whoever checks it wipes all and aborts. */
static void damage(struct shadow *s, bool rotates)
{
    if (rotation(s) != SA_OK || s->pool >= 0 ||
        s->size + s->a.tail == arena_slot(&s->a).region->data)
        return;
    uint8_t *front = slot_data(arena_slot(&s->a));
    front[next() % (size_t)(arena_bytes(&s->a) - front)] ^= 1;
    aborting = true;
    if (!setjmp(aborted)) {
        (void)(rotates ? sa_rotate(&s->a, 0, &why) : sa_check(&s->a));
        CHECK(false); /* it went unseen */
    }
    aborting = false;
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    wipers_leave(); /* which the dying need not */
    arena_leave(&s->a, rotates ? USE_MOVING : USE_READER);
    all_wiped();
}

/* What a sealed arena answers, and what becomes of it there. */
static void while_sealed(struct shadow *s)
{
    const uint8_t *bytes;
    uint8_t *at;
    uintptr_t before = sa_address_of(&s->a);
    SAME(sa_state_of(&s->a), SA_IS_SEALED);
    SAME(sa_is_wiped(&s->a), !s->whole);
    SAME(sa_borrow(&s->a, &bytes), SA_SEALED);
    SAME(sa_export(&s->a, false, &at), SA_SEALED);
    SAME(sa_store(&s->a, 0, pattern, 0), SA_SEALED);
    switch (below(5)) {
    case 0:
        SAME(sa_rotate(&s->a, 0, &why), s->whole ? SA_OK : SA_WIPED);
        CHECK(!s->whole || sa_address_of(&s->a) != before);
        break;
    case 1: SAME(sa_check(&s->a), SA_OK); break;
    case 2: wipe(s); break;
    case 3: close_one(s); break;
    }
}

/* Open for reading, with a block inside that changes. */
static void inside_blocks(struct shadow *s)
{
    const uint8_t *bytes;
    struct sa_block outer, inner;
    SAME(sa_open(&s->a, false, &outer, &why), s->whole ? SA_OK : SA_WIPED);
    if (!s->whole)
        return;
    SAME(sa_borrow(&s->a, &bytes), SA_OK);
    CHECK(!memcmp(bytes, s->content, s->size));
    SAME(sa_return(&s->a), SA_OK);
    SAME(sa_store(&s->a, 0, pattern, 0), SA_READ_ONLY);
    SAME(sa_open(&s->a, true, &inner, &why), SA_OK);
    fill_whole(s, next());
    SAME(sa_open_end(&inner, &why), SA_OK);
    SAME(sa_store(&s->a, 0, pattern, 0), SA_READ_ONLY);
    SAME(sa_open_end(&outer, &why), SA_OK);
    SAME(sa_state_of(&s->a), SA_IS_SEALED);
}

static void refill(struct shadow *s)
{
    fill_begin(s);
    fill_end(s, true);
    SAME(s->fills, 0);
}

static void seal(struct shadow *s)
{
    if (s->pool >= 0 || s->closed || s->fills)
        return;
    if (s->exports) {
        SAME(sa_seal(&s->a, &why), s->inside ? SA_FILLING : SA_BUSY);
        return;
    }
    if (s->inside)
        SAME(sa_open_end(&s->block, &why), s->overtaken ? SA_WIPED : SA_OK);
    else
        SAME(sa_seal_as(&s->a, below(2) ? SA_SEAL_ENCRYPTED : SA_SEAL_PLAIN, &why), SA_OK);
    s->sealed = true;
    s->inside = false;
    while_sealed(s);
    if (s->closed)
        return;
    inside_blocks(s);
    if (!s->whole)
        refill(s);
    s->overtaken = false;
    s->inside = s->whole;
    if (s->whole)
        SAME(sa_open(&s->a, true, &s->block, &why), SA_OK);
    else
        close_one(s); /* a fill that did not end well: it could not be opened */
}

static void seal_pool(int p)
{
    bool exported = false;
    if (!pools[p] || pool_closed[p])
        return;
    for (int i = 0; i < ARENAS; i++) {
        struct shadow *s = &shadows[i];
        if (s->made && s->pool == p && !s->closed && s->fills)
            return;
        exported = exported || (s->made && s->pool == p && s->exports);
    }
    if (exported)
        return;
    enum sa_code code = pool_sealed[p] ? sa_pool_open_end(pools[p], true, pool_generation[p], &why)
                                       : sa_pool_seal(pools[p], &why);
    CHECK(code == SA_OK || (pool_sealed[p] && code == SA_WIPED)); /* by whatever came since */
    pool_sealed[p] = true;
    struct sa_arena none = {0};
    SAME(sa_pool_alloc(pools[p], &none, 5, &why), SA_SEALED);
    armed = armed || !disarmed;
    for (int i = 0; i < ARENAS; i++)
        if (shadows[i].made && shadows[i].pool == p && !shadows[i].closed)
            while_sealed(&shadows[i]);
    SAME(sa_pool_open(pools[p], true, &pool_generation[p], &why), SA_OK);
}

static void compare(struct shadow *s)
{
    const uint8_t *bytes;
    size_t n = some_size(), offset = below(2) * next();
    const uint8_t *other = below(2) ? pattern + offset : s->content;
    if (sa_borrow(&s->a, &bytes))
        return;
    size_t least = n < s->size ? n : s->size;
    int order = memcmp(bytes, other, least);
    order = order ? order : (s->size > n) - (s->size < n);
    int have = ct_order(bytes, s->size, other, n);
    SAME((have > 0) - (have < 0), (order > 0) - (order < 0));
    SAME(ct_equal(bytes, s->size, other, n), order == 0);
    SAME(sa_return(&s->a), SA_OK);
}

static void lock_down(void)
{
    size_t count;
    SAME(sa_lockdown(&count, &why), SA_OK);
    SAME(count, live());
    all_wiped();
}

/* A fatal signal whose earlier handler lets the process live. */
static void get_signal(void)
{
    raise(SIGTRAP);
    if (armed)
        all_wiped();
    armed = false; /* until the next arena */
}

static void pool_end(int p, bool frees)
{
    if (!pools[p])
        return;
    bool exported = false;
    for (int i = 0; i < ARENAS; i++) {
        struct shadow *s = &shadows[i];
        if (!s->made || s->pool != p)
            continue;
        exported = exported || s->exports;
        if (!pool_closed[p] && !s->closed) {
            s->closed = true;
            s->whole = s->unknown = false;
        }
    }
    sa_pool_close(pools[p]);
    pool_closed[p] = true;
    if (!frees || exported)
        return;
    sa_pool_free(pools[p]);
    pools[p] = NULL;
    for (int i = 0; i < ARENAS; i++)
        if (shadows[i].pool == p)
            shadows[i].made = false;
}

static void step(void)
{
    unsigned operation = below(31);
    struct shadow *s = &shadows[below(ARENAS)];
    switch (operation) {
    case 0:
    case 1: make_one(s); return;
    case 2:
    case 3: pool_one(s); return;
    case 4: lock_down(); return;
    case 5: SAME(sa_rekey(&why), SA_OK); return;
    case 6: get_signal(); return;
    case 7: pool_end((int)(s - shadows) % POOLS, next() & 1); return;
    case 8: look_at_all(); return;
    case 28: seal_pool((int)(s - shadows) % POOLS); return;
    case 9:
        disarmed = next() & 1;
        SAME(disarmed ? sa_disarm(&why) : sa_arm(NULL, 0, &why), SA_OK);
        armed = !disarmed;
        return;
    }
    if (!s->made)
        return;
    switch (operation) {
    case 10:
    case 11: store(s, pattern + next(), MOST); return;
    case 12: store_from_arena(s); return;
    case 13: store_random(s); return;
    case 14: fill_begin(s); return;
    case 15: fill_end(s, true); return;
    case 16: fill_end(s, false); return;
    case 17:
    case 18: export(s); return;
    case 19: unexport(s); return;
    case 20: write_through(s, false); return;
    case 21: write_through(s, true); return;
    case 22: wipe(s); return;
    case 23:
    case 24: rotate(s); return;
    case 25: close_one(s); return;
    case 26: s->closed ? close_one(s) : damage(s, next() & 1); return;
    case 27: compare(s); return;
    case 29: seal(s); return;
    case 30: replace(s); return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static bool begun;
    if (!begun) {
        begun = true;
        signal(SIGTRAP, survive);
        no_marker();
        put_content(pattern, sizeof pattern, 3);
    }
    input = bytes;
    input_end = bytes + n;
    while (input < input_end)
        step();
    look_at_all();
    for (int i = 0; i < ARENAS; i++) {
        struct shadow *s = &shadows[i];
        if (s->made)
            close_one(s);
        while (s->made && s->exports)
            unexport(s);
        s->made = false;
    }
    for (int p = 0; p < POOLS; p++)
        pool_end(p, true);
    return 0;
}
