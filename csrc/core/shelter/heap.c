/* The heap's cells, and the spans that they are cut from. */
#include "shelter/heap.h"

#include "os/os.h"
#include "shelter/classes.h"
#include "vault/budget.h"
#include "vault/locks.h"
#include "vault/vault.h"

#include <stdlib.h>
#include <string.h>

enum { SPAN = 16384 };

static struct span *open_spans[KINDS];  /* those with free cells; the last one added is first */
static uint32_t span_count[KINDS];
static struct span *kept; /* large ones without a block, by their `next` */
static size_t blocks, bytes_in_use;
static size_t idle_bytes, idle_most; /* of spans without blocks; how many may be kept */
static _Atomic uintptr_t holder; /* the thread that has the heap, or 0 */

/* ---- one thread at a time -------------------------------------------------------------- */

/* Of its own, since it is held for a few instructions, and waited for by fork. */
static inline bool try_hold(void)
{
    uintptr_t nobody = 0;
    return atomic_compare_exchange_strong_explicit(&holder, &nobody, os_thread(),
                                                   memory_order_acquire, memory_order_relaxed);
}

bool heap_is_held(void)
{
    return atomic_load_explicit(&holder, memory_order_relaxed) == os_thread();
}

/* False: the thread has it already. It runs an atfork handler, or a signal's. */
static inline bool hold(void)
{
    for (unsigned turn = 0; !try_hold(); turn++) {
        if (heap_is_held())
            return false;
        os_wait(turn);
    }
    return true;
}

bool heap_hold(void)
{
    enum { TURNS = 64 + 30000 }; /* a fork of a large process takes seconds */
    if (heap_is_held())
        return false;
    for (unsigned turn = 0; turn < TURNS; os_wait(turn++))
        if (try_hold())
            return true;
    return false;
}

void heap_let_go(void) { atomic_store_explicit(&holder, 0, memory_order_release); }

void heap_forked(void) { heap_let_go(); }

/* ---- lists of spans with free cells ------------------------------------------------------ */

static void link_open(struct span *s)
{
    s->before = NULL;
    s->next = open_spans[s->kind];
    if (s->next)
        s->next->before = s;
    open_spans[s->kind] = s;
}

static void unlink_open(struct span *s)
{
    if (s->before)
        s->before->next = s->next;
    else
        open_spans[s->kind] = s->next;
    if (s->next)
        s->next->before = s->before;
}

/* ---- spans ------------------------------------------------------------------------------- */

/* Pages without any block, which hold zeros. A handler that is about to zero them all may be in
 * them: then they stay. */
static void give_span(struct span *s)
{
    struct slot slot = s->slot;
    uint8_t *at = atomic_load(&s->at);
    size_t bytes = s->bytes;
    unsigned granted = s->granted;
    bool hole;
    spans_remove(s);
    if (spans_others_zeroed())
        return;
    if (slot.region) {
        vault_put(slot, 0, true);
    } else if (os_unplace_pages(at, bytes, &hole) == 0) { /* else they stay, empty */
        lock_take(LOCK_VAULT);
        budget_uncount_pages(granted, bytes);
        lock_give(LOCK_VAULT);
    }
}

static size_t give_idle(void)
{
    size_t given = 0;
    for (unsigned class = 0; class < KINDS; class ++)
        for (struct span *s = open_spans[class], *next; s; s = next) {
            next = s->next;
            if (s->used)
                continue;
            unlink_open(s);
            span_count[class]--;
            given += s->bytes;
            give_span(s);
        }
    for (struct span *s; (s = kept);) {
        kept = s->next;
        given += s->bytes;
        give_span(s);
    }
    idle_bytes = 0;
    return given;
}

static unsigned least(void)
{
    return (sa_required() | SA_LOCK | SA_NODUMP) & os_known_protections();
}

/* Pages of the vault; ours as long as they are not published to those who wipe arenas. */
static struct span *take_span(size_t bytes, enum slot_holds *holds)
{
    struct sa_why why;
    struct slot slot;
    if (vault_enter(&why) || vault_take(bytes, 0, least(), &slot, holds, &why))
        return NULL;
    struct span *s = spans_add(slot_data(slot), slot.region->data);
    if (s)
        s->slot = slot;
    else
        vault_put(slot, 0, true);
    return s;
}

