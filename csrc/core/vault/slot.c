/* One slot: wiping it, owning it and copying from slot to slot, all by its one atomic word. */
#include "vault/slot.h"

#include "vault/noise.h"

_Atomic unsigned wipers_running;
static _Atomic uint64_t passes;

SA_HOT void wipers_enter(void)
{
    atomic_fetch_add(&passes, 1);
    atomic_fetch_add(&wipers_running, 1);
}

uint64_t wipers_passes(void) { return atomic_load(&passes); }

void wipers_leave(void) { atomic_fetch_sub(&wipers_running, 1); }
void wipers_wait(void)
{
    for (unsigned turn = 0; atomic_load(&wipers_running); turn++)
        os_wait(turn);
}

void wipers_forked(void) { atomic_store(&wipers_running, 0); }

/* ---- wiping ------------------------------------------------------------------ */

static const uint64_t HELD = WORD_BUSY | WORD_HOLDER;

/* A second, as os_wait counts. */
enum { LATE = 64 + 1000 };

SA_HOT static bool pin(struct slot_words *words, bool patient, uint64_t *pinned)
{
    _Atomic uint64_t *word = &words->word;
    for (unsigned turn = 0;;) {
        uint64_t h = atomic_load(word);
        if (word_state(h) != SLOT_LIVE)
            return false;
        bool given_up = h & WORD_BUSY && h & WORD_HOLDER && turn > LATE && !patient;
        if (!given_up && (h & WORD_BUSY || (h & WORD_PINS) == WORD_PINS)) {
            os_wait(turn++);
            continue;
        }
        *pinned = (given_up ? (h & ~HELD) | WORD_DROPPED : h) + WORD_PIN;
        if (atomic_compare_exchange_weak(word, &h, *pinned)) {
            atomic_fetch_add(&words->generation, 1);
            atomic_thread_fence(memory_order_release); /* the generation before the first byte */
            return true;
        }
    }
}

static bool ask_touched(void *at, size_t bytes, bool locked, unsigned char *touched)
{
    return (locked && os_touched(at, bytes, touched) == 0) ||
           os_touched_ever(at, bytes, touched) == 0;
}

bool slot_next_touched(struct slot_pages *p, size_t *offset)
{
    size_t page = os_page_size(), pages = p->bytes / page;
    for (; p->next < pages; p->next++) {
        size_t i = p->next % SLOT_PAGES, left = pages - p->next;
        if (i == 0)
            p->known = ask_touched(p->at + p->next * page,
                                   (left < SLOT_PAGES ? left : SLOT_PAGES) * page, p->locked,
                                   p->touched);
        if (!p->known || p->touched[i] & 1) {
            *offset = p->next++ * page;
            return true;
        }
    }
    return false;
}

/* Large pages that were never touched are skipped: the first touch of a page of
 * secretmem costs 20 us, there is nothing on it, and the memory may not be there. */
static void overwrite_touched(uint8_t *at, size_t bytes, bool locked)
{
    struct slot_pages pages = {.at = at, .bytes = bytes, .locked = locked};
    for (size_t offset; slot_next_touched(&pages, &offset);)
        noise_wipe(at + offset, os_page_size());
}

SA_HOT static void overwrite(struct slot s, uint64_t h)
{
    size_t bytes = s.region->data;
    if (bytes > 16 * os_page_size() && !s.region->is_file) /* all of a file was written */
        overwrite_touched(slot_data(s), bytes, word_granted(h) & SA_LOCK);
    else
        noise_wipe(slot_data(s), bytes);
}

/* Make a pinned slot writable. Two wipers agree on what became of the pages by
 * the word: a wiper that sees DROPPED keeps off them. */
static bool force_writable(struct slot s)
{
    _Atomic uint64_t *word = slot_word(s);
    for (;;) {
        uint64_t h = atomic_load(word);
        if (h & WORD_GONE)
            return false;
        if (h & WORD_DROPPED)
            break;
        if (word_access(h) == OS_WRITE)
            return true;
        bool ok = os_protect(slot_data(s), s.region->data, OS_WRITE) == 0;
        uint64_t now = ok ? (h & ~(uint64_t)WORD_ACCESS) | OS_WRITE << WORD_ACCESS_SHIFT
                          : h | WORD_DROPPED;
        if (!atomic_compare_exchange_strong(word, &h, now))
            continue;
        if (ok)
            return true;
        break;
    }
    /* Not left to the one that set DROPPED: it may be late, or be the very thread that
     * we interrupted, and our pass has to be whole by itself. */
    (void)os_drop_pages(slot_data(s), s.region->data); /* nothing harder is left */
    atomic_fetch_or(word, WORD_GONE);
    return false;
}

SA_HOT static bool wipe(struct slot s, bool patient)
{
    struct slot_words *words = &s.region->words[s.index];
    uint64_t h;
    if (!pin(words, patient, &h))
        return false;
    if ((word_access(h) == OS_WRITE && !(h & WORD_DROPPED)) || force_writable(s))
        overwrite(s, h);
    atomic_fetch_add(&words->generation, 1);
    atomic_fetch_sub(&words->word, WORD_PIN);
    return true;
}

