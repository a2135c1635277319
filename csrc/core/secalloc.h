/* The core's public face: guarded, locked memory for secrets.
 *
 * Pure C11, knows nothing of Python. Sizes and offsets are bytes. Functions
 * marked [any] may be called from any thread at any time outside a signal
 * handler; functions marked [signal] may also run inside one: they take no
 * lock, allocate nothing and save errno.
 *
 * Whoever calls owns every struct it passes; the core keeps no pointer to one
 * beyond the call, save where a line says so.
 */
#ifndef SECALLOC_H
#define SECALLOC_H

#if !defined(__STDC_VERSION__) || __STDC_VERSION__ < 201112L || defined(__STDC_NO_ATOMICS__)
#error secalloc needs a C11 compiler with atomics: gcc 4.9, clang 3.6, or later.
#endif

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SA_MUST_USE __attribute__((warn_unused_result))

/* What runs between a fault and the event in the parent: compilers put it side by side.
 * It runs once, after a sleep, and each page of code entered then costs about a
 * microsecond. */
#define SA_HOT __attribute__((hot))

/* What a call came to. Everything but SA_OK left things as they were. */
enum sa_code {
    SA_OK = 0,
    SA_NO_MEMORY,    /* address space, memory maps or memory ran out */
    SA_OS_ERROR,     /* a system call failed: struct sa_why tells which */
    SA_BAD_ALIGN,    /* not a power of two up to the page size */
    SA_BAD_RANGE,    /* offset or length outside the arena */
    SA_WIPED,        /* the content is noise until it is written again */
    SA_SEALED,       /* the pages are inaccessible */
    SA_READ_ONLY,    /* open for reading alone */
    SA_POOLED,       /* shares its pages: its pool is sealed and opened instead */
    SA_CLOSED,       /* the arena was closed */
    SA_FORKED,       /* the arena belongs to the process this one came from */
    SA_BUSY,         /* exported buffers forbid it */
    SA_FILLING,      /* a fill or an open block is under way */
    SA_CROWDED,      /* a counter is full: too many buffers or blocks at once */
    SA_UNPROTECTED,  /* new pages would protect less than is required, or than the old ones
                        do: struct sa_why tells */
    SA_BAD_SIGNAL,   /* its default action does not end the process */
    SA_WRONG_PROCESS /* memory shared with the parent (vfork): nothing is done */
};

/* Filled in where a system call or a limit is to blame; otherwise untouched. */
struct sa_why {
    const char *call; /* name of what failed, static; NULL: no system call did */
    int error;        /* its errno, 0 if none */
    const char *mend; /* what would help, static; NULL: nothing known */
    const char *limit; /* name of the limit that refused, static; NULL: none did */
    size_t allowed;    /* what that limit allows: bytes, or maps */
    const char *whose; /* use counts against it, static; NULL: this process's */
    unsigned missing;  /* sa_protection bits that SA_UNPROTECTED is about */
};

/* What the kernel granted an arena. */
enum sa_protection {
    SA_GUARD = 1,     /* inaccessible pages on both sides */
    SA_LOCK = 2,      /* never written to swap */
    SA_SECRETMEM = 4, /* unmapped from the kernel's own address space */
    SA_NODUMP = 8,    /* left out of core files */
    SA_NOFORK = 16    /* not inherited by a child process */
};

/* An arena as its owner holds it. Everything is private to the core. Zeroed
 * memory is a closed arena. It must stay where it is while the arena lives. */
struct sa_region;
struct sa_slab;
struct sa_arena {
    _Atomic uint64_t use;              /* exports, readers, blocks, state */
    _Atomic uint64_t good;             /* wipe count at which the content is whole, or is to be
                                          when the fill under way ends */
    _Atomic(struct sa_region *) region;
    _Atomic uint32_t slot;
    uint32_t epoch;                    /* process identity that made it */
    size_t size;
    size_t tail;                       /* from the last byte to the end of the slot's data */
    _Atomic uint64_t wipes;            /* added to its slot's count: moving changes neither sum */
    _Atomic(struct sa_slab *) slab;    /* of a pooled arena; else NULL */
    uint32_t cell;                     /* its place there */
};

/* ---- life of an arena ---------------------------------------------------- */

