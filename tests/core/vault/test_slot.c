/* The slot word: who may do what to a slot, alone and between threads. The slots
 * are made here by hand; no vault is behind them. */
#include "check.h"
#include "vault/noise.h"
#include "vault/slot.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#ifdef __linux__
#include "linux.h"
#endif

enum { SLOTS = 4 };
static struct slot_words words[SLOTS];
static struct sa_region region;
static struct sa_why why;
static const unsigned GRANTED = SA_LOCK | SA_NODUMP;

static struct slot slot(uint32_t index) { return (struct slot){&region, index}; }
static uint64_t word(uint32_t index) { return atomic_load(&words[index].word); }

/* All slots live and writable, full of 0x5a. */
static void begin(size_t data_pages)
{
    size_t page = os_page_size(), data = data_pages * page;
    size_t bytes = SLOTS * (data + page) + page;
    void *base = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANON, -1, 0);
    CHECK(base != MAP_FAILED);
    region.bytes = bytes;
    region.data = data;
    region.slots = SLOTS;
    region.words = words;
    atomic_store(&region.used, SLOTS);
    atomic_store(&region.base, base);
    OK(noise_rekey(&why));
    for (uint32_t i = 0; i < SLOTS; i++) {
        SAME(os_protect(slot_data(slot(i)), data, OS_WRITE), 0);
        memset(slot_data(slot(i)), 0x5a, data);
        atomic_store(&words[i].word, word_of(SLOT_LIVE, OS_WRITE, GRANTED));
    }
}

static bool is_noise(const uint8_t *at, size_t n)
{
    uint8_t noise[NOISE_BYTES];
    noise_wipe(noise, sizeof noise);
    for (size_t i = 0; i < n; i++)
        if (at[i] != noise[i % NOISE_BYTES])
            return false;
    return true;
}

/* The slot holds nothing but what begin() put there. */
static bool untouched(uint32_t index)
{
    const uint8_t *at = slot_data(slot(index));
    for (size_t i = 0; i < region.data; i++)
        if (at[i] != 0x5a)
            return false;
    return true;
}

/* ---- the word -------------------------------------------------------------------------- */

TEST(fields_lie_apart)
{
    const uint64_t fields[] = {
        WORD_STATE, WORD_BUSY, WORD_ACCESS, WORD_GRANTED, WORD_DROPPED,
        WORD_GONE,  WORD_PINS, WORD_WANTED, WORD_POOLED,  ~(((uint64_t)1 << WORD_NEXT_SHIFT) - 1)};
    uint64_t all = 0;
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        SAME(all & fields[i], 0);
        all |= fields[i];
    }
    CHECK(all == UINT64_MAX);
    SAME(WORD_PINS & (0 - (uint64_t)WORD_PINS), WORD_PIN);
    for (unsigned state = SLOT_FREE; state <= SLOT_LOST; state++)
        for (unsigned access = OS_NONE; access <= OS_WRITE; access++)
            for (unsigned bits = 0; bits < 8; bits++) {
                uint64_t h = word_of((enum slot_state)state, (enum os_access)access, bits << 1);
                h |= WORD_BUSY | WORD_DROPPED | WORD_GONE | WORD_PINS |
                     ~(uint64_t)0 << WORD_NEXT_SHIFT;
                SAME(word_state(h), state);
                SAME(word_access(h), access);
                SAME(word_granted(h), bits << 1);
            }
}

TEST(data_lies_between_guards)
{
    begin(2);
    uint8_t *base = atomic_load(&region.base);
    size_t page = os_page_size();
    for (uint32_t i = 0; i < SLOTS; i++) {
        CHECK(slot_data(slot(i)) == base + page + i * 3 * page);
        CHECK(!readable(slot_data(slot(i)) - 1));
        CHECK(readable(slot_data(slot(i))) && readable(slot_data(slot(i)) + 2 * page - 1));
        CHECK(!readable(slot_data(slot(i)) + 2 * page));
    }
}