SA_HOT bool slot_wipe(struct slot s) { return wipe(s, false); }

/* ---- owning -------------------------------------------------------------------- */

/* A thread that changes a slot's access over and over would keep a pass from it: 300 ms were
 * seen. Not for ever, as our caller may hold a lock that a lockdown wants. */
static void let_wipers_pass(void)
{
    for (unsigned turn = 0; turn < 64 + 20 && atomic_load(&wipers_running); turn++)
        os_wait(turn);
}

bool slot_is_kept(struct slot s)
{
    for (unsigned turn = 0; turn < 64 + 20; os_wait(turn++))
        if (!(atomic_load(slot_word(s)) & WORD_BUSY))
            return false;
    return true;
}

SA_HOT bool slot_let_go(struct slot s, uintptr_t thread)
{
    _Atomic uint64_t *word = slot_word(s);
    const uint64_t held = WORD_BUSY | word_holder(thread);
    uint64_t h = atomic_load(word);
    while ((h & HELD) == held)
        if (atomic_compare_exchange_weak(word, &h, (h & ~HELD) | WORD_ACCESS))
            return true;
    return false;
}

SA_HOT void slot_hold_again(struct slot s, uintptr_t thread)
{
    /* It may be about to change the access, for all that we know. */
    const uint64_t held = WORD_BUSY | WORD_TOUCHED | WORD_ACCESS | word_holder(thread);
    for (unsigned turn = 0; turn <= LATE; os_wait(turn++)) {
        uint64_t h = atomic_load(slot_word(s));
        if (word_state(h) != SLOT_LIVE)
            return; /* never, as its owner is below us; but nothing is to hang */
        if (word_is_quiet(h) && atomic_compare_exchange_strong(slot_word(s), &h, h | held))
            return;
    }
}

/* What pages have that were refused an access. After a pass nobody knows, and nothing could be
 * copied from them any more: so they are opened, as the pass left them. */
static enum os_access left_with(struct slot s, uint64_t h)
{
    bool known = word_access(h) <= OS_WRITE || h & WORD_DROPPED;
    return known || os_protect(slot_data(s), s.region->data, OS_WRITE) ? word_access(h) : OS_WRITE;
}

/* What the word becomes when its holder gives it back. */
static uint64_t given_back(struct slot s, uint64_t h, enum os_access access, bool refused)
{
    enum os_access has = refused ? left_with(s, h) : h & WORD_DROPPED ? word_access(h) : access;
    return word_with(h & ~HELD, has, refused ? word_wanted(h) : access);
}

/* 0 or an errno; nothing is asked for that the word says they have, or of pages that are gone. */
static int ask_for(struct slot s, uint64_t h, enum os_access access)
{
    bool asks = !(h & WORD_DROPPED) && word_access(h) != access;
    return asks ? os_protect(slot_data(s), s.region->data, access) : 0;
}

/* Give a slot back that was held, as the word `h`, while its access was asked for, which came to
 * *error. Both anew, if a handler on this thread had it meanwhile. False: a wiper has given us up. */
static bool give_held_back(struct slot s, uint64_t h, enum os_access access, int *error)
{
    _Atomic uint64_t *word = slot_word(s);
    const uint64_t held = h & HELD;
    while (!atomic_compare_exchange_strong(word, &h, given_back(s, h, access, *error))) {
        h = atomic_fetch_and(word, ~(uint64_t)WORD_TOUCHED) & ~(uint64_t)WORD_TOUCHED;
        if ((h & HELD) != held)
            return false;
        *error = ask_for(s, h, access);
    }
    return true;
}

SA_COLD int slot_set_access_slowly(struct slot s, enum os_access access, uint64_t h, int error)
{
    const uint64_t mine = WORD_BUSY | word_holder(os_thread());
    bool held = h;
    if (!held)
        let_wipers_pass();
    for (unsigned turn = 0;; os_wait(turn++), held = false) {
        if (!held) {
            h = atomic_load(slot_word(s));
            if (word_is_quiet(h) && h == word_with(h, access, access))
                return 0; /* not held, no wiper gives pages up that others are at work on */
            if (!word_is_quiet(h) || !atomic_compare_exchange_strong(slot_word(s), &h, h | mine))
                continue;
            error = ask_for(s, h |= mine, access);
        }
        if (give_held_back(s, h, access, &error))
            return error;
        /* Our call may have opened what the wiper had put there before. Refused, it is gone. */
        (void)os_protect(slot_data(s), s.region->data, OS_NONE);
    }
}

/* Give the pages back the access that their owner chose last, after a wiper lifted it. Signals are
 * masked: the owner may retire the slot as soon as nobody holds it. Refused, noise stays open. */