/* Make an arena of `size` bytes (0 is valid), its start aligned to `align`, a
 * power of two up to the page size. It is born inside a fill: its bytes are
 * zero, may be stored to, and become readable with sa_fill_end. Arms the fatal
 * signals at the first call. SA_NO_MEMORY, SA_OS_ERROR, SA_BAD_ALIGN: nothing
 * stays mapped. [any] */
SA_MUST_USE enum sa_code sa_arena_make(struct sa_arena *a, size_t size, size_t align,
                                       struct sa_why *why);

/* The same with the sa_protection bits in `required`, and those of sa_require(), or not at
 * all: SA_UNPROTECTED. No shortfall is told of an arena that was refused. [any] */
SA_MUST_USE enum sa_code sa_arena_make_with(struct sa_arena *a, size_t size, size_t align,
                                            unsigned required, struct sa_why *why);

/* Begin writing the whole anew: the content turns to noise and the arena reads as wiped
 * until the fill has ended well. One at a time: SA_FILLING. Over usable content nobody may
 * be reading: SA_BUSY, exports; SA_FILLING, open blocks. [any] */
SA_MUST_USE enum sa_code sa_fill_begin(struct sa_arena *a, struct sa_why *why);

/* End a fill. With `whole` the arena becomes usable, unless a wipe passed since the fill
 * began: then noise is left and SA_WIPED is returned. SA_FORKED and SA_CLOSED say that it
 * no longer matters. [any] */
SA_MUST_USE enum sa_code sa_fill_end(struct sa_arena *a, bool whole);

/* Copy `n` bytes from `src` to `offset`. Works on a usable arena and in a fill.
 * A source inside an arena is copied in a way no wipe can fall behind; the
 * caller keeps that source borrowed or exported. Overlap is allowed. [any] */
SA_MUST_USE enum sa_code sa_store(struct sa_arena *a, size_t offset, const void *src, size_t n);

/* Overwrite `n` bytes at `offset` with noise, as content: the arena stays what it is. [any] */
SA_MUST_USE enum sa_code sa_store_noise(struct sa_arena *a, size_t offset, size_t n);

/* Let the kernel's entropy fill the whole arena, inside a fill. [any] */
SA_MUST_USE enum sa_code sa_store_random(struct sa_arena *a, struct sa_why *why);

/* Read up to `n` bytes, a page at most, to `to`, memory that the caller may store to: by way
 * of a locked page, wiped after, as the kernel cannot pin secretmem for the read of a file past
 * its cache (O_DIRECT, FUSE with direct I/O: EFAULT). *got: how many came, 0: the end.
 * SA_OS_ERROR: EINTR among others. [any] */
SA_MUST_USE enum sa_code sa_read_by_page(int fd, void *to, size_t n, size_t *got,
                                         struct sa_why *why);

/* Lend the bytes for a short look by our own code: *bytes stays valid until
 * sa_return. Lending never makes sa_rotate refuse; it waits. Between the two no
 * call may be made that can wait or run foreign code. sa_return gives SA_WIPED
 * if a wipe passed meanwhile, so that what was read means nothing. [any] */
SA_MUST_USE enum sa_code sa_borrow(struct sa_arena *a, const uint8_t **bytes);
SA_MUST_USE enum sa_code sa_return(struct sa_arena *a);

/* Lend the bytes to others for as long as they like; they must be given back
 * once with sa_unexport, on any thread. Inside a fill only with `filling`,
 * which is for the one who fills. [any] */
SA_MUST_USE enum sa_code sa_export(struct sa_arena *a, bool filling, uint8_t **bytes);
void sa_unexport(struct sa_arena *a);

/* Whether the one who exported it may store to it: not where it is open for reading
 * alone. [any] */
bool sa_may_store(struct sa_arena *a);

/* Overwrite the content with noise; the arena reads as wiped. [any] */
SA_MUST_USE enum sa_code sa_wipe(struct sa_arena *a, struct sa_why *why);

/* Make the pages inaccessible: reading and lending are SA_SEALED, a stray pointer
 * faults. Harmless when repeated. SA_BUSY: exports; SA_FILLING: inside a block; SA_POOLED.
 * Wiping lifts it for as long as that takes. [any] */