/* ---- wiping ------------------------------------------------------------------------------ */

TEST(wipes_one_slot_whole)
{
    begin(3);
    uint64_t before = word(1);
    CHECK(slot_wipe(slot(1)));
    CHECK(is_noise(slot_data(slot(1)), region.data));
    CHECK(untouched(0) && untouched(2) && untouched(3));
    SAME(word(1), before); /* no pin left */
    SAME(slot_generation(slot(1)), 2);
    SAME(slot_generation(slot(0)), 0);
}

TEST(wipes_only_live_slots)
{
    static const enum slot_state others[] = {SLOT_FREE, SLOT_PARKED, SLOT_OWNED, SLOT_LOST};
    begin(1);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        uint64_t h = word_of(others[i], OS_WRITE, GRANTED);
        atomic_store(&words[0].word, h);
        CHECK(!slot_wipe(slot(0)));
        SAME(word(0), h);
        CHECK(untouched(0));
    }
}

/* 40 bits of it came round after half a day of clears, and noise read as whole. */
TEST(the_generation_does_not_come_round)
{
    begin(1);
    atomic_store(&words[0].generation, ((uint64_t)1 << 40) - 2);
    CHECK(slot_wipe(slot(0)));
    SAME(slot_generation(slot(0)), (uint64_t)1 << 40);
    SAME(word(0), word_of(SLOT_LIVE, OS_WRITE, GRANTED));
}

TEST(wipes_whatever_the_access)
{
    begin(1);
    for (int access = OS_NONE; access <= OS_WRITE; access++) {
        SAME(slot_set_access(slot(0), (enum os_access)access), 0);
        CHECK(slot_wipe(slot(0)));
        SAME(word_access(word(0)), OS_WRITE); /* left open, as the contract says */
        CHECK(is_noise(slot_data(slot(0)), region.data));
        memset(slot_data(slot(0)), 0x5a, region.data);
    }
}

/* A slot's pages, never touched, and as the library's never a part of a larger one. */
static uint8_t *untouched_pages(uint32_t i)
{
    uint8_t *at = slot_data(slot(i));
    CHECK(mmap(at, region.data, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON | MAP_FIXED, -1,
               0) == at);
#ifdef __linux__
    (void)madvise(at, region.data, MADV_NOHUGEPAGE); /* a kernel without them has none to forbid */
#endif
    return at;
}

/* More than 16 locked pages: those never touched stay so, all others are wiped. */
TEST(wipes_large_ones)
{
    enum { PAGES = 700 };
    os_probe(); /* for os_touched */
    begin(PAGES);
    size_t page = os_page_size();
    CHECK(slot_wipe(slot(0)));
    for (size_t i = 0; i < PAGES; i++)
        CHECK(is_noise(slot_data(slot(0)) + i * page, NOISE_BYTES));
    uint8_t *fresh = untouched_pages(1);
    static const size_t places[] = {0, 1, 511, 512, 513, PAGES - 1};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        fresh[places[i] * page + 7] = 0x5a;
    CHECK(slot_wipe(slot(1)));
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        CHECK(is_noise(fresh + places[i] * page, NOISE_BYTES));
#ifdef __linux__
    unsigned char touched[PAGES];
    size_t count = 0;
    SAME(os_touched(fresh, region.data, touched), 0);
    for (size_t i = 0; i < PAGES; i++)
        count += touched[i] & 1;
    if (!under_tool())
        CHECK(count < 20);
#endif
    /* Without the lock a page that is not in core may be in swap. */
    atomic_store(&words[2].word, word_of(SLOT_LIVE, OS_WRITE, 0));
    uint8_t *unlocked = untouched_pages(2);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        unlocked[places[i] * page + 7] = 0x5a;
#ifdef __linux__
    (void)madvise(unlocked, region.data, 21); /* MADV_PAGEOUT, 5.4: where there is swap */
#endif
    CHECK(slot_wipe(slot(2)));
#ifdef __linux__
    SAME(os_touched(unlocked, region.data, touched), 0);
    for (size_t i = count = 0; i < PAGES; i++)
        count += touched[i] & 1;
    if (!under_tool())
        CHECK(count < 20);
#endif
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        CHECK(is_noise(unlocked + places[i] * page, NOISE_BYTES));
}

