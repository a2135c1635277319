/* This file finds copies of a secret in the whole process, without making one. */
#include "residue/forms.h"
#include "residue/walk.h"
#include "vault/vault.h"

#include <string.h>

enum {
    NEAR = 64,   /* copies before the end of one: what overlaps it is among these */
    CHANGES = 6, /* from byte to byte that a part has at least */
};

struct search {
    struct walk walk; /* first: a look is given it */
    struct sa_arena *secret, *work;
    struct forms forms;
    struct sa_copy *copies;
    size_t count, room;
};

/* ---- one copy ----------------------------------------------------------------------------- */

/* Whether a part says something: a few bytes and a run of one, as behind a padded secret,
 * are in any memory. */
static bool is_varied(const struct forms *f, const struct form *form, size_t at, size_t length)
{
    unsigned changes = 0;
    for (size_t i = 1; i < length && changes < CHANGES; i++)
        changes += form_byte(f, form, at + i) != form_byte(f, form, at + i - 1);
    return changes == CHANGES;
}

static bool covers(const struct sa_copy *a, const struct sa_copy *b)
{
    return a->address <= b->address && b->address + b->length <= a->address + a->length;
}

/* How many copies lie before an address. They are in order. */
static size_t count_before(const struct search *s, uintptr_t address)
{
    size_t low = 0, high = s->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->copies[middle].address < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Keep it, but for what lies within another, or is the same form in another place of a
 * pattern that repeats. What it covers itself is dropped. */
static void keep(struct search *s, const struct sa_copy *copy)
{
    size_t end = count_before(s, copy->address + copy->length);
    size_t first = end > NEAR ? end - NEAR : 0;
    for (size_t i = end; i-- > first;) {
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
        s->walk.ended = true;
        return;
    }
    size_t place = count_before(s, copy->address + 1);
    memmove(&s->copies[place + 1], &s->copies[place], (s->count - place) * sizeof *copy);
    s->copies[place] = *copy;
    s->count++;
}

/* A word of a form stands at `at`: as much of the form around it as is there. */
SA_BARE static void verify(struct search *s, uintptr_t at, const struct form *form, size_t place)
{
    const struct forms *f = &s->forms;
    size_t before = 0, length = form->word;
    uint8_t byte;
    while (before < place && walk_byte(&s->walk, at - before - 1, &byte) &&
           byte == form_byte(f, form, place - before - 1))
        before++;
    while (place + length < form->length && walk_byte(&s->walk, at + length, &byte) &&
           byte == form_byte(f, form, place + length))
        length++;
    struct slot unused;
    length += before;
    if (length < form->least ||
        (length < form->length && !is_varied(f, form, place - before, length)) ||
        vault_find((const void *)at, 1, &unused)) /* came there since */
        return;
    struct sa_copy copy = {
        .address = at - before,
        .length = length,
        .whole = form->length,
        .form = form->name,
        .place = (enum sa_place)s->walk.map.kind,
        .mapping = s->walk.map.start,
    };
    memcpy(copy.name, s->walk.map.name, sizeof copy.name);
    keep(s, &copy);
}

SA_BARE static void look_for_words(struct search *s, uintptr_t at, size_t bytes, size_t width)
{
    const struct forms *f = &s->forms;
    const uint8_t *chunk = s->walk.chunk;
    size_t count = bytes / width;
    for (size_t i = 0; (i = forms_next(f, chunk, count, width, i)) < count; i++) {
        uint64_t word = forms_word(chunk, width, i);
        size_t step = 0, place;
        const struct form *form;
        while ((form = forms_match(f, word, width, &step, &place)))
            verify(s, at + i * width, form, place);
    }
}

static bool is_wiped(const struct search *s)
{
    return sa_is_wiped(s->secret) || sa_is_wiped(s->work);
}

SA_BARE static void look_for_copies(struct walk *w, uintptr_t at, size_t bytes)
{
    struct search *s = (struct search *)w;
    if (is_wiped(s)) { /* nearly every word would pass a filter of noise */
        w->ended = true;
        return;
    }
    if (s->forms.wide)
        look_for_words(s, at, bytes, 8);
    if (s->forms.narrow)
        look_for_words(s, at, bytes, 4);
}

/* ---- all of them -------------------------------------------------------------------------- */

/* Measured again: the secret's arena may have been wiped since, and its sizes with it. */
static enum sa_code prepare(struct search *s, struct sa_arena *secret, const uint8_t *bytes,
                            struct sa_arena *work, uint8_t *room, bool partial)
{
    sigset_t before;
    os_mask_sent(&before);
    enum sa_code code = forms_measure(&s->forms, bytes, secret->size, partial);
    if (!code && forms_room(&s->forms) + WALK_ROOM > work->size)
        code = SA_WIPED;
    if (!code) {
        s->walk.room = room;
        forms_build(&s->forms, room + WALK_ROOM);
    }
    os_unmask(&before);
    return code;
}

enum sa_code sa_find_room(struct sa_arena *secret, bool partial, size_t *bytes)
{
    const uint8_t *at;
    struct forms forms;
    enum sa_code code = sa_borrow(secret, &at);
    if (code)
        return code;
    code = forms_measure(&forms, at, secret->size, partial);
    enum sa_code back = sa_return(secret);
    if (!code)
        *bytes = forms_room(&forms) + WALK_ROOM;
    walk_wipe_stack();
    return back ? back : code;
}

enum sa_code sa_find(struct sa_arena *secret, struct sa_arena *work, bool partial,
                     struct sa_copy *copies, size_t room, size_t *count,
                     const struct sa_progress *progress, struct sa_why *why)
{
    struct search s = {.walk = {.look = look_for_copies, .progress = progress},
                       .secret = secret,
                       .work = work,
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
            code = walk_all(&s.walk, why);
        sa_unexport(work);
    }
    sa_unexport(secret);
    walk_wipe_stack();
    if (code && sa_is_wiped(secret)) /* noise was measured */
        return SA_WIPED;
    *count = s.count;
    return code ? code : is_wiped(&s) ? SA_WIPED : SA_OK;
}
