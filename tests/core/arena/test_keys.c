/* The keys of sealed content: the bytes that they come of are wiped as a whole, and a key is
 * nowhere once it has done its work. */
#include "base/aead.h"
#include "arenas.h"
#include "vault/prekey.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#ifdef __linux__
#include "linux.h"
#include <poll.h>
#include <sys/ioctl.h>
#endif

static struct sa_why why;

/* Pages of the test's own, in place of the vault's, so that it can look at them. */
static uint8_t *own_pages(uint64_t *era)
{
    uint8_t *p = mmap(NULL, PREKEY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                      0);
    CHECK(p != MAP_FAILED);
    prekey_set_pages(p);
    OK(prekey_have(era, &why));
    return p;
}

/* ---- the bytes ----------------------------------------------------------------------------- */

static void passes(bool by_handler)
{
    if (!by_handler) {
        (void)lockdown();
        return;
    }
    wipers_enter();
    (void)vault_wipe_all(false);
    wipers_leave();
}

TEST(a_wipe_takes_all_of_the_bytes)
{
    static uint8_t before[PREKEY_BYTES];
    uint64_t era;
    no_marker();
    uint8_t *bytes = own_pages(&era);
    for (int by_handler = 0; by_handler < 2; by_handler++) {
        OK(prekey_have(&era, &why));
        memcpy(before, bytes, sizeof before);
        passes(by_handler);
        for (size_t at = 0; at < PREKEY_BYTES; at += 256) {
            size_t same = 0;
            for (size_t i = at; i < at + 256; i++)
                same += bytes[i] == before[i];
            CHECK(same < 32); /* one by chance, of random ones */
        }
    }
}

/* A wipe that comes in the middle of making a key: at a page that is not there when it is read. */
static uint8_t *missing;

static void wipe_in_between(int number)
{
    (void)number;
    SAME(mprotect(missing, os_page_size(), PROT_READ | PROT_WRITE), 0);
    prekey_wipe();
}

TEST(a_key_that_a_wipe_overtook_is_gone)
{
    if (UNDER_TSAN || PREKEY_BYTES < 2 * os_page_size())
        SKIP("keys are made and wiped at once, or the bytes are one page");
    uint64_t era;
    uint8_t key[PREKEY_KEY];
    missing = own_pages(&era) + PREKEY_BYTES - os_page_size();
    CHECK(prekey_key(era, key));
    struct sigaction act = {.sa_handler = wipe_in_between};
    SAME(sigaction(SIGSEGV, &act, NULL), 0);
    SAME(mprotect(missing, os_page_size(), PROT_NONE), 0);
    memset(key, 0xaa, sizeof key);
    CHECK(!prekey_key(era, key));
    for (size_t i = 0; i < sizeof key; i++)
        SAME(key[i], 0);
}

/* ---- what a key leaves ----------------------------------------------------------------------- */

#define NEEDS_NO_TOOL() \
    do { \
        if (under_tool()) \
            SKIP("a sanitizer or valgrind has a stack of its own"); \
    } while (0)

enum { WORDS = PREKEY_KEY / 8, LANES = PREKEY_KEY / 4 };
static const uint64_t MASK = 0x5555555555555555;
/* The key's words, and each of the cipher's as its lanes have it: nowhere else are they found. */
static uint64_t masked[WORDS + LANES];

static size_t words_in(const uint64_t *from, const uint64_t *to)
{
    size_t found = 0;
    for (; from < to; from++)
        for (size_t i = 0; i < WORDS + LANES; i++)
            found += (*(const volatile uint64_t *)from ^ MASK) == masked[i];
    return found;
}

#define HERE ((const uint64_t *)((uintptr_t)__builtin_frame_address(0) & ~(uintptr_t)7))
enum { BELOW = 2048 }; /* words of a dead stack: more than any call here takes */

static __attribute__((noinline)) size_t left_below(void) { return words_in(HERE - BELOW, HERE); }

static void note(const uint8_t key[PREKEY_KEY])
{
    for (size_t i = 0; i < WORDS + LANES; i++) {
        uint32_t lanes[2];
        for (size_t k = 0; k < 2; k++)
            memcpy(&lanes[k], key + (i < WORDS ? 8 * i + 4 * k : 4 * (i - WORDS)), 4);
        memcpy(&masked[i], lanes, sizeof lanes);
        masked[i] ^= MASK;
        memset(lanes, 0, sizeof lanes);
        __asm__ __volatile__("" : : "r"(lanes) : "memory");
    }
}

/* Without sanitizers' red zones this frame is above what it calls. */
static __attribute__((noinline)) void make_key(uint64_t era, bool leave)
{
    uint8_t key[PREKEY_KEY];
    CHECK(prekey_key(era, key));
    note(key);
    memset(key, 0, leave ? 0 : sizeof key);
    __asm__ __volatile__("" : : "r"(key) : "memory");
}

/* The same, with the key deeper than whoever looks for it goes. */
static __attribute__((noinline)) void make_key_below(uint64_t era, bool leave)
{
    volatile uint8_t above[512];
    above[0] = 0;
    make_key(era, leave);
    __asm__ __volatile__("" : : "r"(above) : "memory");
}

/* All vector registers, as they are at once after a call. */
#ifdef __x86_64__
#define STORE(n) __asm__ __volatile__("movups %%xmm" #n ", %0" : "=m"(kept[2 * (n)]) : : "memory")
#define KEEP_VECTORS(kept) \
    do { \
        STORE(0); \
        STORE(1); \
        STORE(2); \
        STORE(3); \
        STORE(4); \
        STORE(5); \
        STORE(6); \
        STORE(7); \
        STORE(8); \
        STORE(9); \
        STORE(10); \
        STORE(11); \
        STORE(12); \
        STORE(13); \
        STORE(14); \
        STORE(15); \
    } while (0)