#ifdef __linux__
/* Who can ask neither whether a page is in swap nor whether there is any overwrites all. */
TEST(wipes_all_where_nobody_can_tell)
{
    enum { PAGES = 40 };
    if (under_tool())
        SKIP("a tool opens files of its own at the end");
    os_probe();
    begin(PAGES);
    atomic_store(&words[0].word, word_of(SLOT_LIVE, OS_WRITE, 0));
    uint8_t *fresh = slot_data(slot(0));
    CHECK(mmap(fresh, region.data, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON | MAP_FIXED, -1,
               0) == fresh);
    if (!filter(SYS_openat, SECCOMP_RET_ERRNO | EACCES))
        SKIP("filters cannot be had");
    deny(SYS_sysinfo, EPERM);
    CHECK(slot_wipe(slot(0)));
    for (size_t i = 0; i < PAGES; i++)
        CHECK(is_noise(fresh + i * os_page_size(), NOISE_BYTES));
}
#endif

/* ---- access -------------------------------------------------------------------------------- */

TEST(access_is_what_the_pages_have)
{
    begin(2);
    uint8_t *last = slot_data(slot(0)) + region.data - 1;
    SAME(slot_set_access(slot(0), OS_NONE), 0);
    CHECK(!readable(slot_data(slot(0))) && !readable(last));
    SAME(word_access(word(0)), OS_NONE);
    SAME(word_state(word(0)), SLOT_LIVE);
    SAME(slot_set_access(slot(0), OS_READ), 0);
    CHECK(readable(last) && readable(slot_data(slot(0))));
    SAME(word_access(word(0)), OS_READ);
    SAME(slot_set_access(slot(0), OS_WRITE), 0);
    *last = 0x5a;
    CHECK(untouched(0)); /* no content was lost on the way */
    SAME(word_granted(word(0)), GRANTED);
    SAME(slot_generation(slot(0)), 0);
}

TEST(refused_access_changes_nothing)
{
    begin(1);
    SAME(munmap(slot_data(slot(0)), region.data), 0);
    uint64_t before = word(0);
    CHECK(slot_set_access(slot(0), OS_NONE) != 0);
    SAME(word(0), before);
}

/* ---- who waits for whom ----------------------------------------------------------------------- */

static _Atomic bool began, ended;

static void *wiper(void *unused)
{
    atomic_store(&began, true);
    CHECK(slot_wipe(slot(0)));
    atomic_store(&ended, true);
    return unused;
}

static void *sealer(void *unused)
{
    atomic_store(&began, true);
    SAME(slot_set_access(slot(0), OS_READ), 0);
    atomic_store(&ended, true);
    return unused;
}

static void *retirer(void *unused)
{
    atomic_store(&began, true);
    CHECK(slot_retire(slot(0)));
    atomic_store(&ended, true);
    return unused;
}

static void *maker(void *unused)
{
    atomic_store(&began, true);
    wipers_wait();
    atomic_store(&ended, true);
    return unused;
}

/* Start a thread that has to wait. */
static pthread_t start_waiting(void *(*body)(void *))
{
    pthread_t thread;
    atomic_store(&began, false);
    atomic_store(&ended, false);
    SAME(pthread_create(&thread, NULL, body, NULL), 0);
    while (!atomic_load(&began))
        pause_ms(1);
    pause_ms(30);
    CHECK(!atomic_load(&ended));
    return thread;
}

static void may_go_on(pthread_t thread)
{
    SAME(pthread_join(thread, NULL), 0);
    CHECK(atomic_load(&ended));
}