SA_MUST_USE enum sa_code sa_seal(struct sa_arena *a, struct sa_why *why);

/* One open block. Its memory is the caller's, who ends the block before either goes; all in
 * it is private to the core. */
struct sa_block {
    struct sa_arena *arena;
    struct sa_block *next, **from; /* of those in the same bucket; see block.c */
    uintptr_t thread;              /* that began it */
    uint64_t stamp;                /* wipe count then */
    bool change;
};

/* Begin a block: open for reading, or with `change` for writing too, sealed or not, until
 * sa_open_end; open for reading alone the pages are read-only, unless exports that were
 * writable last. Blocks are counted, a block for changing outweighs. SA_WIPED: there is
 * nothing to read. SA_SEALED: in a sealed pool. [any] */
SA_MUST_USE enum sa_code sa_open(struct sa_arena *a, bool change, struct sa_block *block,
                                 struct sa_why *why);

/* End it, on any thread: the access before it. SA_WIPED, SA_CLOSED: anything wiped the arena
 * meanwhile, so that what was computed inside may have been computed from noise. SA_BUSY:
 * the access before only when the last export ends. The block has ended in any case. [any] */
SA_MUST_USE enum sa_code sa_open_end(struct sa_block *block, struct sa_why *why);

/* Move the content to fresh pages under new noise and drop the old ones. Waits up to
 * `timeout_ms`, as with a turn below, for exports and a fill to end, then SA_BUSY or
 * SA_FILLING. SA_UNPROTECTED: the new pages would protect less. Failing, nothing changed. [any] */
SA_MUST_USE enum sa_code sa_rotate(struct sa_arena *a, uint32_t timeout_ms, struct sa_why *why);

/* Make `fresh` an arena as `a` is: of its size, on pages of its own or in its pool, inside
 * its first fill. SA_UNPROTECTED: it would be protected less than `a` is. Failing, nothing
 * was made. For sa_replace; sa_close ends it. [any] */
SA_MUST_USE enum sa_code sa_twin(struct sa_arena *a, struct sa_arena *fresh, struct sa_why *why);

/* Put the content of such a twin, which was filled and nobody else knows, in place of a's at
 * once: whoever looks finds the old or the new. The twin gets what was there. A wiped `a` is
 * usable then, a sealed one stays sealed. SA_BUSY: exports; SA_FILLING: a fill, or blocks of
 * usable content. SA_WIPED: the twin was. Failing, nothing changed. [any] */
SA_MUST_USE enum sa_code sa_replace(struct sa_arena *a, struct sa_arena *fresh,
                                    struct sa_why *why);

/* ---- who waits comes first ------------------------------------------------------ */

/* A turn keeps newcomers, exports and blocks that are about to begin, away from an arena
 * while somebody waits for those that last. Zeroed, it is none. */
struct sa_turn {
    unsigned place; /* number + 1 in the table of turns; 0: none */
};

/* Take the turn, or stand behind another's, and wait until nothing lasts that forbids a move
 * of `a`, with `blocks` open blocks too, but `ms` milliseconds at most: then the move may be
 * tried again. The turn stays the caller's; it lapses by itself a second after. [any] */
void sa_turn_wait(struct sa_arena *a, struct sa_turn *turn, bool blocks, uint32_t ms);
void sa_turn_end(struct sa_arena *a, struct sa_turn *turn); /* [any] */

/* Whether the calling thread is such a newcomer: it has no block of the arena open, and the
 * turn is another thread's. And wait `ms` milliseconds at most while it is. [any] */
bool sa_held_off(struct sa_arena *a);
void sa_stand_by(struct sa_arena *a, uint32_t ms);

/* Check the canary: on damage every arena is wiped, the marker is written and
 * the process aborts. [any] */
SA_MUST_USE enum sa_code sa_check(struct sa_arena *a);

/* Wipe and give back; harmless when repeated and in a forked child. While
 * exports last the pages stay mapped, holding noise. Checks the canary. [any] */
void sa_close(struct sa_arena *a);

/* ---- pools: many small arenas on few pages ---------------------------------- */

struct sa_pool;

/* Make an empty pool, to be ended with sa_pool_free. [any] */
SA_MUST_USE enum sa_code sa_pool_make(struct sa_pool **out, struct sa_why *why);

