/* What a reader of secrets leaves in the registers that a call may change. */
#include "check.h"

#include "base/codec.h"
#include "base/ct.h"
#include "base/registers.h"

enum { REGISTERS = 32, WIDEST = 64 };
static _Alignas(
    WIDEST) uint8_t held[REGISTERS][WIDEST]; /* a register's part that is not looked at stays 0 */

#define PLAIN __attribute__((noinline, no_sanitize("thread", "address", "undefined")))
#define EACH_16(X) \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define UPPER_16(X) \
    X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31)

#if defined(__x86_64__)
static bool avx, avx512;

static void look_at_processor(void)
{
    avx = __builtin_cpu_supports("avx");
    avx512 = __builtin_cpu_supports("avx512f");
}

#define FILL_ZMM(n) __asm__ __volatile__("vpternlogd $0xff, %zmm" #n ", %zmm" #n ", %zmm" #n);
#define FILL_YMM(n) __asm__ __volatile__("vcmpps $15, %ymm" #n ", %ymm" #n ", %ymm" #n);
#define FILL_XMM(n) __asm__ __volatile__("pcmpeqd %xmm" #n ", %xmm" #n);
#define READ_ZMM(n) __asm__ __volatile__("vmovups %%zmm" #n ", %0" : "=m"(held[n]));
#define READ_YMM(n) __asm__ __volatile__("vmovups %%ymm" #n ", %0" : "=m"(held[n]));
#define READ_XMM(n) __asm__ __volatile__("movups %%xmm" #n ", %0" : "=m"(held[n]));