TEST(wiper_waits_for_busy)
{
    begin(1);
    sigset_t mask;
    CHECK(slot_lock_pair(slot(0), slot(0), &mask));
    pthread_t thread = start_waiting(wiper);
    CHECK(untouched(0));
    slot_unlock_pair(slot(0), slot(0), true, &mask);
    may_go_on(thread);
    CHECK(is_noise(slot_data(slot(0)), region.data));
    SAME(word(0), word_of(SLOT_LIVE, OS_WRITE, GRANTED));
    SAME(slot_generation(slot(0)), 2);
}

TEST(retire_waits_for_pin)
{
    begin(1);
    atomic_fetch_add(&words[0].word, 2 * WORD_PIN); /* a wiper, and one that interrupted it */
    pthread_t thread = start_waiting(retirer);
    atomic_fetch_sub(&words[0].word, WORD_PIN);
    pause_ms(20);
    CHECK(!atomic_load(&ended));
    SAME(word_state(word(0)), SLOT_LIVE);
    atomic_fetch_sub(&words[0].word, WORD_PIN);
    may_go_on(thread);
    SAME(word(0), word_of(SLOT_OWNED, OS_WRITE, GRANTED));
}

TEST(retire_waits_for_busy)
{
    begin(1);
    sigset_t mask;
    CHECK(slot_lock_pair(slot(0), slot(1), &mask));
    pthread_t thread = start_waiting(retirer);
    slot_unlock_pair(slot(0), slot(1), true, &mask);
    may_go_on(thread);
    SAME(word_state(word(0)), SLOT_OWNED);
}

TEST(access_waits_for_pin)
{
    begin(1);
    atomic_fetch_add(&words[0].word, WORD_PIN);
    pthread_t thread = start_waiting(sealer);
    SAME(word_access(word(0)), OS_WRITE);
    slot_data(slot(0))[0] = 0x5a; /* a wiper could still write */
    atomic_fetch_sub(&words[0].word, WORD_PIN);
    may_go_on(thread);
    SAME(word_access(word(0)), OS_READ);
}

TEST(access_waits_for_busy)
{
    begin(1);
    sigset_t mask;
    CHECK(slot_lock_pair(slot(0), slot(0), &mask));
    pthread_t thread = start_waiting(sealer);
    slot_unlock_pair(slot(0), slot(0), true, &mask);
    may_go_on(thread);
}

/* Who changes the access may be kept for long. */
TEST(a_lock_is_noted_beside_a_change_of_access)
{
    begin(1);
    uint64_t held = word(0) | WORD_BUSY | word_holder(os_thread());
    atomic_store(&words[0].word, held);
    CHECK(slot_set_locked(slot(0), false));
    SAME(word(0), held & ~((uint64_t)SA_LOCK << WORD_GRANTED_SHIFT));
    CHECK(slot_set_locked(slot(0), true));
    SAME(word(0), held);
}

/* Else it would take the slot again and again before a pass that waits for it does.
 * In the end it goes on: its caller may hold what the wiper wants. */
