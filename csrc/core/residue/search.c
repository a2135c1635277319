/* Searching the whole process for copies of a secret, without making one.
 *
 * Memory is copied by the kernel, which tells what has gone, into the work arena, and only
 * looked at there. What is compared passes through general registers a word at a time, with
 * all signals but faults blocked, so that none is saved on a signal frame; what the compiler
 * spilled of them is wiped from the stack at the end. */
#include "residue/forms.h"
#include "base/registers.h"
#include "vault/vault.h"
#include "base/wipe.h"

#include <errno.h>
#include <string.h>

enum {
    CHUNK = 65536,         /* looked at in one go: less costs more calls, more leaves the cache */
    PEEK = 256,            /* around a chunk: never more than a page */
    TELL = 64 << 20,       /* how often progress is told */
    NEAR = 64,             /* found last: what overlaps is among these */
    CHANGES = 6,           /* from byte to byte that a part has at least */
    STACK = 8192,          /* more than the frames of this file and needle.c take */
};

struct search;
typedef void look(struct search *s, uintptr_t at, size_t bytes);

struct search {
    struct os_maps walk;
    struct os_map map;
    uint8_t *chunk;        /* CHUNK bytes of the work arena, then PEEK */
    uintptr_t chunk_at, peek_at;
    size_t chunk_bytes, peek_bytes;
    look *look;
    sa_progress progress;
    void *context;
    size_t done, total, told;
    bool ended;
    /* for sa_find */
    struct needles needles;
    struct sa_copy *copies;
    size_t count, room;
    /* for sa_find_word */
    uint64_t word;
    sa_visit visit;
};

/* ---- walking -------------------------------------------------------------------------- */

static void tell(struct search *s, size_t more)
{
    s->done += more;
    if (s->done - s->told < TELL || s->ended)
        return;
    s->told = s->done;
    s->ended = s->progress &&
               !s->progress(s->context, s->done < s->total ? s->done : s->total, s->total);
}

static void look_at(struct search *s, uintptr_t from, uintptr_t to)
{
    uintptr_t page = os_page_size();
    while (from < to && !s->ended) {
        sigset_t before;
        size_t want = to - from < CHUNK ? to - from : CHUNK;
        os_mask_sent(&before);
        size_t got = os_maps_read(&s->walk, from, s->chunk, want) / 8 * 8;
        s->chunk_at = from;
        s->chunk_bytes = got;
        s->peek_bytes = 0;
        if (got)
            s->look(s, from, got);
        os_unmask(&before);
        size_t step = got < want ? (from + got) / page * page + page - from : want;
        step = step < to - from ? step : to - from;
        from += step; /* past what could not be read */
        tell(s, step);
    }
}

/* What is held of [from, to), a part of the mapping outside of our reservations. */
static void look_in(struct search *s, uintptr_t from, uintptr_t to)
{
    struct os_map part = s->map;
    uintptr_t start, end;
    part.start = from;
    part.end = to;
    while (!s->ended && os_maps_held(&s->walk, &part, from, &start, &end)) {
        tell(s, start - from);
        look_at(s, start, end);
        from = end;
    }
    if (!s->ended)
        tell(s, to - from);
}

static void look_through(struct search *s)
{
    uintptr_t from = s->map.start, start, end;
    while (from < s->map.end && !s->ended) {
        bool ours = vault_reserved(from, &start, &end);
        uintptr_t to = ours && start < s->map.end ? start : s->map.end;
        if (from < to)
            look_in(s, from, to);
        from = ours && end > to ? end : to;
    }
}

/* A list of mappings that ended too early must not pass for one without copies. */
static enum sa_code end_walk(struct search *s, struct sa_why *why)
{
    int error = os_maps_end(&s->walk);
    if (!error)
        return SA_OK;
    *why = (struct sa_why){.call = "reading the list of mappings", .error = error};
    return SA_OS_ERROR;
}

/* How much there is to pass over: for progress alone. */
static enum sa_code measure(struct search *s, struct sa_why *why)
{
    if (os_maps_begin(&s->walk, why))
        return SA_OS_ERROR;
    while (os_maps_next(&s->walk, &s->map)) {
        if (!s->map.readable)
            continue;
        uintptr_t from = s->map.start, start, end;
        while (from < s->map.end) {
            bool ours = vault_reserved(from, &start, &end);
            uintptr_t to = ours && start < s->map.end ? start : s->map.end;
            s->total += from < to ? to - from : 0;
            from = ours && end > to ? end : to;
        }
    }
    return end_walk(s, why);
}