static void restore_access(struct slot s)
{
    _Atomic uint64_t *word = slot_word(s);
    for (unsigned turn = 0;; os_wait(turn++)) {
        sigset_t mask;
        os_mask_all(&mask);
        uint64_t h = atomic_load(word);
        bool live = word_state(h) == SLOT_LIVE;
        bool held = word_is_quiet(h) && atomic_compare_exchange_strong(word, &h, h | WORD_BUSY);
        int error = held ? ask_for(s, h | WORD_BUSY, word_wanted(h)) : 0;
        if (held && !give_held_back(s, h | WORD_BUSY, word_wanted(h), &error)) {
            /* never: nobody gives up a thread that is not interrupted */
        }
        os_unmask(&mask);
        if (held || !live)
            return;
    }
}

bool slot_wipe_and_restore(struct slot s)
{
    if (!wipe(s, true))
        return false;
    uint64_t h = atomic_load(slot_word(s));
    if (word_access(h) != word_wanted(h))
        restore_access(s);
    return true;
}

struct sa_why slot_refused(int error)
{
    return (struct sa_why){.call = "mprotect",
                           .error = error,
                           .hint = "raise the data limit (ulimit -d) or vm.max_map_count"};
}

/* Not while an owner copies, which writes the word back as it was. One that changes the access finds
 * out, and may be kept for long, while our caller holds a lock that everybody wants. */
bool slot_set_locked(struct slot s, bool locked)
{
    const uint64_t lock = (uint64_t)SA_LOCK << WORD_GRANTED_SHIFT;
    _Atomic uint64_t *word = slot_word(s);
    for (unsigned turn = 0;; os_wait(turn++)) {
        uint64_t h = atomic_load(word);
        if (word_state(h) != SLOT_LIVE)
            return false;
        if ((!(h & WORD_BUSY) || h & WORD_HOLDER) &&
            atomic_compare_exchange_strong(word, &h, locked ? h | lock : h & ~lock))
            return true;
    }
}

void slot_publish(struct slot s, bool pooled)
{
    _Atomic uint64_t *word = slot_word(s);
    uint64_t h = atomic_load_explicit(word, memory_order_relaxed) & ~(uint64_t)WORD_STATE;
    atomic_store(word, h | SLOT_LIVE | (pooled ? WORD_POOLED : 0));
}

bool slot_retire(struct slot s)
{
    _Atomic uint64_t *word = slot_word(s);
    for (unsigned turn = 0;; os_wait(turn++)) {
        uint64_t h = atomic_load(word);
        uint64_t owned = (h & ~(uint64_t)(WORD_STATE | WORD_POOLED)) | SLOT_OWNED;
        if (word_is_quiet(h) && atomic_compare_exchange_strong(word, &h, owned))
            return !(h & WORD_DROPPED);
    }
}

/* ---- copying -------------------------------------------------------------------- */

static bool take_busy(struct slot s, enum os_access least)
{
    _Atomic uint64_t *word = slot_word(s);
    uint64_t h = atomic_load(word);
    enum os_access has = word_access(h);
    return word_is_quiet(h) && has >= least && has <= OS_WRITE && !(h & WORD_DROPPED) &&
           atomic_compare_exchange_strong(word, &h, h | WORD_BUSY);
}

static void drop_busy(struct slot s) { atomic_fetch_and(slot_word(s), ~(uint64_t)WORD_BUSY); }

bool slot_lock_pair(struct slot from, struct slot to, sigset_t *mask)
{
    os_mask_all(mask);
    bool fresh = word_state(atomic_load(slot_word(to))) == SLOT_OWNED;
    if (take_busy(from, slot_is(from, to) ? OS_WRITE : OS_READ)) {
        if (fresh) {
            uint64_t h = atomic_load(slot_word(to)) & ~(uint64_t)WORD_STATE;
            atomic_store(slot_word(to), h | SLOT_LIVE | WORD_BUSY);
        }
        if (fresh || slot_is(from, to) || take_busy(to, OS_WRITE)) {
            /* A wiper that passes over all counts itself first and looks at each
             * slot then; we do it the other way round. So either we see it here
             * and step back, or it sees both slots busy and waits. */
            if (atomic_load(&wipers_running) == 0)
                return true;
            slot_unlock_pair(from, to, !fresh, mask);
            return false;
        }
        drop_busy(from);
    }
    os_unmask(mask);
    return false;
}

void slot_unlock_pair(struct slot from, struct slot to, bool keep, const sigset_t *mask)
{
    if (!keep) {
        uint64_t h = atomic_load(slot_word(to)) & ~(uint64_t)(WORD_STATE | WORD_BUSY);
        atomic_store(slot_word(to), h | SLOT_OWNED);
    } else if (!slot_is(from, to)) {
        drop_busy(to);
    }
    drop_busy(from);
    os_unmask(mask);
}

bool slot_lock_one(struct slot s, sigset_t *mask)
{
    os_mask_all(mask);
    if (take_busy(s, OS_READ)) {
        if (atomic_load(&wipers_running) == 0) /* as above */
            return true;
        drop_busy(s);
    }
    os_unmask(mask);
    return false;
}

void slot_unlock_one(struct slot s, const sigset_t *mask)
{
    drop_busy(s);
    os_unmask(mask);
}

void slot_wait_clear(unsigned turn)
{
    os_wait(turn);
    wipers_wait();
}