TEST(access_lets_wipers_pass)
{
    struct timespec from, to;
    begin(1);
    wipers_enter();
    clock_gettime(CLOCK_MONOTONIC, &from);
    SAME(slot_set_access(slot(0), OS_NONE), 0);
    clock_gettime(CLOCK_MONOTONIC, &to);
    CHECK((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000 >= 10);
    wipers_leave();
}

TEST(makers_wait_for_all_wipers)
{
    wipers_wait(); /* none: at once */
    wipers_enter();
    wipers_enter();
    pthread_t thread = start_waiting(maker);
    wipers_leave();
    pause_ms(20);
    CHECK(!atomic_load(&ended));
    wipers_leave();
    may_go_on(thread);
    wipers_enter();
    wipers_forked();
    wipers_wait();
}

TEST(pins_are_counted)
{
    begin(1);
    atomic_fetch_add(&words[0].word, WORD_PIN);
    CHECK(slot_wipe(slot(0))); /* as a handler on the thread that pinned */
    CHECK(is_noise(slot_data(slot(0)), region.data));
    SAME((word(0) & WORD_PINS) / WORD_PIN, 1);
}

/* ---- life ----------------------------------------------------------------------------------------- */

TEST(publish_and_retire)
{
    begin(1);
    atomic_store(&words[0].generation, 6);
    atomic_store(&words[0].word, word_of(SLOT_OWNED, OS_WRITE, GRANTED));
    slot_publish(slot(0), false);
    SAME(word(0), word_of(SLOT_LIVE, OS_WRITE, GRANTED));
    CHECK(slot_retire(slot(0)));
    SAME(word(0), word_of(SLOT_OWNED, OS_WRITE, GRANTED));
    SAME(slot_generation(slot(0)), 6);
    slot_publish(slot(0), true); /* a pool's, while it is live */
    SAME(word(0), word_of(SLOT_LIVE, OS_WRITE, GRANTED) | WORD_POOLED);
    CHECK(slot_wipe(slot(0)));
    CHECK(word(0) & WORD_POOLED);
    CHECK(slot_retire(slot(0)));
    CHECK(!(word(0) & WORD_POOLED));
    slot_publish(slot(0), false);
    atomic_fetch_or(&words[0].word, WORD_DROPPED);
    CHECK(!slot_retire(slot(0)));
}

/* ---- copying ---------------------------------------------------------------------------------------- */

/* As the kernel has it: the C library does not show the signals of its own. */
static bool all_blocked(void)
{
#ifdef __linux__
    uint64_t now = 0, ever = 1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1);
    SAME(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &now, sizeof now), 0);
    return (now | ever) == UINT64_MAX;
#else
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    return sigismember(&now, SIGTERM) && sigismember(&now, SIGALRM) && !sigismember(&now, SIGSEGV);
#endif
}

static bool none_blocked(void)
{
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    return !sigismember(&now, SIGSEGV) && !sigismember(&now, SIGTERM) &&
           !sigismember(&now, SIGUSR1);
}

/* Refused, and nothing of it is left. */
static void is_refused(struct slot from, struct slot to)
{
    sigset_t mask;
    uint64_t first = atomic_load(slot_word(from)), second = atomic_load(slot_word(to));
    CHECK(!slot_lock_pair(from, to, &mask));
    SAME(atomic_load(slot_word(from)), first);
    SAME(atomic_load(slot_word(to)), second);
    CHECK(none_blocked());
}

TEST(hold_both)
{
    begin(1);
    sigset_t mask;
    CHECK(slot_lock_pair(slot(0), slot(1), &mask));
    CHECK(word(0) & WORD_BUSY && word(1) & WORD_BUSY && all_blocked());
    slot_unlock_pair(slot(0), slot(1), true, &mask);
    CHECK(none_blocked());
    SAME(word(0), word_of(SLOT_LIVE, OS_WRITE, GRANTED));
    SAME(word(1), word(0));
    CHECK(slot_lock_pair(slot(0), slot(0), &mask));
    CHECK(word(0) & WORD_BUSY && all_blocked());
    slot_unlock_pair(slot(0), slot(0), true, &mask);
    CHECK(none_blocked());
    SAME(word(0), word(1));
}

TEST(hold_both_with_a_fresh_one)
{
    begin(1);
    sigset_t mask;
    uint64_t owned = word_of(SLOT_OWNED, OS_WRITE, GRANTED), live = word(0);
    atomic_store(&words[1].word, owned);
    CHECK(slot_lock_pair(slot(0), slot(1), &mask));
    SAME(word(1), live | WORD_BUSY); /* born live, and no wiper gets in */
    slot_unlock_pair(slot(0), slot(1), false, &mask);
    SAME(word(1), owned);
    SAME(word(0), live);
    CHECK(slot_lock_pair(slot(0), slot(1), &mask));
    slot_unlock_pair(slot(0), slot(1), true, &mask);
    SAME(word(1), live);
}