/* As sa_arena_make, in the pool: on pages shared with its other arenas, start
 * aligned to 16 where the size allows, a canary behind the bytes. No cell falls short of a
 * protection while one that does not is free, or to be had. SA_CLOSED: the pool is. The arena must be closed before sa_pool_free. [any] */
SA_MUST_USE enum sa_code sa_pool_alloc(struct sa_pool *pool, struct sa_arena *a, size_t size,
                                       struct sa_why *why);

/* Close all arenas of the pool, and the pool to new ones; harmless when repeated
 * and in a forked child. [any] */
void sa_pool_close(struct sa_pool *pool);

/* sa_seal, sa_open and sa_open_end of all its pages at once. Sealed, or open for reading
 * alone, it makes no arenas: SA_SEALED, SA_READ_ONLY. [any] */
SA_MUST_USE enum sa_code sa_pool_seal(struct sa_pool *pool, struct sa_why *why);
/* The block's end is SA_WIPED where, since *stamp was told, a lockdown passed or an arena
 * was wiped of which buffers were exported. */
SA_MUST_USE enum sa_code sa_pool_open(struct sa_pool *pool, bool change, uint64_t *stamp,
                                      struct sa_why *why);
SA_MUST_USE enum sa_code sa_pool_open_end(struct sa_pool *pool, bool change, uint64_t stamp,
                                          struct sa_why *why);

/* Close, and free what the pool itself took. [any] */
void sa_pool_free(struct sa_pool *pool);

struct sa_pool_status {
    size_t arenas; /* live */
    size_t bytes;  /* their sizes together */
    size_t mapped; /* bytes of data pages held for them */
    bool closed;   /* or its process is not this one */
    bool sealed;   /* and not open */
};
void sa_pool_status(struct sa_pool *pool, struct sa_pool_status *out); /* [any] */

/* ---- handing a secret to another process --------------------------------------- */

/* Both sides talk over a connected stream socket, which stays the caller's and is of no
 * use any more after a failure. Where both have secretmem the content is copied once,
 * straight from the one's arena into pages of the other's; else it goes through the
 * socket. Nothing stays mapped or open that is not an arena's. Wait `timeout_ms` at
 * most. SA_OS_ERROR: ETIMEDOUT, ECONNRESET where the other side gave up, EPROTO where it
 * talks nonsense. */

/* Give a copy to whoever calls sa_take_over at the other end. SA_WIPED and others as
 * for sa_borrow: it got nothing, and is told. [any] */
SA_MUST_USE enum sa_code sa_hand_over(struct sa_arena *a, int sock, uint32_t timeout_ms,
                                      struct sa_why *why);

/* Make an arena of `size` bytes of what the other end hands over. *shared: it came by
 * way of secretmem. Failing, nothing stays mapped. [any] */
SA_MUST_USE enum sa_code sa_take_over(struct sa_arena *a, size_t size, int sock,
                                      uint32_t timeout_ms, bool *shared, struct sa_why *why);

/* ---- finding copies of a secret ------------------------------------------------- */

/* How a copy is written. Text is the secret's, read as UTF-8, where that is not ASCII. */
enum sa_form {
    SA_PLAIN,
    SA_HEX,        /* small letters */
    SA_HEX_UPPER,
    SA_BASE64,     /* at any of the three places where it can begin in a longer text */
    SA_BASE64_URL,
    SA_UTF16,      /* two bytes, or four, for each byte or character, as a str holds them */
    SA_UTF32,
    SA_LATIN1,     /* text alone: one byte for each character */
    SA_IPAD,       /* each byte xor 0x36, as HMAC begins with (RFC 2104) */
    SA_OPAD        /* and 0x5c */
};

/* What kind of memory it lies in: a guess. */
enum sa_place { SA_IN_MEMORY, SA_ON_STACK, SA_IN_HEAP, SA_IN_FILE };

struct sa_copy {
    uintptr_t address;
    size_t length;     /* bytes in memory that are as the secret's form has them */
    size_t whole;      /* bytes that all of the form takes */
    enum sa_form form;
    enum sa_place place;
    uintptr_t mapping; /* where the mapping begins */
    char name[256];    /* its name, cut short; "": none */
};