static enum sa_code search(struct search *s, struct sa_why *why)
{
    enum sa_code code = measure(s, why);
    if (code)
        return code;
    if (os_maps_begin(&s->walk, why))
        return SA_OS_ERROR;
    while (!s->ended && os_maps_next(&s->walk, &s->map))
        if (s->map.readable)
            look_through(s);
    code = end_walk(s, why);
    if (!code && !s->ended && s->progress)
        (void)s->progress(s->context, s->total, s->total); /* over as it is */
    return code;
}

/* Below the caller's frame, where everything here ran; and what it left in registers. */
__attribute__((noinline)) static void wipe_stack(void)
{
    uint8_t room[STACK];
    wipe_scratch(room, sizeof room);
    registers_forget();
}

/* ---- copies ------------------------------------------------------------------------------ */

/* A byte of the process's memory: of the chunk, or fetched. False: there is none. */
static bool byte_at(struct search *s, uintptr_t at, uint8_t *out)
{
    if (at - s->chunk_at < s->chunk_bytes) {
        *out = s->chunk[at - s->chunk_at];
        return true;
    }
    if (at - s->peek_at >= s->peek_bytes) {
        s->peek_at = at / PEEK * PEEK;
        s->peek_bytes = os_maps_read(&s->walk, s->peek_at, s->chunk + CHUNK, PEEK);
        if (at - s->peek_at >= s->peek_bytes)
            return false;
    }
    *out = s->chunk[CHUNK + (at - s->peek_at)];
    return true;
}

/* Whether a part says something: a few bytes and a run of one, as behind a padded secret,
 * are in any memory. */
static bool is_varied(const struct needles *n, const struct form *form, size_t at, size_t length)
{
    unsigned changes = 0;
    for (size_t i = 1; i < length && changes < CHANGES; i++)
        changes += needle_byte(n, form, at + i) != needle_byte(n, form, at + i - 1);
    return changes == CHANGES;
}

static bool covers(const struct sa_copy *a, const struct sa_copy *b)
{
    return a->address <= b->address && b->address + b->length <= a->address + a->length;
}

/* Keep it, but for what lies within another, or is the same form in another place of a
 * pattern that repeats. What it covers itself is dropped. */
static void keep(struct search *s, const struct sa_copy *copy)
{
    size_t oldest = s->count > NEAR ? s->count - NEAR : 0;
    for (size_t i = s->count; i-- > oldest;) {
        struct sa_copy *old = &s->copies[i];
        bool overlap = old->address < copy->address + copy->length &&
                       copy->address < old->address + old->length;
        if (covers(old, copy) ||
            (overlap && old->form == copy->form && old->length >= copy->length))
            return;
        if (covers(copy, old) || (overlap && old->form == copy->form)) {
            memmove(old, old + 1, (s->count - i - 1) * sizeof *old);
            s->count--;
        }
    }
    if (s->count == s->room) {
        s->ended = true;
        return;
    }
    size_t place = s->count++;
    for (; place > 0 && s->copies[place - 1].address > copy->address; place--)
        s->copies[place] = s->copies[place - 1];
    s->copies[place] = *copy;
}

/* A word of a form stands at `at`: as much of the form around it as is there. */
static void verify(struct search *s, uintptr_t at, const struct form *form, size_t place)
{
    const struct needles *n = &s->needles;
    size_t before = 0, length = form->word;
    uint8_t byte;
    while (before < place && byte_at(s, at - before - 1, &byte) &&
           byte == needle_byte(n, form, place - before - 1))
        before++;
    while (place + length < form->length && byte_at(s, at + length, &byte) &&
           byte == needle_byte(n, form, place + length))
        length++;
    struct slot unused;
    length += before;
    if (length < form->least ||
        (length < form->length && !is_varied(n, form, place - before, length)) ||
        vault_find((const void *)at, 1, &unused)) /* came there since */
        return;
    struct sa_copy copy = {
        .address = at - before,
        .length = length,
        .whole = form->length,
        .form = form->name,
        .place = (enum sa_place)s->map.kind,
        .mapping = s->map.start,
    };
    memcpy(copy.name, s->map.name, sizeof copy.name);
    keep(s, &copy);
}

static void look_for_words(struct search *s, uintptr_t at, size_t bytes, size_t width)
{
    const struct needles *n = &s->needles;
    size_t count = bytes / width;
    for (size_t i = 0; (i = needles_next(n, s->chunk, count, width, i)) < count; i++) {
        uint64_t word = 0;
        memcpy(&word, s->chunk + i * width, width);
        size_t step = 0, place;
        const struct form *form;
        while ((form = needles_match(n, word, width, &step, &place)))
            verify(s, at + i * width, form, place);
    }
}

