/* Finding and splitting, against what is slow and plain, at the end of a page: nothing is read
 * before or behind what was given. */
#include "check.h"
#include "base/search.h"

#include <sys/mman.h>
#include <unistd.h>

static struct search_text text_of(const uint8_t *at, size_t size)
{
    return (struct search_text){at, size};
}

static bool is_at(struct search_text text, struct search_text what, size_t i)
{
    return what.size <= text.size - i && memcmp(text.at + i, what.at, what.size) == 0;
}

static void agrees(struct search_text text, struct search_text what)
{
    size_t first = SEARCH_NONE, last = SEARCH_NONE;
    for (size_t i = 0; i <= text.size; i++)
        if (is_at(text, what, i)) {
            last = i;
            if (first == SEARCH_NONE)
                first = i;
        }
    SAME(search_first(text, what), first);
    SAME(search_last(text, what), last);
}

/* Bytes that lie at the end of a page, with an inaccessible one behind it and before it. */
static uint8_t *edge(bool start)
{
    static uint8_t *pages;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (!pages) {
        pages = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(pages != MAP_FAILED);
        OK(mprotect(pages + page, page, PROT_READ | PROT_WRITE));
    }
    return start ? pages + page : pages + 2 * page;
}

/* All texts of two letters up to twelve, and all that can be looked for up to six. */
TEST(all_short_ones)
{
    uint8_t what[6];
    for (size_t n = 0; n <= 12; n++)
        for (unsigned bits = 0; bits < 1u << n; bits++)
            for (size_t m = 0; m <= 6; m++)
                for (unsigned word = 0; word < 1u << m; word++) {
                    bool start = word & 1;
                    uint8_t *text = start ? edge(true) : edge(false) - n;
                    for (size_t i = 0; i < n; i++)
                        text[i] = (uint8_t)('a' + (bits >> i & 1));
                    for (size_t i = 0; i < m; i++)
                        what[i] = (uint8_t)('a' + (word >> i & 1));
                    agrees(text_of(text, n), text_of(what, m));
                }
}

TEST(stripping)
{
    static const uint8_t padded[] = "  \tab c \n";
    static const uint8_t blanks[] = " \t\n";
    struct search_text text = text_of(padded, sizeof padded - 1), set = text_of(blanks, 3);
    struct search_part part = search_strip(text, set, true, true);
    SAME(part.start, 3);
    SAME(part.end, 7);
    part = search_strip(text_of(padded, 3), set, true, true);
    SAME(part.start, 3);
    SAME(part.end, 3);
    part = search_strip(text, text_of(blanks, 0), true, true);
    SAME(part.end - part.start, text.size);
}

TEST(parts_beyond_the_room_are_counted)
{
    static const uint8_t list[] = "a,b,,c";
    struct search_text text = text_of(list, sizeof list - 1), comma = text_of(list + 1, 1);
    struct search_part parts[2] = {{9, 9}, {9, 9}};
    SAME(search_split(text, comma, SIZE_MAX, false, parts, 1), 4);
    SAME(parts[0].end, 1);
    SAME(parts[1].start, 9);
    SAME(search_split(text, comma, 1, true, parts, 2), 2);
    SAME(parts[0].start, 5);
    SAME(parts[1].end, 4);
    SAME(search_split_blanks(text, comma, SIZE_MAX, false, NULL, 0), 3);
    SAME(search_count(text, comma), 3);
}

int main(int argc, char **argv)
{
    check_begin("test_search", argc, argv);
    RUN(all_short_ones);
    RUN(stripping);
    RUN(parts_beyond_the_room_are_counted);
    return check_end();
}