#define SA_SECRET_LEAST 8 /* bytes: shorter ones stand everywhere by chance */

/* Tells how far a search has come, every 64 MiB; false ends it. Called on the searching
 * thread with nothing held; it may wait. */
typedef bool (*sa_progress)(void *context, size_t done, size_t total);

/* Bytes of working memory for sa_find of this secret. SA_BAD_RANGE: fewer than
 * SA_SECRET_LEAST bytes; SA_BAD_ALIGN: it is of one byte, or nearly all zero bytes. [any] */
SA_MUST_USE enum sa_code sa_find_room(struct sa_arena *secret, bool partial, size_t *bytes);

/* Search all readable memory of the process, our own reservations left out, for copies
 * of a secret: with `partial` also for parts of half its length, but SA_SECRET_LEAST bytes
 * at least, and for other forms and their parts, unless a part hardly varies. Neither
 * arena may be known to others: `work`, zeroed, aligned to 64 and of the size that
 * sa_find_room told, gets copies of what is looked at. Fills in up to `room` copies by
 * address and tells how many; one that lies within another is left out. Ended by
 * `progress` (or NULL) it returns SA_OK too. Pages that vanish meanwhile or cannot be read
 * are passed over; those never touched stay so. SA_WIPED: a lockdown came. SA_OS_ERROR:
 * memory could not be read at all. [any] */
SA_MUST_USE enum sa_code sa_find(struct sa_arena *secret, struct sa_arena *work, bool partial,
                                 struct sa_copy *copies, size_t room, size_t *count,
                                 sa_progress progress, void *context, struct sa_why *why);

/* The last of `count` words that stands at a multiple of eight before `address`, at most
 * a work arena's size away: *which of them, at *at, and around it the words before (0:
 * there is none) and after. Memory is read by way of `work`, as above. False: none does. [any] */
bool sa_look_back(struct sa_arena *work, uintptr_t address, const uint64_t *words, size_t count,
                  size_t *which, uintptr_t *at, uint64_t around[2]);

/* Search as sa_find does for one word; `visit` gets its address, the two words before it,
 * itself and the four after. [any] */
typedef void (*sa_visit)(void *context, uintptr_t at, const uint64_t around[7]);
SA_MUST_USE enum sa_code sa_find_word(struct sa_arena *work, uint64_t word, sa_visit visit,
                                      sa_progress progress, void *context,
                                      struct sa_why *why);

/* ---- what an arena is ---------------------------------------------------- */

enum sa_state { SA_USABLE, SA_IS_WIPED, SA_IS_SEALED, SA_IS_CLOSED, SA_IS_FORKED };
enum sa_state sa_state_of(struct sa_arena *a);          /* [any] */
bool sa_is_wiped(struct sa_arena *a);                   /* nothing to read, sealed or not [any] */
unsigned sa_protection_of(struct sa_arena *a);          /* sa_protection bits; 0 once gone [any] */
uintptr_t sa_address_of(struct sa_arena *a);            /* of the first byte; 0 once gone [any] */

/* Whether [p, p + n) lies inside one live arena's pages or cell. An empty
 * range counts if p does, or is the end of its pages. [any] */
bool sa_is_secure(const void *p, size_t n);

/* ---- the whole process --------------------------------------------------- */

/* Overwrite any writable memory with the current noise. [any] */
SA_MUST_USE enum sa_code sa_clear(void *p, size_t n, struct sa_why *why);

/* Fresh noise from the kernel's entropy; before first use it does nothing. [any] */
SA_MUST_USE enum sa_code sa_rekey(struct sa_why *why);

/* Wipe every arena, write the marker 'L', rekey. *wiped counts the arenas. When
 * no entropy is to be had all is wiped and the failure returned. [any] */
SA_MUST_USE enum sa_code sa_lockdown(size_t *wiped, struct sa_why *why);

/* The same in three steps on one thread, for a caller whose other threads are kept from
 * reading arenas by a lock of its own: it holds that in the second step alone, which wipes
 * all arenas up to SA_LOCKDOWN_SMALL bytes; the first and last may wait for other threads.
 * Where the first fails there are no others. [any] */
