/* This file passes over the process's memory, a chunk at a time, for a search.
 *
 * Memory is copied by the kernel, which tells what has gone, into the work arena, and only
 * looked at there. What is compared passes through general registers a word at a time, with
 * all signals but faults blocked, so that none is saved on a signal frame; what the compiler
 * spilled of them is wiped from the stack at the end. */
#include "residue/walk.h"
#include "base/registers.h"
#include "base/wipe.h"
#include "vault/vault.h"

#include <errno.h>

enum {
    TELL = 64 << 20,         /* how often progress is told */
    STACK = 8192,            /* more than the frames of this folder take */
    APART_STACK = 65536,     /* with a signal's frame besides */
    APART_LEAST = 1 << 20,   /* less is copied before the process is there */
};

/* ---- progress --------------------------------------------------------------------------- */

/* Mappings come and go: no more than the total is told. */
static bool report(const struct walk *w, bool over)
{
    const struct sa_progress *p = w->progress;
    bool all = p && p->wants_total && (over || w->done > w->total);
    return !p || p->tell(p->context, all ? w->total : w->done, w->total);
}

static void tell(struct walk *w, size_t more)
{
    w->done += more;
    if (w->done - w->told < TELL || w->ended)
        return;
    w->told = w->done;
    w->ended = !report(w, false);
}

/* The first of our reservations that ends after `at`, and the stack apart is one: it holds words
 * of what was found. */
static bool ours_from(const struct walk *w, uintptr_t at, uintptr_t *start, uintptr_t *end)
{
    uintptr_t stack = (uintptr_t)w->stack;
    bool any = vault_reserved(at, start, end);
    if (!stack || at >= stack + APART_STACK || (any && *start < stack))
        return any;
    *start = stack;
    *end = stack + APART_STACK;
    return true;
}

/* The part of the mapping at *from or later that is outside of our reservations, up to *to;
 * false: no more. *next: where to go on. */
static bool next_part(const struct walk *w, uintptr_t *from, uintptr_t *to, uintptr_t *next)
{
    uintptr_t start, end;
    while (*from < w->map.end) {
        bool ours = ours_from(w, *from, &start, &end);
        *to = ours && start < w->map.end ? start : w->map.end;
        *next = ours && end > *to ? end : *to;
        if (*from < *to)
            return true;
        *from = *next;
    }
    return false;
}

static void drop_stack(struct walk *w)
{
    if (w->stack)
        os_unmap_stack(w->stack, APART_STACK);
    w->stack = NULL;
}

static enum sa_code end_maps(struct walk *w, struct sa_why *why)
{
    int error = os_maps_end(&w->maps);
    if (!error)
        return SA_OK;
    *why = (struct sa_why){.call = "reading the list of mappings", .error = error};
    return SA_OS_ERROR;
}

/* How much there is to pass over. No system call tells how much of the address space is
 * readable, so the list of mappings is read a second time, but only for a caller that wants the
 * total. With 100 MB in 5,000 mappings that is 1.3 ms of 38; with 300 mappings it does not show. */
static enum sa_code measure(struct walk *w, struct sa_why *why)
{
    uintptr_t to, next;
    if (os_maps_begin(&w->maps, why))
        return SA_OS_ERROR;
    while (os_maps_next(&w->maps, &w->map))
        if (w->map.readable)
            for (uintptr_t from = w->map.start; next_part(w, &from, &to, &next); from = next)
                w->total += to - from;
    return end_maps(w, why);
}

/* ---- walking ---------------------------------------------------------------------------- */

/* By a copy of it, which the kernel makes and which ends at what has gone. */
static void look_at_copy(struct walk *w, uintptr_t from, uintptr_t to)
{
    uintptr_t page = os_page_size();
    w->chunk = w->room;
    while (from < to && !w->ended) {
        sigset_t before;
        size_t want = to - from < WALK_CHUNK ? to - from : WALK_CHUNK;
        os_mask_sent(&before);
        walk_wipe_stack(); /* a word that a look left there, and zeros, would be a part found */
        size_t got = os_maps_read(&w->maps, from, w->room, want) / 8 * 8;
        w->chunk_at = from;
        w->chunk_bytes = got;
        w->peek_bytes = 0;
        if (got)
            w->look(w, from, got);
        os_unmask(&before);
        size_t step = got < want ? (from + got) / page * page + page - from : want;
        step = step < to - from ? step : to - from;
        from += step; /* past what could not be read */
        tell(w, step);
    }
}

