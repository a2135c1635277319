/* What fills slack: any range, and any damage to it shows. */
#include "vault/canary.h"
#include "check.h"

enum { BYTES = 3 * 4096 };
static _Alignas(4096) uint8_t memory[BYTES + 64];
static struct sa_why why;

TEST(any_range)
{
    OK(canary_start(&why));
    for (size_t from = 0; from < 24; from++)
        for (size_t n = 0; n < 40; n++) {
            memset(memory, 0, 128);
            canary_lay(memory + from, memory + from + n);
            CHECK(canary_whole(memory + from, memory + from + n));
            for (size_t i = 0; i < 128; i++)
                if (i < from || i >= from + n)
                    SAME(memory[i], 0);
        }
}

TEST(any_bit)
{
    OK(canary_start(&why));
    for (size_t from = 4090; from < 4099; from++)
        for (size_t n = 1; n < 30; n++) {
            canary_lay(memory + from, memory + from + n);
            for (size_t at = from; at < from + n; at++)
                for (unsigned bit = 0; bit < 8; bit++) {
                    memory[at] ^= (uint8_t)(1u << bit);
                    CHECK(!canary_whole(memory + from, memory + from + n));
                    memory[at] ^= (uint8_t)(1u << bit);
                }
            CHECK(canary_whole(memory + from, memory + from + n));
        }
}

TEST(across_pages)
{
    OK(canary_start(&why));
    canary_lay(memory + 3, memory + BYTES - 5);
    CHECK(canary_whole(memory + 3, memory + BYTES - 5));
    for (size_t at = 3; at < BYTES - 5; at += 97) {
        memory[at] ^= 1;
        CHECK(!canary_whole(memory + 3, memory + BYTES - 5));
        memory[at] ^= 1;
    }
    /* Part of what was laid is whole as well: ranges begin and end anywhere. */
    for (size_t at = 3; at < BYTES - 5; at += 61)
        CHECK(canary_whole(memory + at, memory + BYTES - 5) &&
              canary_whole(memory + 3, memory + at));
}

/* A run of one byte, or a canary copied from another page, does not pass. */
TEST(belongs_to_its_place)
{
    OK(canary_start(&why));
    canary_lay(memory, memory + 8192);
    CHECK(memcmp(memory, memory + 4096, 4096));
    memcpy(memory + 4096, memory, 4096);
    CHECK(!canary_whole(memory, memory + 8192));
    for (unsigned byte = 0; byte < 256; byte++) {
        memset(memory, (int)byte, 64);
        CHECK(!canary_whole(memory, memory + 64));
    }
}

TEST(never_the_same_twice)
{
    uint8_t first[64];
    OK(canary_start(&why));
    canary_lay(memory, memory + 64);
    memcpy(first, memory, 64);
    OK(canary_start(&why));
    CHECK(!canary_whole(memory, memory + 64));
    canary_lay(memory, memory + 64);
    CHECK(memcmp(first, memory, 64));
}

/* A stray zero, as strings end with, shows at the ends of each word. */
TEST(has_no_zero_at_its_ends)
{
    OK(canary_start(&why));
    canary_lay(memory, memory + BYTES);
    for (size_t at = 0; at < BYTES; at += 8)
        CHECK(memory[at] != 0 && memory[at + 7] != 0);
}

int main(int argc, char **argv)
{
    check_begin("test_canary", argc, argv);
    RUN(any_range);
    RUN(any_bit);
    RUN(across_pages);
    RUN(belongs_to_its_place);
    RUN(never_the_same_twice);
    RUN(has_no_zero_at_its_ends);
    return check_end();
}