static struct span *take_span_or_idle(size_t bytes, enum slot_holds *holds)
{
    struct span *s = take_span(bytes, holds);
    return s || !give_idle() ? s : take_span(bytes, holds);
}

/* How much is kept for the next block. */
static void learn_limit(void)
{
    enum { MOST = 1 << 20, SHARE = 64 };
    size_t limit = os_lock_limit() / SHARE;
    idle_most = limit < MOST ? limit : MOST;
}

/* The first of a class is a page, or few objects of many sizes would take many of them. */
static struct span *cut_span(unsigned class)
{
    uint32_t cell = cell_of(class);
    size_t page = os_page_size(), most = page < SPAN ? SPAN : page;
    size_t bytes = span_count[class] || cell > FINE ? most : page;
    enum slot_holds holds;
    struct span *s = take_span_or_idle(bytes, &holds);
    if (!s && bytes > page)
        s = take_span(page, &holds);
    if (!s)
        return NULL;
    learn_limit();
    s->kind = class;
    s->cell = cell;
    s->inverse = (uint32_t)((UINT64_C(1) << 32) / cell + 1);
    s->cells = (uint32_t)(s->bytes / cell);
    s->cells = s->cells > SPAN_CELLS ? SPAN_CELLS : s->cells;
    for (uint32_t i = 0; i < s->cells; i++)
        s->free[i / 64] |= UINT64_C(1) << i % 64;
    span_count[class]++;
    idle_bytes += s->bytes;
    link_open(s);
    return s;
}

/* ---- blocks ------------------------------------------------------------------------------- */

static _Noreturn void end(void) { abort(); /* our handler wipes first */ }

static void *take_cell(unsigned class)
{
    struct span *s = open_spans[class];
    if (!s && !(s = cut_span(class)))
        return NULL;
    uint32_t word = s->lowest;
    while (!s->free[word])
        word++;
    s->lowest = word;
    unsigned bit = (unsigned)__builtin_ctzll(s->free[word]);
    s->free[word] &= s->free[word] - 1;
    if (s->used++ == 0)
        idle_bytes -= s->bytes;
    if (s->used == s->cells)
        unlink_open(s);
    blocks++;
    bytes_in_use += s->cell;
    return atomic_load_explicit(&s->at, memory_order_relaxed) + (size_t)(word * 64 + bit) * s->cell;
}

/* Not one that came over a fork, whose pages may be less than what is asked for. */
static struct span *take_kept(size_t bytes)
{
    for (struct span **at = &kept, *s; (s = *at); at = &s->next)
        if (bytes <= s->bytes && bytes > s->bytes / 2 && s->slot.region &&
            !(least() & ~spans_granted(s))) {
            *at = s->next;
            idle_bytes -= s->bytes;
            return s;
        }
    return NULL;
}

/* *zeros: so the block is, and most of it may never have been touched. */
static void *take_whole(size_t bytes, bool *zeros)
{
    enum slot_holds holds = HOLDS_ZEROS;
    struct span *s = take_kept(bytes);
    if (!s && !(s = take_span_or_idle(bytes, &holds)))
        return NULL;
    learn_limit();
    *zeros = holds == HOLDS_ZEROS;
    s->block = bytes;
    s->used = 1;
    blocks++;
    bytes_in_use += bytes;
    return atomic_load(&s->at);
}

void *heap_take(size_t bytes, bool zeroed) { return heap_take_aligned(bytes, STEP, zeroed); }

void *heap_take_aligned(size_t bytes, size_t alignment, bool zeroed)
{
    if (bytes > PTRDIFF_MAX || alignment > os_page_size() || !hold())
        return NULL;
    bool small = bytes <= LARGEST && alignment <= STEP;
    bool zeros = false;
    void *block = small ? take_cell(class_of(bytes)) : take_whole(bytes, &zeros);
    heap_let_go();
    if (zeroed && block && !zeros)
        memset(block, 0, bytes);
    return block;
}