struct part {
    struct walk *walk;
    volatile uintptr_t from; /* stored before the next chunk is looked at, which may fault */
    uintptr_t to;
};

/* In a process apart, which may end in the middle of it: none of the frames then on its stack is
 * told to the sanitizers. */
SA_BARE static void look_at_part(void *context)
{
    struct part *part = context;
    struct walk *w = part->walk;
    for (uintptr_t at = part->from; at < part->to && !w->ended; part->from = at) {
        size_t bytes = part->to - at < WALK_CHUNK ? part->to - at : WALK_CHUNK;
        w->chunk = (const uint8_t *)at;
        w->chunk_at = at;
        w->chunk_bytes = bytes;
        w->peek_bytes = 0;
        w->look(w, at, bytes);
        at += bytes;
    }
}

/* By a loop, as memset is a sanitizer's own. */
SA_BARE static void wipe_apart(volatile uint64_t *stack)
{
    for (size_t i = 0; i < APART_STACK / sizeof *stack; i++)
        stack[i] = 0;
}

/* Where it stands; up to where, `to` or a chunk with what has gone. */
static uintptr_t look_in_place(struct walk *w, uintptr_t from, uintptr_t to)
{
    struct part part = {w, from, to};
    if (!w->stack || !w->map.plain || to - from < APART_LEAST)
        return from;
    int error = os_run_apart(w->stack, APART_STACK, look_at_part, &part);
    wipe_apart(w->stack);
    if (error && error != EFAULT)
        drop_stack(w);
    tell(w, part.from - from);
    return part.from;
}

static void look_at(struct walk *w, uintptr_t from, uintptr_t to)
{
    while (from < to && !w->ended) {
        uintptr_t end = to - from < TELL ? to : from + TELL;
        look_at_copy(w, look_in_place(w, from, end), end);
        from = end;
    }
}

/* What is held of [from, to), a part of the mapping. */
static void look_in(struct walk *w, uintptr_t from, uintptr_t to)
{
    struct os_map part = w->map;
    uintptr_t start, end;
    part.start = from;
    part.end = to;
    while (!w->ended && os_maps_held(&w->maps, &part, from, &start, &end)) {
        tell(w, start - from);
        look_at(w, start, end);
        from = end;
    }
    if (!w->ended)
        tell(w, to - from);
}

enum sa_code walk_all(struct walk *w, struct sa_why *why)
{
    enum sa_code code = w->progress && w->progress->wants_total ? measure(w, why) : SA_OK;
    if (code)
        return code;
    if (os_maps_begin(&w->maps, why))
        return SA_OS_ERROR;
    w->stack = os_map_stack(APART_STACK);
    uintptr_t to, next;
    while (!w->ended && os_maps_next(&w->maps, &w->map))
        if (w->map.readable)
            for (uintptr_t from = w->map.start; !w->ended && next_part(w, &from, &to, &next);
                 from = next)
                look_in(w, from, to);
    drop_stack(w);
    code = end_maps(w, why);
    if (!code && !w->ended)
        (void)report(w, true); /* over as it is */
    return code;
}

SA_BARE bool walk_byte(struct walk *w, uintptr_t at, uint8_t *out)
{
    if (at - w->chunk_at < w->chunk_bytes) {
        *out = w->chunk[at - w->chunk_at];
        return true;
    }
    if (at - w->peek_at >= w->peek_bytes) {
        w->peek_at = at / WALK_PEEK * WALK_PEEK;
        w->peek_bytes = os_maps_read(&w->maps, w->peek_at, w->room + WALK_CHUNK, WALK_PEEK);
        if (at - w->peek_at >= w->peek_bytes)
            return false;
    }
    *out = w->room[WALK_CHUNK + (at - w->peek_at)];
    return true;
}

__attribute__((noinline)) void walk_wipe_stack(void)
{
    uint8_t room[STACK];
    wipe_scratch(room, sizeof room);
    registers_forget();
}