TEST(hold_both_refuses)
{
    begin(1);
    uint64_t live = word(0), owned = word_of(SLOT_OWNED, OS_WRITE, GRANTED);
    static const uint64_t flags[] = {WORD_PIN, WORD_BUSY, WORD_DROPPED};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        atomic_store(&words[0].word, live | flags[i]);
        is_refused(slot(0), slot(1));
        is_refused(slot(1), slot(0));
        is_refused(slot(0), slot(0));
        atomic_store(&words[1].word, owned);
        is_refused(slot(0), slot(1));
        atomic_store(&words[1].word, live);
    }
    atomic_store(&words[0].word, owned);
    is_refused(slot(0), slot(1)); /* nothing to copy from */
    atomic_store(&words[0].word, word_of(SLOT_LIVE, OS_NONE, GRANTED));
    is_refused(slot(0), slot(1));
    is_refused(slot(1), slot(0));
    atomic_store(&words[0].word, word_of(SLOT_LIVE, OS_READ, GRANTED));
    is_refused(slot(1), slot(0));
    is_refused(slot(0), slot(0));
    sigset_t mask;
    CHECK(slot_lock_pair(slot(0), slot(1), &mask)); /* reading is enough to copy from */
    slot_unlock_pair(slot(0), slot(1), true, &mask);
}

TEST(hold_both_refuses_while_wipers_run)
{
    begin(1);
    atomic_store(&words[2].word, word_of(SLOT_OWNED, OS_WRITE, GRANTED));
    wipers_enter();
    is_refused(slot(0), slot(1));
    is_refused(slot(0), slot(0));
    is_refused(slot(0), slot(2));
    SAME(word_state(word(2)), SLOT_OWNED);
    wipers_leave();
    sigset_t mask;
    CHECK(slot_lock_pair(slot(0), slot(2), &mask));
    slot_unlock_pair(slot(0), slot(2), true, &mask);
}

/* ---- pages that cannot be opened ------------------------------------------------------------------- */

/* Another wiper found that they cannot be opened, said so, and got no further: perhaps
 * it is what we interrupted. */
TEST(drops_what_another_gave_up)
{
    begin(1);
    struct slot s = slot(0);
    SAME(slot_set_access(s, OS_NONE), 0);
    atomic_fetch_add(&words[0].word, WORD_PIN);
    atomic_fetch_add(&words[0].generation, 1);
    atomic_fetch_or(&words[0].word, WORD_DROPPED);
    CHECK(slot_wipe(s));
    CHECK(word(0) & WORD_GONE);
    SAME(os_protect(slot_data(s), region.data, OS_READ), 0);
    for (size_t i = 0; i < region.data; i++)
        CHECK(slot_data(s)[i] != 0x5a);
    SAME(word(0) & WORD_PINS, WORD_PIN);
    CHECK(slot_wipe(s)); /* once is enough: the place may be somebody else's by now */
    CHECK(readable(slot_data(s)));
}

#ifdef __linux__
/* The data limit refuses to make pages writable: they are given up, not left. */
TEST(drops_what_it_cannot_open)
{
    if (under_tool())
        SKIP("needs a tight data limit");
    begin(2);
    sigset_t mask;
    for (int access = OS_NONE; access <= OS_READ; access++) {
        struct slot s = slot((uint32_t)access);
        SAME(slot_set_access(s, (enum os_access)access), 0);
        struct rlimit before;
        SAME(getrlimit(RLIMIT_DATA, &before), 0);
        limit(RLIMIT_DATA, os_page_size(), before.rlim_max); /* 0 would mean none */
        bool wiped = slot_wipe(s), again = slot_wipe(s);
        limit(RLIMIT_DATA, before.rlim_cur, before.rlim_max);
        CHECK(wiped && again);
        CHECK(atomic_load(slot_word(s)) & WORD_DROPPED);
        SAME(slot_generation(s), 4);
        SAME(atomic_load(slot_word(s)) & WORD_PINS, 0);
        CHECK(!readable(slot_data(s)));
        /* Nobody opens or copies it any more, and opening finds nothing. */
        CHECK(slot_wipe(s));
        SAME(slot_set_access(s, OS_WRITE), 0);
        CHECK(!readable(slot_data(s)));
        CHECK(!slot_lock_pair(s, slot(3), &mask));
        SAME(os_protect(slot_data(s), region.data, OS_WRITE), 0);
        for (size_t i = 0; i < region.data; i++)
            SAME(slot_data(s)[i], 0);
        CHECK(!slot_retire(s));
    }
    CHECK(untouched(2));
}
#endif

