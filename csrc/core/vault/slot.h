/* One slot: a run of data pages between two guards, and the one atomic word that
 * says who may do what to it. The slot table is the registry that wipers walk.
 *
 * A slot that may hold a secret is LIVE. A wiper (the fatal handler, a lockdown,
 * or an owner that clears) pins it by compare-and-swap, overwrites its pages and
 * unpins; while pinned it is neither unmapped nor made inaccessible. The owner
 * takes it out of LIVE, or marks it busy, only by compare-and-swap from live,
 * unpinned and not busy. Wipers wait for busy slots, so a thread that holds one never
 * waits and touches nothing but vault memory meanwhile. While it copies it masks all
 * signals. While it changes the pages' access it does not, as that would cost more than
 * the change: it leaves its name in the word, so that a handler on its own thread can let go
 * of the slot as long as its pass lasts.
 */
#ifndef SECALLOC_SLOT_H
#define SECALLOC_SLOT_H

#include "os/os.h"

struct slot_cipher;

/* Slots of one size in one reservation: guard, data, guard, data, ... guard. */
struct sa_region {
    _Atomic(uint8_t *) base;  /* first guard; NULL: an empty entry of the large table */
    _Atomic size_t bytes;     /* all of it */
    _Atomic size_t data;      /* bytes of data in a slot */
    size_t given;             /* bytes at the end that were moved elsewhere */
    bool is_file;             /* others read its pages by a descriptor, or map them: no canary is
                                 laid that they would see, and could damage */
    uint32_t slots;
    _Atomic uint32_t used;    /* slots that were ever handed out; the rest is untouched */
    struct slot_words *words; /* two a slot; a child process sees zeros */
    _Atomic(struct sa_arena *) *owners; /* an arena a slot, behind the words; see below */
    struct slot_cipher *ciphers;        /* one a slot, behind those */
};

/* The generation counts wipes that have begun or ended, and never comes round: 40 bits of the
 * other word lasted 12.5 hours of clears. */
struct slot_words {
    _Atomic uint64_t word, generation;
};

/* What the table of a region with that many slots takes. */
#define SLOT_TABLE_BYTES(slots) \
    ((slots) * (sizeof(struct slot_words) + sizeof(_Atomic(struct sa_arena *)) + \
                sizeof(struct slot_cipher)))

/* How a slot's content is encrypted: what its owner has to know to turn it back. It holds no
 * secret. */
struct slot_cipher {
    _Atomic uint64_t nonce;    /* that no other content ever had; 0: it is not encrypted */
    uint64_t era;              /* of the bytes that the key comes of; see prekey.h */
    uint8_t tag[16];
    _Atomic bool may_unlock;   /* the lock may be given back; see relock.h */
};

/* Wipers that pass over all slots just now. */
extern _Atomic unsigned wipers_running;

struct slot {
    struct sa_region *region;
    uint32_t index;
};

enum slot_state {
    SLOT_FREE,   /* reserved address space */
    SLOT_PARKED, /* inaccessible pages holding noise or nothing */
    SLOT_OWNED,  /* one thread prepares or retires it; no secret in it */
    SLOT_LIVE,   /* may hold a secret */
    SLOT_LOST    /* never to be used again */
};

/* What the pages of a slot hold when it is taken: noise, zeros, or the canary of an arena that
 * closed, all over them. */
enum slot_holds { HOLDS_NOISE, HOLDS_ZEROS, HOLDS_CANARY };

/* The slot word, from the lowest bit: state, busy, the pages' access, protections
 * granted, dropped, gone, pins, the access that the owner wants, pooled and, of a parked one,
 * whether it holds canary; of a free slot, from WORD_NEXT_SHIFT on, the name of the next one; of
 * one that is busy and may be let go of, in place of the pins and at the end, whose it is. A
 * wiper lifts the access and leaves what is wanted as it is, so that putting it back never undoes
 * what the owner did meanwhile. */