#else
#define KEEP_VECTORS(kept) (void)(kept)
#endif

TEST(making_a_key_leaves_nothing)
{
    NEEDS_NO_TOOL();
    uint64_t era, kept[32 + WORDS] = {0};
    OK(prekey_have(&era, &why));
    make_key_below(era, true);
    CHECK(left_below() >= WORDS); /* the control */
    make_key_below(era, false);
    CHECK(!left_below());
    uint8_t key[PREKEY_KEY], nonce[AEAD_NONCE] = {0}, tag[AEAD_TAG], text[100] = {0};
    CHECK(prekey_key(era, key));
    KEEP_VECTORS(kept);
    SAME(words_in(kept, kept + 32), 0);
    aead_seal(text, text, sizeof text, NULL, key, nonce, tag);
    KEEP_VECTORS(kept);
    SAME(words_in(kept, kept + 32), 0);
    CHECK(aead_open(text, sizeof text, NULL, key, nonce, tag));
    KEEP_VECTORS(kept);
    SAME(words_in(kept, kept + 32), 0);
    memcpy(kept, key, sizeof key);
    SAME(words_in(kept, kept + 32), WORDS); /* the control */
}

/* The calls by which pages change their access are the next ones after a key was used. The kernel
 * tells of each before it is made (5.5), and meanwhile somebody else can look at the stack of the
 * thread that makes it. */
#if defined(__linux__) && defined(SECCOMP_USER_NOTIF_FLAG_CONTINUE)
enum { BELOW_CALLS = 4096 }; /* words below `top`: of the frames in between, and of dead ones */
static struct {
    struct sa_arena *arena;
    const uint64_t *top; /* of the stack that is looked at */
    _Atomic int told; /* where the kernel tells; -1: not yet, -2: it does not, -3: no more */
} watched;

static int be_told_of(unsigned number)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog all = {sizeof program / sizeof program[0], program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return -2;
    long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &all);
    return fd < 0 ? -2 : (int)fd;
}

static __attribute__((noinline)) void *seal_and_open(void *unused)
{
    struct sa_block block;
    (void)unused;
    watched.top = HERE;
    int fd = be_told_of(SYS_mprotect);
    atomic_store(&watched.told, fd);
    if (fd >= 0) {
        OK(sa_seal_as(watched.arena, SA_SEAL_ENCRYPTED, &why));
        OK(sa_open(watched.arena, false, &block, &why));
        OK(sa_open_end(&block, &why));
        uint8_t key[PREKEY_KEY];
        uint64_t era;
        OK(prekey_have(&era, &why));
        CHECK(prekey_key(era, key)); /* the control, which is still there at the last call */
        SAME(mprotect(slot_data(arena_slot(watched.arena)), 0, PROT_READ), 0);
        __asm__ __volatile__("" : : "r"(key) : "memory");
        atomic_store(&watched.told, -3);
    }
    return NULL;
}

/* How much of a key there was at each call, and how many there were. */
static size_t look_at_each(size_t *found, size_t room)
{
    size_t looks = 0;
    int fd;
    while ((fd = atomic_load(&watched.told)) != -3) {
        struct pollfd told = {fd, POLLIN, 0};
        if (poll(&told, 1, 10) != 1 || !(told.revents & POLLIN))
            continue;
        struct seccomp_notif call = {0};
        if (syscall(SYS_ioctl, fd, SECCOMP_IOCTL_NOTIF_RECV, &call))
            continue;
        CHECK(looks < room);
        found[looks++] = words_in(watched.top - BELOW_CALLS, watched.top);
        struct seccomp_notif_resp go_on = {.id = call.id,
                                           .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
        SAME(syscall(SYS_ioctl, fd, SECCOMP_IOCTL_NOTIF_SEND, &go_on), 0);
    }
    return looks;
}

TEST(a_key_is_gone_when_its_work_is_done)
{
    NEEDS_NO_TOOL();
    struct sa_arena a = {0};
    uint64_t era;
    size_t found[64];
    make(&a, 100, 1, 3);
    OK(prekey_have(&era, &why));
    make_key(era, false);
    watched.arena = &a;
    atomic_store(&watched.told, -1);
    pthread_t thread;
    SAME(pthread_create(&thread, NULL, seal_and_open, NULL), 0);
    while (atomic_load(&watched.told) == -1)
        os_wait(100);
    if (atomic_load(&watched.told) == -2) {
        pthread_join(thread, NULL);
        SKIP("the kernel tells of no calls");
    }
    size_t looks = look_at_each(found, sizeof found / sizeof found[0]);
    SAME(pthread_join(thread, NULL), 0);
    CHECK(looks >=
          4); /* when it is encrypted; before it is decrypted, and when it is; the control */
    CHECK(found[looks - 1] >= WORDS);
    for (size_t i = 0; i + 1 < looks; i++)
        SAME(found[i], 0);
}
#else
TEST(a_key_is_gone_when_its_work_is_done) { SKIP("the system tells of no calls"); }
#endif

int main(int argc, char **argv)
{
    check_begin("test_keys", argc, argv);
    RUN(a_wipe_takes_all_of_the_bytes);
    RUN(a_key_that_a_wipe_overtook_is_gone);
    RUN(making_a_key_leaves_nothing);
    RUN(a_key_is_gone_when_its_work_is_done);
    return check_end();
}