#define WIDEST_THERE_IS(X) \
    if (avx512) { \
        EACH_16(X##_ZMM) UPPER_16(X##_ZMM) \
    } else if (avx) { \
        EACH_16(X##_YMM) \
    } else { \
        EACH_16(X##_XMM) \
    }

PLAIN static void fill(void){WIDEST_THERE_IS(FILL)} PLAIN
    static void read_back(void){WIDEST_THERE_IS(READ)}

PLAIN static void load(const uint8_t *from)
{
    __asm__ __volatile__("movups (%0), %%xmm3" ::"r"(from) : "xmm3");
}

static size_t all(void) { return avx512 ? 32 * 64 : avx ? 16 * 32 : 16 * 16; }
#else
/* v8 to v15 are a caller's, and lie outside what may be changed here. */
#define FILL_V(n) __asm__ __volatile__("movi v" #n ".2d, #0xffffffffffffffff" ::: "v" #n);
#define READ_V(n) __asm__ __volatile__("str q" #n ", %0" : "=m"(held[n]));
#define CHANGED(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) UPPER_16(X)

static void look_at_processor(void) {}
PLAIN static void fill(void){CHANGED(FILL_V)} PLAIN
    static void read_back(void){CHANGED(READ_V)} PLAIN static void load(const uint8_t *from)
{
    __asm__ __volatile__("ldr q3, [%0]" ::"r"(from) : "v3");
}

static size_t all(void) { return 24 * 16; }
#endif

static size_t bytes_set(void)
{
    size_t n = 0;
    for (size_t i = 0; i < REGISTERS; i++)
        for (size_t j = 0; j < WIDEST; j++)
            n += held[i][j] != 0;
    return n;
}

#if defined(__x86_64__)
/* The same processor, as the kernel saves more and more: on macOS for one thread alone. */
TEST(what_a_thread_can_hold)
{
    enum { OSXSAVE = 1 << 27, AVX512F = 1 << 16 };
    static const struct {
        unsigned features, extended, saved;
        enum registers_held held;
    } table[] = {
        {0, 0, 0, HELD_SSE},
        {0, AVX512F, 0xe7, HELD_SSE}, /* xgetbv would fault */
        {OSXSAVE, AVX512F, 0x1, HELD_SSE},
        {OSXSAVE, AVX512F, 0x3, HELD_SSE},
        {OSXSAVE, AVX512F, 0x7, HELD_AVX},
        {OSXSAVE, AVX512F, 0x27, HELD_AVX},
        {OSXSAVE, AVX512F, 0xe7, HELD_AVX512},
        {OSXSAVE, AVX512F, 0x602e7, HELD_AVX512},
        {OSXSAVE, 0, 0xe7, HELD_AVX},
        {OSXSAVE, 0, 0x7, HELD_AVX},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        SAME(registers_held(table[i].features, table[i].extended, table[i].saved), table[i].held);
}
#endif

TEST(forgets)
{
    for (int i = 0; i < 3; i++) { /* the first time it asks the processor */
        fill();
        read_back();
        SAME(bytes_set(), all()); /* they would be seen */
        fill();
        registers_forget();
        read_back();
        SAME(bytes_set(), 0);
    }
}

static uint8_t one[300], other[300], text[800];

static void compare(void) { (void)ct_equal(one, sizeof one, other, sizeof other); }
static void order(void) { (void)ct_order(one, sizeof one, other, sizeof other); }
static void hex(void) { codec_hex_encode(text, 600, 300); }
static void base64(void) { codec_base64_encode(text, 400, 300, false); }
static void from_hex(void)
{
    size_t n;
    (void)codec_hex_decode(text, 600, &n);
}
static void from_base64(void)
{
    size_t n;
    (void)codec_base64_decode(text, 400, false, &n);
}

TEST(nothing_stays_of_what_was_read)
{
    static void (*const readers[])(void) = {compare, order, hex, base64, from_hex, from_base64};
    for (size_t i = 0; i < sizeof readers / sizeof readers[0]; i++) {
        fill();
        readers[i]();
        read_back();
        SAME(bytes_set(), 0);
    }
}

/* Whether sixteen bytes in a row are `byte`. */
static bool is_held(uint8_t byte)
{
    for (size_t i = 0; i < REGISTERS; i++)
        for (size_t j = 0, run = 0; j < WIDEST; j++) {
            run = held[i][j] == byte ? run + 1 : 0;
            if (run == 16)
                return true;
        }
    return false;
}

TEST(nothing_stays_of_what_was_copied)
{
    enum { SECRET = 0xa5 };
    static const size_t sizes[] = {16, 32, 100, 250, 1000, 5000, 100000};
    static uint8_t source[100000];
    memset(source, SECRET, sizeof source);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct sa_arena a = {0}, b = {0};
        struct sa_why why;
        const uint8_t *bytes;
        size_t n = sizes[i];
        load(source);
        read_back();
        CHECK(is_held(SECRET)); /* as glibc's copies leave it there; musl's may not */
        SAME(sa_arena_make(&a, n, 1, &why), SA_OK);
        SAME(sa_arena_make(&b, n, 1, &why), SA_OK);
        SAME(sa_store(&a, 0, source, n), SA_OK);
        read_back();
        CHECK(!is_held(SECRET));
        SAME(sa_fill_end(&a, true), SA_OK);
        SAME(sa_borrow(&a, &bytes), SA_OK);
        SAME(sa_store(&b, 0, bytes, n), SA_OK);
        read_back();
        CHECK(!is_held(SECRET));
        SAME(sa_return(&a), SA_OK);
        SAME(sa_rotate(&a, 0, &why), SA_OK);
        read_back();
        CHECK(!is_held(SECRET));
        sa_close(&a);
        sa_close(&b);
    }
}

TEST(nothing_stays_of_what_was_searched_for)
{
    struct sa_arena secret = {0}, work = {0};
    struct sa_why why;
    struct sa_copy copies[4];
    size_t room, count;
    SAME(sa_arena_make(&secret, 32, 1, &why), SA_OK);
    SAME(sa_store_random(&secret, &why), SA_OK);
    SAME(sa_fill_end(&secret, true), SA_OK);
    SAME(sa_find_room(&secret, true, &room), SA_OK);
    SAME(sa_arena_make(&work, room, 1, &why), SA_OK);
    SAME(sa_fill_end(&work, true), SA_OK);
    fill();
    SAME(sa_find(&secret, &work, true, copies, 4, &count, NULL, &why), SA_OK);
    read_back();
    CHECK(!is_held(0xff)); /* as filled: some of them no search would use */
    sa_close(&work);
    sa_close(&secret);
}

int main(int argc, char **argv)
{
    look_at_processor();
    check_begin("test_registers", argc, argv);
#if defined(__x86_64__)
    RUN(what_a_thread_can_hold);
#endif
    RUN(forgets);
    RUN(nothing_stays_of_what_was_read);
    RUN(nothing_stays_of_what_was_copied);
    RUN(nothing_stays_of_what_was_searched_for);
    return check_end();
}