#define WORD_STATE 0x7u
#define WORD_BUSY 0x8u
#define WORD_ACCESS_SHIFT 4
#define WORD_ACCESS (0x3u << WORD_ACCESS_SHIFT) /* all of it: nobody knows */
#define WORD_GRANTED_SHIFT 5 /* SA_LOCK, SA_SECRETMEM, SA_NODUMP at bits 6 to 8 */
#define WORD_GRANTED ((uint64_t)(SA_LOCK | SA_SECRETMEM | SA_NODUMP) << WORD_GRANTED_SHIFT)
#define WORD_DROPPED 0x200u /* a wiper has to replace the pages by inaccessible ones */
#define WORD_GONE 0x400u    /* and has done so */
#define WORD_PIN 0x800u
#define WORD_PINS (0x3ffu * WORD_PIN)
#define WORD_WANTED_SHIFT 21
#define WORD_WANTED (0x3u << WORD_WANTED_SHIFT)
#define WORD_POOLED 0x800000u /* a pool cut it into cells; while live */
#define WORD_CANARY 0x1000000u
#define WORD_TOUCHED 0x1000000u /* of a busy one: a handler let go of it, and holds it again */
#define WORD_NEXT_SHIFT 24
#define WORD_HOLDER (WORD_PINS | ~(uint64_t)0 << WORD_HOLDER_SHIFT)
#define WORD_HOLDER_SHIFT 25

static inline uint64_t word_of(enum slot_state state, enum os_access access, unsigned granted)
{
    return (uint64_t)state | (uint64_t)access << WORD_ACCESS_SHIFT |
           (uint64_t)access << WORD_WANTED_SHIFT | (uint64_t)granted << WORD_GRANTED_SHIFT;
}
static inline enum slot_state word_state(uint64_t h) { return (enum slot_state)(h & WORD_STATE); }
static inline enum os_access word_access(uint64_t h)
{
    return (enum os_access)((h & WORD_ACCESS) >> WORD_ACCESS_SHIFT);
}
static inline enum os_access word_wanted(uint64_t h)
{
    return (enum os_access)((h & WORD_WANTED) >> WORD_WANTED_SHIFT);
}
static inline uint64_t word_with(uint64_t h, enum os_access access, enum os_access wanted)
{
    return (h & ~(uint64_t)(WORD_ACCESS | WORD_WANTED)) | (uint64_t)access << WORD_ACCESS_SHIFT |
           (uint64_t)wanted << WORD_WANTED_SHIFT;
}
static inline unsigned word_granted(uint64_t h)
{
    return (unsigned)((h & WORD_GRANTED) >> WORD_GRANTED_SHIFT);
}

/* Of a live one that nobody holds or pins. */
static inline bool word_is_quiet(uint64_t h)
{
    return word_state(h) == SLOT_LIVE && !(h & (WORD_BUSY | WORD_PINS));
}

/* What a thread leaves in a word: no two lie within 64 bytes, or above 2^55. */
static inline uint64_t word_holder(uintptr_t thread)
{
    return ((uint64_t)(thread >> 6) * WORD_PIN & WORD_PINS) | (uint64_t)(thread >> 16)
                                                                  << WORD_HOLDER_SHIFT;
}

static inline _Atomic uint64_t *slot_word(struct slot s) { return &s.region->words[s.index].word; }

/* The arena whose own slot it is, for walks over the table with the vault's lock held: it
 * is taken out under that lock before the arena can go. [any] */
static inline void slot_set_owner(struct slot s, struct sa_arena *owner)
{
    atomic_store_explicit(&s.region->owners[s.index], owner, memory_order_release);
}

static inline struct sa_arena *slot_owner(struct slot s)
{
    return atomic_load_explicit(&s.region->owners[s.index], memory_order_acquire);
}

static inline struct slot_cipher *slot_cipher(struct slot s) { return &s.region->ciphers[s.index]; }

static inline bool slot_is(struct slot a, struct slot b)
{
    return a.region == b.region && a.index == b.index;
}

/* First data byte. [signal] */
static inline uint8_t *slot_data(struct slot s)
{
    size_t page = os_page_size();
    return atomic_load_explicit(&s.region->base, memory_order_relaxed) + page +
           (size_t)s.index * (s.region->data + page);
}

/* Wipes begun and ended so far: content is whole as long as this stays the same,
 * and a wipe in progress counts from its first byte. [signal] */
static inline uint64_t slot_generation(struct slot s)
{
    return atomic_load(&s.region->words[s.index].generation);
}

/* A look at whole pages, for those that may ever have held anything. The caller fills in the
 * first three; `locked`: they are, or are secretmem. */
enum { SLOT_PAGES = 512 }; /* asked about in one call */
struct slot_pages {
    uint8_t *at;
    size_t bytes;
    bool locked;
    bool known;
    size_t next;
    unsigned char touched[SLOT_PAGES];
};

/* The next of those pages: its offset. Where nobody can tell, it is each. False: no more.
 * [signal] */
bool slot_next_touched(struct slot_pages *p, size_t *offset);

/* Around the pass of a handler: let go of a slot that the thread of that number, the caller's, held
 * when it was interrupted, since another handler may wait for it, and we for one of that handler's
 * thread. True: it was held, and is to be held again, so that the thread can go on; but a wiper that
 * is kept in the middle is waited for for a second alone, as it may wait for us. [signal] */
