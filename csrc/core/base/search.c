/* Finding, stripping and splitting as Python's bytes do it, without the tables of what is looked
 * for that libraries keep on the stack: the search is Crochemore's and Perrin's two-way one
 * (Journal of the ACM 38, 1991), which needs none. */
#include "base/search.h"

/* Bytes in either direction. */
struct run {
    const uint8_t *first;
    ptrdiff_t step;
};

static inline uint8_t at(struct run r, size_t i) { return r.first[r.step * (ptrdiff_t)i]; }

/* Where the greatest suffix of m bytes begins, by one order of bytes or the other; and its
 * period. */
static size_t greatest_suffix(struct run x, size_t m, bool descending, size_t *period)
{
    size_t before = SIZE_MAX, other = 0, k = 1, p = 1; /* before + 1 is where it begins */
    while (other + k < m) {
        uint8_t a = at(x, before + k), b = at(x, other + k);
        if (a == b) {
            if (k == p) {
                other += p;
                k = 1;
            } else {
                k++;
            }
        } else if ((a > b) != descending) {
            other += k;
            k = 1;
            p = other - before;
        } else {
            before = other++;
            k = p = 1;
        }
    }
    *period = p;
    return before + 1;
}

/* The same bytes, `n` of them? */
static bool same(struct run x, size_t i, size_t j, size_t n)
{
    for (size_t k = 0; k < n; k++)
        if (at(x, i + k) != at(x, j + k))
            return false;
    return true;
}

/* How many bytes before the first time; m is 1 at least, and n at most. */
static size_t find(struct run y, size_t n, struct run x, size_t m)
{
    size_t p, q;
    size_t cut = greatest_suffix(x, m, false, &p), other = greatest_suffix(x, m, true, &q);
    if (other > cut) {
        cut = other;
        p = q;
    }
    bool periodic = same(x, 0, p, cut);
    if (!periodic)
        p = (cut > m - cut ? cut : m - cut) + 1;
    size_t known = 0; /* bytes at its beginning that are known to be the same */
    for (size_t j = 0; n - j >= m;) {
        size_t i = cut > known ? cut : known;
        while (i < m && at(x, i) == at(y, j + i))
            i++;
        if (i < m) {
            j += i - cut + 1;
            known = 0;
        } else {
            i = cut;
            while (i > known && at(x, i - 1) == at(y, j + i - 1))
                i--;
            if (i <= known)
                return j;
            j += p;
            known = periodic ? m - p : 0;
        }
        if (j > n)
            break;
    }
    return SEARCH_NONE;
}

size_t search_first(struct search_text text, struct search_text what)
{
    if (what.size > text.size)
        return SEARCH_NONE;
    if (what.size == 0)
        return 0;
    return find((struct run){text.at, 1}, text.size, (struct run){what.at, 1}, what.size);
}

size_t search_last(struct search_text text, struct search_text what)
{
    if (what.size > text.size)
        return SEARCH_NONE;
    if (what.size == 0)
        return text.size;
    size_t behind = find((struct run){text.at + text.size - 1, -1}, text.size,
                         (struct run){what.at + what.size - 1, -1}, what.size);
    return behind == SEARCH_NONE ? SEARCH_NONE : text.size - what.size - behind;
}

/* The bytes from a position on, and up to one. */
static struct search_text from(struct search_text text, size_t start)
{
    return (struct search_text){text.at + start, text.size - start};
}

static struct search_text up_to(struct search_text text, size_t end)
{
    return (struct search_text){text.at, end};
}

size_t search_count(struct search_text text, struct search_text what)
{
    if (what.size == 0)
        return text.size + 1;
    size_t count = 0;
    for (size_t start = 0, found; (found = search_first(from(text, start), what)) != SEARCH_NONE;
         count++)
        start += found + what.size;
    return count;
}

/* ---- stripping -------------------------------------------------------------------------- */

static bool is_one_of(struct search_text set, uint8_t byte)
{
    unsigned is = 0;
    for (size_t i = 0; i < set.size; i++)
        is |= set.at[i] == byte;
    return is;
}

static size_t skip(struct search_text text, struct search_text set, size_t start)
{
    while (start < text.size && is_one_of(set, text.at[start]))
        start++;
    return start;
}

static size_t skip_back(struct search_text text, struct search_text set, size_t start, size_t end)
{
    while (end > start && is_one_of(set, text.at[end - 1]))
        end--;
    return end;
}

struct search_part search_strip(struct search_text text, struct search_text set, bool left,
                                bool right)
{
    size_t start = left ? skip(text, set, 0) : 0;
    return (struct search_part){start, right ? skip_back(text, set, start, text.size) : text.size};
}

/* ---- splitting -------------------------------------------------------------------------- */

/* Parts that were found. There may not be room for all. */
struct cuts {
    struct search_part *parts;
    size_t room, count;
};

static void put(struct cuts *cuts, size_t start, size_t end)
{
    if (cuts->count < cuts->room)
        cuts->parts[cuts->count] = (struct search_part){start, end};
    cuts->count++;
}

size_t search_split(struct search_text text, struct search_text separator, size_t most,
                    bool backwards, struct search_part *parts, size_t room)
{
    struct cuts cuts = {parts, room, 0};
    size_t start = 0, end = text.size, found;
    if (backwards) {
        while (cuts.count < most &&
               (found = search_last(up_to(text, end), separator)) != SEARCH_NONE) {
            put(&cuts, found + separator.size, end);
            end = found;
        }
    } else {
        while (cuts.count < most &&
               (found = search_first(from(text, start), separator)) != SEARCH_NONE) {
            put(&cuts, start, start + found);
            start += found + separator.size;
        }
    }
    put(&cuts, start, end);
    return cuts.count;
}

size_t search_split_blanks(struct search_text text, struct search_text blanks, size_t most,
                           bool backwards, struct search_part *parts, size_t room)
{
    struct cuts cuts = {parts, room, 0};
    size_t start = backwards ? 0 : skip(text, blanks, 0);
    size_t end = backwards ? skip_back(text, blanks, 0, text.size) : text.size;
    while (start < end && cuts.count < most) {
        size_t edge = backwards ? end : start;
        if (backwards) {
            while (edge > start && !is_one_of(blanks, text.at[edge - 1]))
                edge--;
            put(&cuts, edge, end);
            end = skip_back(text, blanks, 0, edge);
        } else {
            while (edge < end && !is_one_of(blanks, text.at[edge]))
                edge++;
            put(&cuts, start, edge);
            start = skip(text, blanks, edge);
        }
    }
    if (start < end)
        put(&cuts, start, end);
    return cuts.count;
}
