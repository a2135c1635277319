/* The life of an arena: made, filled, lent, sealed, moved, closed. */
#ifndef SECALLOC_FACE_ARENA_H
#define SECALLOC_FACE_ARENA_H

#include "face/types.h"

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

/* What a new arena is to hold. */
struct sa_content {
    const void *from; /* a copy of as many bytes there, which is no arena's memory */
    bool random;      /* else the kernel's entropy; else zeros, inside a fill */
};

/* The same of content, outside of any fill: usable at once, or wiped where a wipe came in
 * between. Zeros are for sa_arena_make_with's fill. [any] */
SA_MUST_USE enum sa_code sa_arena_make_of(struct sa_arena *a, size_t size, size_t align,
                                          struct sa_content content, unsigned required,
                                          struct sa_why *why);

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
 * which is for the thread that fills. [any] */
SA_MUST_USE enum sa_code sa_export(struct sa_arena *a, bool filling, uint8_t **bytes);
void sa_unexport(struct sa_arena *a);

/* Lend them as to a thread that fills nothing; *to_write: as sa_may_store. [any] */
SA_MUST_USE enum sa_code sa_export_whole(struct sa_arena *a, uint8_t **bytes, bool *to_write);

/* Whether the one who exported it may store to it: not where it is open for reading
 * alone. [any] */
bool sa_may_store(struct sa_arena *a);

/* Overwrite the content with noise; the arena reads as wiped. [any] */
SA_MUST_USE enum sa_code sa_wipe(struct sa_arena *a, struct sa_why *why);

/* Make the pages inaccessible: reading and lending are SA_SEALED, a stray pointer
 * faults. Harmless when repeated. SA_BUSY: exports; SA_FILLING: inside a block; SA_POOLED.
 * Wiping lifts it for as long as that takes. As sa_encrypt_by_default() says. [any] */
SA_MUST_USE enum sa_code sa_seal(struct sa_arena *a, struct sa_why *why);

/* The same, the content being encrypted by ChaCha20-Poly1305 (RFC 8439) for as long as it is
 * sealed and not open, or not; one that is sealed already is made so, but for SA_SEAL_BY_DEFAULT.
 * SA_TOO_LARGE: over SA_ENCRYPTED_MOST bytes. Failing, SA_UNPROTECTED among others, nothing
 * changed. Opening it may be refused from then on, and it stays sealed: SA_UNPROTECTED, it cannot
 * be locked, which is required. Ciphertext that was written to ends the process as a damaged
 * canary does. [any] */
enum sa_encryption { SA_SEAL_BY_DEFAULT, SA_SEAL_PLAIN, SA_SEAL_ENCRYPTED };
#define SA_ENCRYPTED_MOST ((size_t)1 << 20)
SA_MUST_USE enum sa_code sa_seal_as(struct sa_arena *a, enum sa_encryption how, struct sa_why *why);

/* Whether the content is ciphertext just now. [any] */
bool sa_is_encrypted(struct sa_arena *a);

/* One open block. Its memory is the caller's: the block ends before that or the arena goes. All in
 * it is private to the core. */
struct sa_block {
    struct sa_arena *arena;
    struct sa_block *next, **from; /* of those in the same bucket; see block.c */
    uintptr_t thread;              /* that began it */
    uint64_t generation;                /* wipe count then */
    bool change;
};

/* Note from now on when the arena is used, now being the first time, or not any more: whenever its
 * content is read, written or lent, a block begins or ends, or a buffer is given back. [any] */
void sa_watch(struct sa_arena *a, bool whether);

/* Who uses it now, and when it was used last, by sa_since_boot_ms(). False: it is closed, or of
 * another process. [any] */
struct sa_uses {
    bool lent, open; /* buffers; blocks and a fill, those of its pool not among them */
    int64_t last;
};
SA_MUST_USE bool sa_uses(struct sa_arena *a, struct sa_uses *out);

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
 * once: a reader finds the old or the new. The twin gets what was there. A wiped `a` is
 * usable then, a sealed one stays sealed. SA_BUSY: exports; SA_FILLING: a fill, or blocks of
 * usable content. SA_WIPED: the twin was. Failing, nothing changed. [any] */
SA_MUST_USE enum sa_code sa_replace(struct sa_arena *a, struct sa_arena *fresh, struct sa_why *why);

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

/* ---- what it is called ------------------------------------------------------------ */

/* Give it a name for people, which a census and messages show: `n` bytes of UTF-8 without a
 * NUL, fewer than SA_NAME_ROOM, copied; NULL takes it away, and frees the copy. It stays when
 * the arena is closed: who lets the memory of an arena go takes its name away first. SA_BAD_RANGE:
 * too long. SA_NO_MEMORY: it has the name that it had. [any] */
SA_MUST_USE enum sa_code sa_set_name(struct sa_arena *a, const char *name, size_t n,
                                     struct sa_why *why);

/* Its name as a string, empty where it has none. [any] */
void sa_name(struct sa_arena *a, char out[SA_NAME_ROOM]);

/* Check the canary: on damage every arena is wiped, the marker is written and
 * the process aborts. [any] */
SA_MUST_USE enum sa_code sa_check(struct sa_arena *a);

/* Wipe and give back; harmless when repeated and in a forked child. While
 * exports last the pages stay mapped, holding noise. Checks the canary. [any] */
void sa_close(struct sa_arena *a);

/* ---- what an arena is ---------------------------------------------------- */

/* SA_CLOSED or SA_FORKED, where nothing else can be asked of it; else SA_OK. [any] */
SA_MUST_USE enum sa_code sa_reachable(struct sa_arena *a);

enum sa_state { SA_USABLE, SA_IS_WIPED, SA_IS_SEALED, SA_IS_CLOSED, SA_IS_FORKED };
enum sa_state sa_state_of(struct sa_arena *a);          /* [any] */
bool sa_is_wiped(struct sa_arena *a);                   /* nothing to read, sealed or not [any] */
unsigned sa_protection_of(struct sa_arena *a); /* sa_protection bits; 0 once gone [any] */
uintptr_t sa_address_of(struct sa_arena *a); /* of the first byte; 0 once gone [any] */

/* Whether [p, p + n) lies inside one live arena's pages or cell. An empty
 * range counts if p does, or is the end of its pages. [any] */
bool sa_is_secure(const void *p, size_t n);

#endif
