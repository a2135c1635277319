/* This file finds words that are no secret, such as the address of an object's type: everywhere,
 * or the last before an address. */
#include "residue/walk.h"

#include <string.h>

/* ---- everywhere --------------------------------------------------------------------------- */

struct word_search {
    struct walk walk; /* first: a look is given it */
    uint64_t word;
    sa_visit visit;
    void *context;
};

SA_BARE static void look_for_word(struct walk *w, uintptr_t at, size_t bytes)
{
    struct word_search *s = (struct word_search *)w;
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t word, around[7];
        memcpy(&word, w->chunk + i, sizeof word);
        if (word != s->word)
            continue;
        if (os_maps_read(&w->maps, at + i - 16, around, sizeof around) == sizeof around)
            s->visit(s->context, at + i, around);
    }
}

enum sa_code sa_find_word(struct sa_arena *work, uint64_t word, sa_visit visit, void *context,
                          const struct sa_progress *progress, struct sa_why *why)
{
    struct word_search s = {.walk = {.look = look_for_word, .progress = progress},
                            .word = word,
                            .visit = visit,
                            .context = context};
    enum sa_code code = sa_export(work, false, &s.walk.room);
    if (code)
        return code;
    code = walk_all(&s.walk, why);
    sa_unexport(work);
    walk_wipe_stack();
    return code;
}

/* ---- before an address -------------------------------------------------------------------- */

/* The last of the words in `bytes` at `from`: its place there + 8; 0: none. */
static size_t last_of(const uint8_t *from, size_t bytes, const uint64_t *words, size_t count,
                      size_t *which)
{
    for (size_t i = bytes; i; i -= 8) {
        uint64_t word;
        memcpy(&word, from + i - 8, sizeof word);
        for (size_t k = 0; k < count; k++)
            if (word == words[k]) {
                *which = k;
                return i;
            }
    }
    return 0;
}

/* A page at a time, down to a gap. The address of the word, 0: none. */
static uintptr_t last_before(struct os_maps *maps, uint8_t *room, uintptr_t high,
                             const uint64_t *words, size_t count, size_t *which)
{
    uintptr_t page = os_page_size();
    size_t left = WALK_CHUNK, found = 0;
    while (left && !found) {
        uintptr_t low = (high - 1) / page * page;
        size_t bytes = high - low;
        if (bytes > left || os_maps_read(maps, low, room, bytes) != bytes)
            return 0;
        found = last_of(room, bytes, words, count, which);
        left -= bytes;
        high = low;
    }
    return found ? high + found - 8 : 0;
}

bool sa_look_back(struct sa_arena *work, uintptr_t address, const uint64_t *words, size_t count,
                  size_t *which, uintptr_t *at, uint64_t around[2])
{
    struct os_maps maps;
    struct sa_why unused;
    uint8_t *room;
    uintptr_t high = address / 8 * 8;
    bool found = false;
    if (high < WALK_CHUNK || sa_export(work, false, &room))
        return false;
    if (os_maps_begin(&maps, &unused) == 0) {
        *at = last_before(&maps, room, high, words, count, which);
        if (*at && os_maps_read(&maps, *at - 8, around, 8) != 8)
            around[0] = 0;
        found = *at && os_maps_read(&maps, *at + 8, around + 1, 8) == 8;
        (void)os_maps_end(&maps); /* no mapping was asked for */
    }
    sa_unexport(work);
    walk_wipe_stack();
    return found;
}
