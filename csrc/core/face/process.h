/* Calls that concern the whole process: what wipes, what is required, what there is. */
#ifndef SECALLOC_FACE_PROCESS_H
#define SECALLOC_FACE_PROCESS_H

#include "face/types.h"

/* Overwrite any writable memory with the current noise. [any] */
SA_MUST_USE enum sa_code sa_clear(void *p, size_t n, struct sa_why *why);

/* Fresh noise from the kernel's entropy; before first use it does nothing. [any] */
SA_MUST_USE enum sa_code sa_rekey(struct sa_why *why);

/* Wipe every arena, write the marker 'L', rekey. *wiped counts the arenas. When
 * no entropy is to be had all is wiped and the failure returned. [any] */
SA_MUST_USE enum sa_code sa_lockdown(size_t *wiped, struct sa_why *why);

/* The same in three steps on one thread, for a caller whose own lock keeps its other threads from
 * reading arenas. The caller holds that lock in the first two steps. The second step wipes all
 * arenas up to SA_LOCKDOWN_SMALL bytes. The last may wait for other threads. The caller must not
 * wait for its lock before the last, as CPython's threads end where they wait for the GIL of an
 * interpreter that ends. Where the first step fails there are no others. SA_BUSY: another lockdown
 * is under way, and the fourth call waits for its end. [any] */
#define SA_LOCKDOWN_SMALL ((size_t)64 << 20)
SA_MUST_USE enum sa_code sa_lockdown_begin(struct sa_why *why);
size_t sa_lockdown_small(void); /* slots wiped, to be passed on */
SA_MUST_USE enum sa_code sa_lockdown_end(size_t slots, size_t *wiped, struct sa_why *why);
/* The same, but with no marker to the default descriptor. */
SA_MUST_USE enum sa_code sa_lockdown_end_quietly(size_t slots, size_t *wiped, struct sa_why *why);
void sa_lockdown_wait(void);

/* Whether who started the process has fewer privileges than it: the environment is then that
 * one's word. [any] */
bool sa_is_raised(void);

/* Zero the values of a variable: in all entries of that name in the C environment, and in the
 * environment that the process began with, as the kernel shows it. No entry is removed. Other
 * threads must not change the environment meanwhile. [any] */
void sa_environ_wipe(const char *name);

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

/* Whether sealing encrypts from now on. Where it does, the bytes that the keys come of are locked
 * now: failing, nothing changed. *before: what held. [any] */
SA_MUST_USE enum sa_code sa_encrypt_by_default(bool encrypt, bool *before, struct sa_why *why);
bool sa_encrypts(void); /* [any] */

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
bool sa_falls_short(void); /* the same, and it stays untold [any] */

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
    char name[SA_NAME_ROOM];  /* of the arena; empty: it has none, or they are a pool's */
};

/* Tell what lives in this process: up to `room` entries, by address in each size class,
 * large ones and pools last. Returns how many there are. No two are of the same instant,
 * and what comes or goes meanwhile may be left out. `out` may be NULL with no room. [any] */
SA_MUST_USE size_t sa_census(struct sa_live *out, size_t room);

/* The name of an arena in a pool, and the first of the pages that it shares with others. */
struct sa_named {
    uintptr_t pages;
    char name[SA_NAME_ROOM];
};

/* Tell of the arenas in pools that have a name, as sa_census does of pages: those of one run of
 * pages one after another, by address. Returns how many there are. [any] */
SA_MUST_USE size_t sa_census_names(struct sa_named *out, size_t room);

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

/* ---- clocks and pages ------------------------------------------------------- */

/* Give up the processor while another thread is at work: at once where `turn` is small,
 * then for a millisecond. [any] */
void sa_pause(unsigned turn);

/* Milliseconds of a clock that only runs on. [any] */
int64_t sa_now_ms(void);

/* The same of one that runs on while the machine sleeps. */
int64_t sa_since_boot_ms(void);

/* Bytes in a page. [any] */
size_t sa_page_size(void);

#endif