static void look_for_copies(struct search *s, uintptr_t at, size_t bytes)
{
    if (s->needles.wide)
        look_for_words(s, at, bytes, 8);
    if (s->needles.narrow)
        look_for_words(s, at, bytes, 4);
}

/* Measured again: the secret's arena may have been wiped since, and its sizes with it. */
static enum sa_code prepare(struct search *s, struct sa_arena *secret, const uint8_t *bytes,
                            struct sa_arena *work, uint8_t *room, bool partial)
{
    sigset_t before;
    os_mask_sent(&before);
    enum sa_code code = needles_measure(&s->needles, bytes, secret->size, partial);
    if (!code && needles_room(&s->needles) + CHUNK + PEEK > work->size)
        code = SA_WIPED;
    if (!code) {
        s->chunk = room;
        needles_build(&s->needles, room + CHUNK + PEEK);
    }
    os_unmask(&before);
    return code;
}

enum sa_code sa_find_room(struct sa_arena *secret, bool partial, size_t *bytes)
{
    const uint8_t *at;
    struct needles n;
    enum sa_code code = sa_borrow(secret, &at);
    if (code)
        return code;
    code = needles_measure(&n, at, secret->size, partial);
    enum sa_code back = sa_return(secret);
    if (!code)
        *bytes = needles_room(&n) + CHUNK + PEEK;
    wipe_stack();
    return back ? back : code;
}

enum sa_code sa_find(struct sa_arena *secret, struct sa_arena *work, bool partial,
                     struct sa_copy *copies, size_t room, size_t *count, sa_progress progress,
                     void *context, struct sa_why *why)
{
    struct search s = {.look = look_for_copies,
                       .progress = progress,
                       .context = context,
                       .copies = copies,
                       .room = room};
    uint8_t *bytes, *space;
    *count = 0;
    enum sa_code code = sa_export(secret, false, &bytes);
    if (code)
        return code;
    code = sa_export(work, false, &space);
    if (!code) {
        code = prepare(&s, secret, bytes, work, space, partial);
        if (!code)
            code = search(&s, why);
        sa_unexport(work);
    }
    sa_unexport(secret);
    wipe_stack();
    if (code && sa_is_wiped(secret)) /* noise was measured */
        return SA_WIPED;
    *count = s.count;
    return code ? code : sa_is_wiped(secret) || sa_is_wiped(work) ? SA_WIPED : SA_OK;
}

/* ---- words -------------------------------------------------------------------------------- */

static void look_for_word(struct search *s, uintptr_t at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t word, around[7];
        memcpy(&word, s->chunk + i, sizeof word);
        if (word != s->word)
            continue;
        if (os_maps_read(&s->walk, at + i - 16, around, sizeof around) == sizeof around)
            s->visit(s->context, at + i, around);
    }
}

enum sa_code sa_find_word(struct sa_arena *work, uint64_t word, sa_visit visit,
                          sa_progress progress, void *context, struct sa_why *why)
{
    struct search s = {.look = look_for_word,
                       .progress = progress,
                       .context = context,
                       .word = word,
                       .visit = visit};
    enum sa_code code = sa_export(work, false, &s.chunk);
    if (code)
        return code;
    code = search(&s, why);
    sa_unexport(work);
    wipe_stack();
    return code;
}

bool sa_look_back(struct sa_arena *work, uintptr_t address, const uint64_t *words, size_t count,
                  size_t *which, uintptr_t *at, uint64_t around[2])
{
    struct os_maps walk;
    struct sa_why unused;
    uint8_t *room;
    bool found = false;
    uintptr_t page = os_page_size(), high = address / 8 * 8;
    if (high < CHUNK || sa_export(work, false, &room))
        return false;
    if (os_maps_begin(&walk, &unused)) {
        sa_unexport(work);
        return false;
    }
    for (size_t left = CHUNK; left && !found;) { /* a page at a time, down to a gap */
        uintptr_t low = (high - 1) / page * page;
        size_t bytes = high - low;
        if (bytes > left || os_maps_read(&walk, low, room, bytes) != bytes)
            break;
        for (size_t i = bytes; i && !found; i -= 8) {
            uint64_t word;
            memcpy(&word, room + i - 8, sizeof word);
            for (size_t k = 0; k < count && !found; k++)
                if (word == words[k]) {
                    if (os_maps_read(&walk, low + i - 16, around, 8) != 8)
                        around[0] = 0;
                    found = os_maps_read(&walk, low + i, around + 1, 8) == 8;
                    *which = k;
                    *at = low + i - 8;
                }
        }
        left -= bytes;
        high = low;
    }
    (void)os_maps_end(&walk); /* no mapping was asked for */
    sa_unexport(work);
    wipe_stack();
    return found;
}