/* ---- threads ------------------------------------------------------------------------------------------ */

static _Atomic bool over;
static _Atomic unsigned wipes, copies, changes;

static bool holds_secret(uint32_t index)
{
    return slot_data(slot(index))[0] == 0x77 && slot_data(slot(index))[1] == 0x66;
}

/* Puts a secret into slot 0 and copies it to slot 1, as an owner does. */
static void *copier(void *unused)
{
    sigset_t mask;
    while (goes_on(&over)) {
        if (!slot_lock_pair(slot(0), slot(0), &mask)) {
            slot_wait_clear(0);
            continue;
        }
        memset(slot_data(slot(0)), 0x66, region.data);
        slot_data(slot(0))[0] = 0x77;
        slot_unlock_pair(slot(0), slot(0), true, &mask);
        while (!slot_lock_pair(slot(0), slot(1), &mask))
            slot_wait_clear(0);
        memcpy(slot_data(slot(1)), slot_data(slot(0)), region.data);
        slot_unlock_pair(slot(0), slot(1), true, &mask);
        atomic_fetch_add(&copies, 1);
    }
    return unused;
}

/* Wipes the goal of the copies first and their source last: a copy in between
 * would carry the secret behind it. */
static void *passes(void *unused)
{
    while (goes_on(&over)) {
        wipers_enter();
        CHECK(slot_wipe(slot(1)));
        CHECK(slot_wipe(slot(0)));
        CHECK(!holds_secret(0) && !holds_secret(1));
        CHECK(is_noise(slot_data(slot(1)), region.data));
        wipers_leave();
        atomic_fetch_add(&wipes, 1);
        pause_ms(0);
    }
    return unused;
}

static void *seals(void *unused)
{
    for (unsigned i = 0; goes_on(&over); i++) {
        SAME(slot_set_access(slot(2), (enum os_access)(i % 3)), 0);
        atomic_fetch_add(&changes, 1);
    }
    return unused;
}

/* A sealed slot is wiped, and no protection changes under a wiper's hands: it
 * would fault. */
static void *wipes_sealed(void *unused)
{
    while (goes_on(&over)) {
        CHECK(slot_wipe(slot(2)));
        atomic_fetch_add(&wipes, 1);
    }
    return unused;
}

static void *publishes(void *unused)
{
    while (goes_on(&over)) {
        CHECK(slot_retire(slot(3)));
        CHECK(word_access(word(3)) == OS_WRITE && !(word(3) & WORD_PINS));
        SAME(os_protect(slot_data(slot(3)), region.data, OS_NONE), 0); /* no wiper may be there */
        SAME(os_protect(slot_data(slot(3)), region.data, OS_WRITE), 0);
        slot_publish(slot(3), false);
        sched_yield();
    }
    return unused;
}

static void *wipes_published(void *unused)
{
    while (goes_on(&over))
        if (slot_wipe(slot(3)))
            atomic_fetch_add(&wipes, 1);
    return unused;
}