/* The cell of a block; ends the process where there is none in use. */
static uint32_t index_of(const struct span *s, const void *block)
{
    uint32_t offset = (uint32_t)((const uint8_t *)block -
                                 atomic_load_explicit(&s->at, memory_order_relaxed));
    uint32_t index = (uint32_t)((uint64_t)offset * s->inverse >> 32);
    if (index >= s->cells || index * s->cell != offset || s->free[index / 64] >> index % 64 & 1)
        end();
    return index;
}

/* An empty span is kept where few are, and what may be locked is much. */
static bool is_kept(const struct span *s) { return s->slot.region && idle_bytes <= idle_most; }

/* Zeroed. Mapping pages and touching them costs far more than the block's content: who takes as
 * much again and again gets the same. Smaller ones the vault keeps. */
static void give_whole(struct span *s)
{
    blocks--;
    bytes_in_use -= s->block;
    s->used = 0;
    idle_bytes += s->bytes;
    if (s->bytes > 16 * os_page_size() && is_kept(s)) {
        s->next = kept;
        kept = s;
        return;
    }
    idle_bytes -= s->bytes;
    give_span(s);
}

static void give_cell(struct span *s, void *block)
{
    uint32_t index = index_of(s, block);
    memset(block, 0, s->cell);
    s->free[index / 64] |= UINT64_C(1) << index % 64;
    if (index / 64 < s->lowest)
        s->lowest = index / 64;
    blocks--;
    bytes_in_use -= s->cell;
    if (s->used-- == s->cells)
        link_open(s);
    if (s->used)
        return;
    idle_bytes += s->bytes;
    if (!is_kept(s)) {
        idle_bytes -= s->bytes;
        unlink_open(s);
        span_count[s->kind]--;
        give_span(s);
    }
}

static struct span *span_of(const void *block)
{
    struct span *s = spans_find(block);
    if (!s)
        end();
    return s;
}

size_t heap_size(const void *block)
{
    const struct span *s = span_of(block);
    return s->cell ? s->cell : s->block;
}

void heap_give(void *block)
{
    struct span *s = span_of(block);
    if (!hold()) {
        memset(block, 0, heap_size(block)); /* it stays: the heap's holder counts on its lists */
        return;
    }
    if (s->cell) {
        give_cell(s, block);
    } else {
        if (block != atomic_load(&s->at) || !s->used)
            end();
        spans_clear(s);
        give_whole(s);
    }
    heap_let_go();
}

static bool fits(const struct span *s, size_t bytes)
{
    return s->cell ? bytes <= s->cell && class_of(bytes) == s->kind
                   : bytes <= s->bytes && bytes > LARGEST && bytes > s->bytes / 2;
}

static void shrink(struct span *s, uint8_t *block, size_t bytes)
{
    size_t had = s->cell ? s->cell : s->block;
    if (bytes < had)
        memset(block + bytes, 0, had - bytes);
    if (s->cell || !hold())
        return;
    bytes_in_use += bytes - s->block;
    s->block = bytes;
    heap_let_go();
}

void *heap_resize(void *block, size_t bytes)
{
    struct span *s = span_of(block);
    size_t had = s->cell ? s->cell : s->block, room = s->cell ? s->cell : s->bytes;
    if (s->cell && hold()) { /* whose neighbours come and go */
        (void)index_of(s, block);
        heap_let_go();
    }
    if (fits(s, bytes)) {
        shrink(s, block, bytes);
        return block;
    }
    void *to = heap_take(bytes, false);
    if (!to && bytes <= room) {
        shrink(s, block, bytes);
        return block;
    }
    if (to) {
        memcpy(to, block, bytes < had ? bytes : had);
        heap_give(block);
    }
    return to;
}

void heap_count(size_t *block_count, size_t *bytes)
{
    bool held = hold();
    *block_count = blocks;
    *bytes = bytes_in_use;
    if (held)
        heap_let_go();
}

void heap_trim(void)
{
    if (!hold())
        return;
    (void)give_idle();
    heap_let_go();
}
