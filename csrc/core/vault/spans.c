/* The table of spans, which the handler walks without a lock. */
#include "vault/spans.h"

#include "os/os.h"

#include <string.h>

enum { RECORDS = 1 << 18, CHUNK = 1 << 20 };

_Atomic(spans_middle *) spans_top[SPANS_TOP];
_Atomic uintptr_t spans_low = UINTPTR_MAX, spans_room;

static struct span *records; /* RECORDS of them, most never touched */
static _Atomic uint32_t count;
static struct span *unused;  /* once used, by their `next` */
static _Atomic size_t slots;
static _Atomic long process;
/* Reads 0 in a child that no atfork handler ran in, whose process id may be the parent's (another
 * PID namespace), and which has none of the pages. */
static _Atomic uint64_t *ours;
static _Atomic uintptr_t zeroing;

/* ---- memory for the table, never given back ---------------------------------------- */

static uint8_t *chunk;
static size_t chunk_left;

static void *more(size_t bytes)
{
    struct sa_why why;
    if (bytes > chunk_left) {
        uint8_t *fresh = os_map_plain(CHUNK, &why);
        if (!fresh)
            return NULL;
        chunk = fresh;
        chunk_left = CHUNK;
    }
    chunk_left -= bytes;
    return chunk + chunk_left;
}

static spans_leaf *leaf_for(uintptr_t at)
{
    _Atomic(spans_middle *) *middle = &spans_top[at >> 34];
    if (!atomic_load(middle))
        atomic_store(middle, more(sizeof(spans_middle)));
    if (!atomic_load(middle))
        return NULL;
    _Atomic(spans_leaf *) *leaf = &(*atomic_load(middle))[at >> 20 & (SPANS_MIDDLE - 1)];
    if (!atomic_load(leaf))
        atomic_store(leaf, more(sizeof(spans_leaf)));
    return atomic_load(leaf);
}

/* Have each 4 KiB of the span lead to `s`; false: no memory. */
static bool lead(uintptr_t at, size_t bytes, struct span *s)
{
    for (uintptr_t end = at + bytes; at < end; at += 4096) {
        spans_leaf *leaf = at >> 48 ? NULL : leaf_for(at);
        if (!leaf)
            return false;
        atomic_store(&(*leaf)[at >> 12 & (SPANS_LEAF - 1)], s);
    }
    return true;
}

/* ---- records ------------------------------------------------------------------------ */

static struct span *take_record(void)
{
    struct sa_why why;
    struct span *s = unused;
    if (s) {
        unused = s->next;
        return s;
    }
    if (!ours && !(ours = os_map_table(os_page_size(), &why)))
        return NULL;
    if (!records && !(records = os_map_plain(RECORDS * sizeof *records, &why)))
        return NULL;
    uint32_t n = atomic_load(&count);
    if (n == RECORDS)
        return NULL;
    atomic_store(&count, n + 1);
    return &records[n];
}

static void widen(uintptr_t low, uintptr_t high)
{
    uintptr_t now = atomic_load(&spans_low), room = atomic_load(&spans_room);
    if (room && now < low)
        low = now;
    if (room && now + room > high)
        high = now + room;
    atomic_store(&spans_room, high - low);
    atomic_store(&spans_low, low);
}

struct span *spans_add(uint8_t *at, size_t bytes)
{
    struct span *s = take_record();
    if (!s)
        return NULL;
    memset(s, 0, sizeof *s);
    s->bytes = bytes;
    if (!lead((uintptr_t)at, bytes, s)) {
        s->next = unused;
        unused = s;
        return NULL;
    }
    if (!atomic_load(&process))
        atomic_store(&process, os_process());
    atomic_store(ours, 1);
    widen((uintptr_t)at, (uintptr_t)at + bytes);
    atomic_store(&s->at, at);
    atomic_fetch_add(&slots, 1);
    return s;
}

void spans_remove(struct span *s)
{
    uint8_t *at = atomic_exchange(&s->at, NULL);
    (void)lead((uintptr_t)at, s->bytes, NULL); /* its leaves are there */
    atomic_fetch_sub(&slots, s->slot.region != NULL);
    s->next = unused;
    unused = s;
}

struct span *spans_next(const struct span *s)
{
    uint32_t n = atomic_load(&count);
    for (uint32_t i = s ? (uint32_t)(s - records) + 1 : 0; i < n; i++)
        if (atomic_load(&records[i].at))
            return &records[i];
    return NULL;
}

void spans_forked(void)
{
    atomic_store(&process, os_process());
    if (ours)
        atomic_store(ours, 1);
    atomic_store(&slots, 0);
}

unsigned spans_granted(const struct span *s)
{
    return s->slot.region ? word_granted(atomic_load(slot_word(s->slot))) : s->granted;
}

void spans_clear(struct span *s)
{
    struct slot_pages pages = {.at = atomic_load(&s->at), .bytes = s->bytes};
    pages.locked = spans_granted(s) & SA_LOCK;
    if (s->bytes <= 16 * os_page_size()) {
        memset(pages.at, 0, s->block);
        return;
    }
    for (size_t offset; slot_next_touched(&pages, &offset);)
        memset(pages.at + offset, 0, os_page_size());
}

size_t spans_slots(void) { return atomic_load(&slots); }

/* ---- in signal context ---------------------------------------------------------------- */

void spans_zero(void)
{
    if (!atomic_load(&count) || !atomic_load(ours) || !os_is_process(atomic_load(&process)))
        return;
    atomic_store(&zeroing, os_thread());
    for (struct span *s = NULL; (s = spans_next(s));) {
        uint8_t *at = atomic_load(&s->at);
        size_t bytes = s->bytes;
        if (at && atomic_load(&s->at) == at) /* else the record is another's by now */
            memset(at, 0, bytes);
    }
}

bool spans_others_zeroed(void)
{
    uintptr_t by = atomic_load(&zeroing);
    return by && by != os_thread();
}