#define SA_LOCKDOWN_SMALL ((size_t)64 << 20)
SA_MUST_USE enum sa_code sa_lockdown_begin(struct sa_why *why);
size_t sa_lockdown_small(void); /* slots wiped, to be passed on */
SA_MUST_USE enum sa_code sa_lockdown_end(size_t slots, size_t *wiped, struct sa_why *why);

/* Where the marker goes: a descriptor, or -1 for nowhere. *previous gets the one
 * before, -1 for nowhere. The descriptor stays the caller's. The default is standard error
 * as it was when the library was loaded; nowhere, if that was closed, or is closed by exec
 * and so was opened by the program itself. [any] */
SA_MUST_USE enum sa_code sa_set_lockdown_fd(int fd, int *previous, struct sa_why *why);

/* The same for a descriptor that came over a channel: only the process that took
 * it over writes to it, none that is forked from it. The descriptor stays the
 * caller's. [any] */
SA_MUST_USE enum sa_code sa_take_lockdown_fd(int fd, struct sa_why *why);

/* Standard error was closed when the program began, and what has its number is something
 * else: the default is nowhere. For a library that was loaded later than that. [any] */
void sa_no_standard_error(void);

/* Put the default back, standard error as it was at load, where the marker still goes to
 * a descriptor `fd` that was taken over. [any] */
void sa_leave_lockdown_fd(int fd);

/* Install the handlers for `count` signals, outermost; NULL means the default set. Each must
 * be one whose default action ends the process, else SA_BAD_SIGNAL, and nothing was installed.
 * What somebody handles, or ignores, stays as it is; but not the default set's first seven
 * where they are handled, nor its forced ones where they are ignored. [any] */
SA_MUST_USE enum sa_code sa_arm(const int *signals, size_t count, struct sa_why *why);

/* Put back what was there where ours is still in place, and stay off until
 * sa_arm. [any] */
SA_MUST_USE enum sa_code sa_disarm(struct sa_why *why);

/* Zero the values of a variable: in all entries of that name in the C environment, and in the
 * environment that the process began with, as the kernel shows it. No entry is removed. Other
 * threads must not change the environment meanwhile. [any] */
void sa_environ_wipe(const char *name);

/* Turn a terminal's echo, line editing and signal keys off, once the process is in its
 * foreground. They are on again after sa_echo_back, when the process is stopped until it goes
 * on, and when it dies of a signal that nobody handles or ends. One terminal at a time: EBUSY.
 * EINTR: signals broke it off time and again while output was sent; they may be on still.
 * The descriptor stays the caller's, who closes it after sa_echo_back. [any] */
SA_MUST_USE enum sa_code sa_echo_off(int fd, struct sa_why *why);
/* Restore that terminal and flush what was typed ahead; nothing where another descriptor, or
 * no terminal, is being read. [any] */
void sa_echo_back(int fd);
/* The modes before sa_echo_off, or before the process last went on. [any] */
#define SA_TERMINAL_KEYS 32 /* NCCS of the C libraries, or more */
struct sa_terminal {
    unsigned continued;         /* how often the process stopped and went on, over all calls */
    unsigned long input, local; /* c_iflag and c_lflag */
    unsigned char keys[SA_TERMINAL_KEYS];
};
void sa_echo_before(struct sa_terminal *out);

enum sa_handler_state { SA_HANDLER_OFF, SA_HANDLER_ARMED, SA_HANDLER_SHADOWED };
enum sa_alt_stack { SA_STACK_NONE, SA_STACK_OURS, SA_STACK_FOREIGN, SA_STACK_SMALL };
#define SA_SIGNALS 12 /* armed by default */
#define SA_MOST_SIGNALS 64
struct sa_status {
    size_t arenas;         /* live */
    size_t bytes;          /* their sizes together */
    size_t locked_bytes;   /* what counts against the lock limit, parked pages too */
    size_t lock_limit;     /* of the process; SIZE_MAX: none */
    size_t secretmem_bytes; /* of the locked ones, in secretmem */
    size_t secretmem_limit; /* for those; SIZE_MAX: none */
    bool charges_users;    /* which is the user's, for all processes together */
    bool started;          /* something was mapped */
    bool secretmem;        /* pages mapped last came from memfd_secret */
    int lockdown_fd;       /* -1: nowhere */
    uint64_t rekeys;
    uint64_t lockdowns;
    size_t signal_count;   /* the SA_SIGNALS of the default set, then others that are armed */
    int signals[SA_MOST_SIGNALS];
    enum sa_handler_state handlers[SA_MOST_SIGNALS];
    enum sa_alt_stack alt_stack; /* of the calling thread */
};
void sa_status(struct sa_status *out); /* [any] */