static void all_at_once(void *(*const bodies[])(void *), size_t count, long ms)
{
    pthread_t threads[8];
    for (size_t i = 0; i < count; i++)
        SAME(pthread_create(&threads[i], NULL, bodies[i], NULL), 0);
    pause_ms(ms);
    atomic_store(&over, true);
    for (size_t i = 0; i < count; i++)
        SAME(pthread_join(threads[i], NULL), 0);
    for (uint32_t i = 0; i < SLOTS; i++) {
        SAME(word(i) & (WORD_BUSY | WORD_PINS | WORD_DROPPED), 0);
        SAME(word_state(word(i)), SLOT_LIVE);
        SAME(slot_generation(slot(i)) % 2, 0);
    }
    CHECK(atomic_load(&wipes) > 0);
}

TEST(no_copy_falls_behind_a_pass)
{
    void *(*const bodies[])(void *) = {copier, passes};
    begin(4);
    all_at_once(bodies, 2, 1000);
    CHECK(atomic_load(&copies) > 0);
}

/* Two wipers of one slot write the same bytes at once; to a race detector that is
 * a race, so there it is one. */
TEST(sealing_and_wiping)
{
    void *(*const bodies[])(void *) = {seals, wipes_sealed, seals, wipes_sealed, wipes_sealed};
    begin(2);
    all_at_once(bodies, UNDER_TSAN ? 3 : 5, 500);
    CHECK(atomic_load(&changes) > 0);
}

TEST(retiring_and_wiping)
{
    void *(*const bodies[])(void *) = {publishes, wipes_published, wipes_published};
    begin(1);
    all_at_once(bodies, UNDER_TSAN ? 2 : 3, 500);
}

static void wipe_on_signal(int sig)
{
    (void)sig;
    wipers_enter();
    CHECK(slot_wipe(slot(0)) && slot_wipe(slot(1)));
    CHECK(!holds_secret(0) && !holds_secret(1));
    wipers_leave();
    atomic_fetch_add(&wipes, 1);
}

/* A handler interrupts the copying thread itself, anywhere: it never waits for it. */
TEST(handler_on_the_copying_thread)
{
    begin(1);
    struct sigaction act = {.sa_handler = wipe_on_signal, .sa_flags = SA_RESTART};
    SAME(sigaction(SIGPROF, &act, NULL), 0);
    pthread_t thread;
    SAME(pthread_create(&thread, NULL, copier, NULL), 0);
    for (int i = 0, n = rounds(2000); i < n || !atomic_load(&copies); i++) {
        pthread_kill(thread, SIGPROF);
        sched_yield();
    }
    atomic_store(&over, true);
    SAME(pthread_join(thread, NULL), 0);
    CHECK(atomic_load(&wipes) > 0);
}

int main(int argc, char **argv)
{
    check_begin("test_slot", argc, argv);
    RUN(fields_lie_apart);
    RUN(data_lies_between_guards);
    RUN(wipes_one_slot_whole);
    RUN(wipes_only_live_slots);
    RUN(the_generation_does_not_come_round);
    RUN(wipes_whatever_the_access);
    RUN(wipes_large_ones);
#ifdef __linux__
    RUN(wipes_all_where_nobody_can_tell);
#endif
    RUN(access_is_what_the_pages_have);
    RUN(refused_access_changes_nothing);
    RUN(wiper_waits_for_busy);
    RUN(retire_waits_for_pin);
    RUN(retire_waits_for_busy);
    RUN(access_waits_for_pin);
    RUN(access_waits_for_busy);
    RUN(a_lock_is_noted_beside_a_change_of_access);
    RUN(access_lets_wipers_pass);
    RUN(makers_wait_for_all_wipers);
    RUN(pins_are_counted);
    RUN(publish_and_retire);
    RUN(hold_both);
    RUN(hold_both_with_a_fresh_one);
    RUN(hold_both_refuses);
    RUN(hold_both_refuses_while_wipers_run);
    RUN(drops_what_another_gave_up);
#ifdef __linux__
    RUN(drops_what_it_cannot_open);
#endif
    RUN(no_copy_falls_behind_a_pass);
    RUN(sealing_and_wiping);
    RUN(retiring_and_wiping);
    RUN(handler_on_the_copying_thread);
    return check_end();
}
