/* Comparing, against memcmp. That the time does not depend on the content is a
 * matter of measurement, not of this test. */
#include "check.h"
#include "base/ct.h"

static int sign(int v) { return (v > 0) - (v < 0); }

static int expected(const uint8_t *a, size_t an, const uint8_t *b, size_t bn)
{
    size_t n = an < bn ? an : bn;
    int order = n ? memcmp(a, b, n) : 0;
    return order ? sign(order) : (an > bn) - (an < bn);
}

static void agrees(const uint8_t *a, size_t an, const uint8_t *b, size_t bn)
{
    int want = expected(a, an, b, bn);
    SAME(sign(ct_order(a, an, b, bn)), want);
    SAME(ct_equal(a, an, b, bn), want == 0);
}

/* All strings of up to three bytes of an alphabet with both ends of the range. */
TEST(all_short_ones)
{
    enum { LETTERS = 6, STRINGS = 1 + 6 + 36 + 216 };
    static const uint8_t letters[LETTERS] = {0, 1, 0x7f, 0x80, 0xfe, 0xff};
    static uint8_t strings[STRINGS][3];
    static size_t lengths[STRINGS];
    size_t n = 1; /* the empty one is there */
    for (size_t from = 0, length = 1; length <= 3; length++)
        for (size_t end = n; from < end; from++)
            for (size_t k = 0; k < LETTERS; k++, n++) {
                memcpy(strings[n], strings[from], 3);
                strings[n][length - 1] = letters[k];
                lengths[n] = length;
            }
    SAME(n, STRINGS);
    for (size_t i = 0; i < STRINGS; i++)
        for (size_t k = 0; k < STRINGS; k++)
            agrees(strings[i], lengths[i], strings[k], lengths[k]);
}

/* Every single bit at every place, up and down, for every length and alignment
 * around those that are compared at once. */
TEST(every_bit)
{
    static uint8_t a[80], b[80];
    for (size_t n = 1; n <= 70; n++)
        for (size_t at = 0; at < n; at++)
            for (unsigned bit = 0; bit < 8; bit++) {
                size_t shift = (n + at) % 8;
                for (size_t i = 0; i < n; i++)
                    a[shift + i] = b[i] = (uint8_t)(i * 37 + bit);
                agrees(a + shift, n, b, n);
                b[at] ^= (uint8_t)(1u << bit);
                agrees(a + shift, n, b, n);
                agrees(b, n, a + shift, n);
                agrees(a + shift, n, b, n - 1);
            }
}

/* The first difference decides, whatever comes behind it. */
TEST(first_difference_decides)
{
    uint8_t a[40], b[40];
    for (size_t at = 0; at < 39; at++)
        for (size_t later = at + 1; later < 40; later++) {
            memset(a, 0x55, sizeof a);
            memset(b, 0x55, sizeof b);
            a[at] = 0x56;
            b[later] = 0xff;
            CHECK(ct_order(a, sizeof a, b, sizeof b) > 0);
            CHECK(ct_order(b, sizeof b, a, sizeof a) < 0);
        }
}

TEST(random_ones)
{
    static uint8_t a[300], b[300];
    for (int i = rounds(200000); i--;) {
        size_t an = (size_t)rand() % 300, bn = rand() % 2 ? an : (size_t)rand() % 300;
        for (size_t k = 0; k < sizeof a; k++)
            a[k] = b[k] = (uint8_t)rand();
        for (int k = rand() % 4; k--;)
            b[(size_t)rand() % 300] = (uint8_t)rand();
        agrees(a, an, b, bn);
    }
}

TEST(long_ones)
{
    enum { LONG = (1 << 20) + 13 };
    uint8_t *a = malloc(LONG), *b = malloc(LONG);
    CHECK(a && b);
    for (size_t i = 0; i < LONG; i++)
        a[i] = b[i] = (uint8_t)(i * 31 >> 3);
    static const size_t places[] = {0, 1, LONG / 2, LONG - 13, LONG - 1};
    agrees(a, LONG, b, LONG);
    agrees(a, LONG, b, LONG - 1);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        b[places[i]] ^= 0x80;
        agrees(a, LONG, b, LONG);
        b[places[i]] ^= 0x80;
    }
    free(a);
    free(b);
}

TEST(nothing)
{
    CHECK(ct_equal(NULL, 0, NULL, 0));
    CHECK(!ct_equal(NULL, 0, "a", 1));
    SAME(ct_order(NULL, 0, NULL, 0), 0);
    CHECK(ct_order(NULL, 0, "", 1) < 0);
}

int main(int argc, char **argv)
{
    check_begin("test_ct", argc, argv);
    RUN(all_short_ones);
    RUN(every_bit);
    RUN(first_difference_decides);
    RUN(random_ones);
    RUN(long_ones);
    RUN(nothing);
    return check_end();
}