/* Whether arenas made from now on are to lie in secretmem where it is to be had, as they
 * do by default; a pool's pages stay what they are. Returns what held before. [any] */
bool sa_use_secretmem(bool use);

/* Give back all pages that are kept for arenas to come, in pools too: until then secretmem
 * keeps the machine from hibernating. It goes by itself where the last arena is closed, unless
 * that happened within the last second, too. [any] */
void sa_trim(void);

/* Protections, sa_protection bits, that every arena made from now on has, or it is not made.
 * Returns what held before. [any] */
unsigned sa_require(unsigned bits);
unsigned sa_required(void); /* [any] */

/* Whether arenas of this process fell short of protections that the platform has, and nobody
 * was told of those yet: *missing gets the sa_protection bits, each once, *why the call that
 * refused. [any] */
bool sa_shortfall(unsigned *missing, struct sa_why *why);

/* A run of data pages between two guards, as a census finds it. */
struct sa_live {
    uintptr_t pages;      /* the first of them */
    size_t data;          /* their bytes */
    uintptr_t address;    /* first byte of the arena; 0 of a pool's pages and parked ones */
    size_t size;          /* of the arena, or of all that live in a pool's pages */
    size_t arenas;        /* 0: parked, noise or nothing that is kept for the next arena */
    size_t exports;       /* buffers lent out; 0 of a pool's pages */
    unsigned protection;  /* sa_protection bits */
    bool pooled;
    bool wiped;           /* there is nothing to read; false of a pool's pages */
    bool sealed;          /* by its owner, open just now or not; a pool's: and not open */
    bool may_read, may_write; /* what the pages allow, for as long as no wiper lifts it */
};

/* Tell what lives in this process: up to `room` entries, by address in each size class,
 * large ones and pools last. Returns how many there are. No two are of the same instant,
 * and what comes or goes meanwhile may be left out. `out` may be NULL with no room. [any] */
SA_MUST_USE size_t sa_census(struct sa_live *out, size_t room);

/* What sa_harden() came to. */
struct sa_hardening {
    bool no_core_files; /* the limit on core files is 0, soft and hard, for children too */
    bool not_dumpable;  /* Linux's dumpable flag is off: no core file, whatever the limit */
    bool no_debugger;   /* no process without privilege can attach, and none has */
    unsigned refusals;  /* what was refused: */
    struct sa_why refused[3];
};

/* Let this process write no core files and be read by no other one; never undone. Each
 * part is tried whatever becomes of the others; harmless when repeated. [any] */
void sa_harden(struct sa_hardening *out);

/* Linux's dumpable flag: 1 or 0; -1: unknown, or there is no such thing. [any] */
int sa_dumpable(void);

/* Copy up to 512 bytes from where there may be nothing any more. False: there is not. [any] */
SA_MUST_USE bool sa_peek(uintptr_t at, void *out, size_t bytes);

/* Wait until a member of an epoll set, on macOS of a kqueue, can be read or is at its end,
 * for `ms` milliseconds, -1: without a limit. *fd: which, -1: none in time. Returns an
 * errno, EINTR where a signal came. [any] */
SA_MUST_USE int sa_listen(int set, int ms, int *fd);

/* Read one byte from a descriptor that does not wait, or learn that it is at its end.
 * Returns an errno: EAGAIN, there is none. [any] */
SA_MUST_USE int sa_hear(int fd, char *byte, bool *end);

/* Give up the processor while another thread is at work: at once where `turn` is small,
 * then for a millisecond. [any] */
void sa_pause(unsigned turn);

/* Milliseconds of a clock that only runs on. [any] */
int64_t sa_now_ms(void);

/* Bytes in a page. [any] */
size_t sa_page_size(void);

#endif