SA_MUST_USE bool slot_let_go(struct slot s, uintptr_t thread);
void slot_hold_again(struct slot s, uintptr_t thread);

/* Overwrite a live slot whole, whatever its access; it is left writable. False:
 * it was not live. Waits for a busy slot; but if its access is being changed, for a second, and
 * then its pages are dropped: who changes it may be kept by a handler that waits for us. [signal] */
bool slot_wipe(struct slot s);

/* Whether somebody has changed a slot's access for a while already, rather than just now. [any] */
bool slot_is_kept(struct slot s);

/* The same as slot_wipe, however long it takes, and give the pages back the access that their
 * owner wants. [any] */
bool slot_wipe_and_restore(struct slot s);

/* The next where others are at the slot, or the system refuses. `held`: the word, if the slot is held
 * and the access was asked for already, which came to `error`; else 0. [any] */
SA_MUST_USE int slot_set_access_slowly(struct slot s, enum os_access access, uint64_t held,
                                       int error);

/* Change the access of a live slot of ours, which nobody else retires meanwhile; waits for wipers
 * and other owners. Returns 0 or an errno with the access as it was. [any] */
SA_MUST_USE SA_INLINE int slot_set_access(struct slot s, enum os_access access)
{
    _Atomic uint64_t *word = slot_word(s);
    uint64_t h = atomic_load(word), now, held = h | WORD_BUSY | word_holder(os_thread());
    if (!word_is_quiet(h) || h & WORD_DROPPED || word_access(h) == access ||
        atomic_load(&wipers_running) || !atomic_compare_exchange_strong(word, &h, held))
        return slot_set_access_slowly(s, access, 0, 0);
    now = held;
    int error = os_protect(slot_data(s), s.region->data, access);
    if (error || !atomic_compare_exchange_strong(word, &now, word_with(h, access, access)))
        return slot_set_access_slowly(s, access, held, error);
    return 0;
}

/* Of a slot that this thread owns, so that nobody else writes its word. */
SA_INLINE void slot_set_owned(struct slot s, enum os_access access, bool canary)
{
    uint64_t h = atomic_load_explicit(slot_word(s), memory_order_relaxed) & ~(uint64_t)WORD_CANARY;
    h = word_with(h, access, access) | (canary ? WORD_CANARY : 0);
    atomic_store_explicit(slot_word(s), h, memory_order_release);
}

/* Why the access of a slot's pages was refused, and what would help. [any] */
SA_COLD struct sa_why slot_refused(int error);

/* Whether the owner has at least that access, though a wiper may lift it just now. [any] */
static inline bool slot_allows(struct slot s, enum os_access access)
{
    return word_wanted(atomic_load(slot_word(s))) >= access;
}

/* A live slot's pages were granted more or less, of LOCK. False: it is not live. [any] */
bool slot_set_locked(struct slot s, bool locked);

/* Make a slot of ours live, so that wipers see it, before it gets its first
 * secret byte. [any] */
void slot_publish(struct slot s, bool pooled);

/* Take a live slot whose bytes are noise out of the registry; waits for wipers.
 * False: its pages were dropped. [any] */
bool slot_retire(struct slot s);

/* ---- copying from slot to slot --------------------------------------------- */

/* Hold one or two slots busy, all signals masked into *mask. `to` may be OWNED:
 * it then becomes live and busy, or with slot_unlock_pair(..., false) owned again. It
 * returns false, with nothing held, where a wiper or another owner is in the way:
 * wait with slot_wait_clear() and try again. `from` may equal `to`. [any] */
bool slot_lock_pair(struct slot from, struct slot to, sigset_t *mask);
void slot_unlock_pair(struct slot from, struct slot to, bool keep, const sigset_t *mask);
void slot_wait_clear(unsigned turn);

/* The same for one slot that is only read from, out of the vault. [any] */
bool slot_lock_one(struct slot s, sigset_t *mask);
void slot_unlock_one(struct slot s, const sigset_t *mask);

/* A wiper that passes over all slots says so before and after: meanwhile no copy
 * from slot to slot begins. [signal] */
void wipers_enter(void);
void wipers_leave(void);

/* How often one has begun, in this process and those it was forked from. [any] */
uint64_t wipers_passes(void);

/* Wait until no such wiper runs: what is stored from here on either comes
 * after it or is seen by it. [any] */
void wipers_wait(void);

/* In a forked child: no wiper of the parent's runs here. */
void wipers_forked(void);

#endif
