/* Everything the core needs of an operating system. What differs is implemented in os/linux/ and
 * os/macos/, what does not in os/posix.c, os/socket.c and os/pipe.c.
 *
 * Addresses and sizes are multiples of os_page_size() unless said otherwise.
 * Calls return 0 or an errno, and leave errno itself alone where they are
 * marked [signal]. None of them logs, retries for ever or aborts.
 */
#ifndef SECALLOC_OS_H
#define SECALLOC_OS_H

#include "secalloc.h"

#include <signal.h>
#include <time.h>

enum os_access { OS_NONE = 0, OS_READ = 1, OS_WRITE = 2 }; /* OS_WRITE reads too */

size_t os_page_size(void); /* [signal] once it was called outside */

/* How many memory maps the process may have. [any] */
size_t os_map_limit(void);

/* Address space that the process may still take; SIZE_MAX: no limit. [any] */
size_t os_address_space_left(void);

/* Raise the soft lock limit to the hard one; failure only leaves it low. [any] */
void os_raise_lock_limit(void);
size_t os_lock_limit(void); /* bytes; SIZE_MAX: none for this process [any] */

/* Find out which optional system calls a sandbox lets live: some are made where it is too late
 * to ask. Cheap when repeated. On Linux a child process may be made for it, unless
 * the second call forbade that: then none is made but those that any filter allows. [any] */
void os_probe(void);
void os_probe_in_child(bool may);

/* ---- address space -------------------------------------------------------- */

/* Inaccessible address space, not locked, not inherited by fork. NULL: refused,
 * *error tells. [any] */
void *os_reserve(size_t bytes, int *error);

/* The same at exactly `at`, only where nothing is mapped, and inherited: a child's
 * children know nothing of it. EEXIST: something is. [any, atfork child] */
int os_reserve_at(void *at, size_t bytes);

/* Drop what is mapped. Accessible pages must hold no secret any more. [any] */
int os_release(void *at, size_t bytes);

/* ---- data pages ----------------------------------------------------------- */

struct os_pages {
    void *at;
    unsigned granted;       /* SA_LOCK, SA_SECRETMEM, SA_NODUMP as obtained */
    unsigned refused;       /* the same, as asked for and refused */
    struct sa_why why;      /* of the most telling refusal */
    bool scarce;            /* a limit refused: less, or later, it may be had */
    bool never_secretmem;   /* memfd_secret does not exist here or is forbidden */
};

/* Protections that this platform knows at all. */
unsigned os_known_protections(void);

/* Map fresh inaccessible pages somewhere, never inherited by fork, each
 * protection tried. No descriptor stays open. Secretmem has all its pages where
 * os_charges_users(): no later store can be refused one. Fails, with nothing mapped,
 * where pages, NOFORK or one of the protections in `least` are not to be had; then
 * out->refused and out->why tell. [any] */
int os_map_pages(size_t bytes, bool secretmem, unsigned least, struct os_pages *out);

/* Whether secretmem is charged to the user, in all processes together, when a page is first
 * touched, and until all that was mapped of its file is gone: not to the process as it is
 * mapped. True as long as the kernel was not seen to do the other. [any] */
bool os_charges_users(void);

/* What a user's secretmem, or that of the process, may take: bytes; SIZE_MAX: no limit. [any] */
size_t os_secretmem_limit(void);

/* Have the kernel fetch fresh writable pages by stores of its own: one that is not to be had
 * is then an errno, where our own store would be SIGBUS. What it stored is zeroed. [any] */
int os_fetch_pages(void *at, size_t bytes);

/* Move inaccessible pages made by os_map_pages onto reserved address space, which
 * they replace; on Linux also the other way round. On failure the reservation is whole again, or *hole is set where
 * somebody else took the place. The pages not moved stay where they were. [any] */
int os_place_pages(void *from, size_t bytes, void *onto, bool *hole);

/* Turn pages back into reserved address space; as above for *hole. [any] */
int os_unplace_pages(void *at, size_t bytes, bool *hole);

/* Change the access of whole pages: 0 or an errno, and errno is left alone. [signal] */
int os_protect(void *at, size_t bytes, enum os_access access);

/* Replace pages that cannot be made writable by inaccessible ones, which drops
 * their content. [signal] */
int os_drop_pages(void *at, size_t bytes);

/* For each page of [at, at + bytes), whether it may ever have held anything:
 * vec[i] & 1. Exact on locked pages and secretmem of Linux; on macOS a lock fetches all
 * pages. After os_probe. [signal] */
int os_touched(void *at, size_t bytes, unsigned char *vec);

/* The same, but dearer, of any private memory: a page that is in swap was touched. ENOTSUP and
 * others: that cannot be told. [signal] */
int os_touched_ever(void *at, size_t bytes, unsigned char *vec);

#include "os/others.h" /* pages and bytes that other processes get */

/* ---- hardening --------------------------------------------------------------- */

/* Each returns whether it holds from here on, and is harmless when repeated; if not, why
 * says which call failed, or is left alone where the platform has no such thing. */

/* The limit on core files is 0, soft and hard. [any] */
bool os_forbid_core_files(struct sa_why *why);
/* The dumpable flag is off. [any] */
bool os_forbid_dumps(struct sa_why *why);
/* No process of the same user can attach, and none has. After os_forbid_dumps. [any] */
bool os_forbid_debuggers(struct sa_why *why);
int os_dumpable(void); /* the flag; -1: the platform has none [any] */

/* ---- what else the process has in memory --------------------------------------- */

enum os_map_kind { OS_MAP_MEMORY, OS_MAP_STACK, OS_MAP_HEAP, OS_MAP_FILE };

/* One mapping; what kind of memory it is, is a guess. */
struct os_map {
    uintptr_t start, end;
    bool readable, shared;
    bool plain; /* private, of no file or device, and it is known what is held: to load that changes
                   nothing */
    enum os_map_kind kind;
    char name[256]; /* a path, or as the system calls it; cut short; "": none */
};

/* A walk over all mappings, with what it keeps open. Private to the os_scan_*.c. */
struct os_maps {
    int list, pages, memory, error;
    bool by_scan;
    size_t at, used;
    uintptr_t next; /* address to go on at, or what a guard below would end at */
    char text[4096];
};

/* Begin a walk, to be ended by os_maps_end. Fails, with nothing open and why->call and
 * error set, where mappings cannot be listed or memory not be read. [any] */
int os_maps_begin(struct os_maps *walk, struct sa_why *why);

/* The next mapping, by address; one that comes and goes meanwhile may be left out.
 * False: that was all, or it failed, which os_maps_end tells. [any] */
bool os_maps_next(struct os_maps *walk, struct os_map *out);
int os_maps_end(struct os_maps *walk); /* 0, or the errno that ended it early [any] */

/* The next pages of a mapping at or after `from` that may hold anything. Those never
 * touched are left out where the system tells. False: no more. [any] */
bool os_maps_held(struct os_maps *walk, const struct os_map *map, uintptr_t from, uintptr_t *start,
                  uintptr_t *end);

/* The first run of pages whose `held` has bit 0 set, of `count` pages from `from` on: [*start, *end).
 * False: there is none. [any] */
bool os_held_run(const unsigned char *held, size_t count, uintptr_t from, uintptr_t *start,
                 uintptr_t *end);

/* Copy from any address, which may be gone by then. Returns how many bytes came, up to
 * the first page that cannot be read. Any alignment and size. [any] */
size_t os_maps_read(struct os_maps *walk, uintptr_t from, void *to, size_t bytes);

/* Run `work` in a process of its own that has all of this one's memory, on a stack of `bytes`
 * bytes, while the calling thread stands still. `work` takes no lock and allocates nothing. 0: it
 * came to its end; EFAULT: it was ended, by a fault of its own for one, and what it stored
 * until then is there. Another errno: it was not begun, and never is. [any] */
SA_MUST_USE int os_run_apart(void *stack, size_t bytes, void (*work)(void *), void *context);

/* ---- memory of our own ----------------------------------------------------- */

/* Zeroed, readable and writable memory that a forked or cloned child sees zeroed
 * (on macOS: as it was, so that the process id must be compared too). Touched
 * lazily. NULL: refused. [any] */
void *os_map_table(size_t bytes, struct sa_why *why);

/* Zeroed, readable and writable memory that a child gets a copy of. Touched lazily. NULL:
 * refused. [any] */
void *os_map_plain(size_t bytes, struct sa_why *why);

/* What the program and its libraries export under a name; NULL: nothing. [any] */
void *os_symbol(const char *name);

/* The code that an address lies in, all of its mapping: [*low, *high). False: not to be told.
 * [any] */
bool os_code_around(const void *symbol, uintptr_t *low, uintptr_t *high);

/* Let a forked child have pages made by os_map_pages, or not. 0 or an errno. [any, atfork] */
int os_inherit(void *at, size_t bytes, bool whether);

/* Put accessible pages, made by os_map_pages in this process's parent and inherited, with all
 * that they hold onto reserved address space; they are gone from where they were. 0 or an errno.
 * [any, atfork child] */
int os_place_copy(void *from, size_t bytes, void *onto);

/* Lock pages that are there and accessible, and fetch them: a child has none of its parent's
 * locks. 0 or an errno. [any, atfork child] */
int os_lock(void *at, size_t bytes);

/* Unlock pages that were locked. 0 or an errno. [any] */
int os_unlock(void *at, size_t bytes);

/* Have pages of private memory read as zeros, as if never touched; those that are not mapped are
 * passed over. An errno: they are as they were, some of them perhaps not. [any] */
int os_forget_pages(void *at, size_t bytes);

/* Whether the process was given privileges that who started it has not (AT_SECURE, issetugid), so
 * that the environment may not be trusted. [any] */
bool os_is_raised(void);

/* The memory in which the kernel keeps the environment that the process began with, and shows
 * it to others: one string after the other. It is the program's, which may have changed it.
 * False: not to be told. [any] */
bool os_environ(char **start, char **end);

/* Copy up to 512 bytes from where there may be nothing. False: there is not. [any] */
bool os_peek(uintptr_t at, void *out, size_t bytes);

/* ---- entropy, threads, signals --------------------------------------------- */

/* Random bytes from the kernel, any alignment and size: 0 or an errno, and as a code with the
 * reason. [any] */
int os_entropy(void *out, size_t bytes);
SA_MUST_USE static inline enum sa_code os_draw(void *out, size_t bytes, struct sa_why *why)
{
    int error = os_entropy(out, bytes);
    if (!error)
        return SA_OK;
    *why = (struct sa_why){.call = "getrandom", .error = error};
    return SA_OS_ERROR;
}

/* The calling process, asked of the kernel; 0 or less where a sandbox refuses. [signal] */
long os_process(void);

/* Whether the calling process has that id. True where a sandbox refuses to say, so that a
 * child has to be told by something else. [signal] */
bool os_is_process(long process);
bool os_is_init(void); /* the first process of a PID namespace [signal] */

/* Give up the processor: at once for small `turn`, then for a millisecond. [signal] */
SA_COLD void os_wait(unsigned turn);

/* Whether a signal's default action ends the process, and it can be handled. Any number. [any] */
bool os_ends_process(int sig);

/* End the process by SIGKILL; where that is refused, by a fault, which the caller is to have
 * blocked. [signal] */
_Noreturn void os_end(void);

/* Whether the kernel will not let the thread go on past the cause; `ignored`: as the signal
 * was before us. On macOS, where a signal that was sent looks the same: whether it may be
 * so, and of one that was ignored, whether it came again at once. [signal] */
bool os_is_forced(int sig, const siginfo_t *info, const void *context, bool ignored);

/* macOS, where nothing comes of a fault that is blocked but the same fault for ever: faults
 * are let in always, and put off while os_mask_all() holds, and between the two. True: leave
 * the handler at once. One that was sent comes again at the end of that, a fault at once, and
 * then ends the process by the default action. Linux ends it by itself: false. [signal] */
bool os_puts_off(int sig, void *context);
void os_keep_faults_off(void);
void os_let_faults_in(void);

/* What sa_flags are to have for that. [any] */
int os_handler_flags(void);

/* sigaction(), without a lock of the C library's, for any signal that ends a process. 0, or an
 * errno: nothing is changed. [signal] */
SA_MUST_USE int os_action(int sig, const struct sigaction *next, struct sigaction *before);

/* Queue the siginfo that a handler received to the calling thread again, to be
 * taken when the handler returns. [signal] */
int os_requeue(int sig, siginfo_t *info);

/* Whether returning from the handler of this forced signal runs the instruction
 * anew; if not, `context` is stepped back so that it does. [signal] */
void os_step_back(int sig, const siginfo_t *info, void *context);

/* Ask the processor how it lays registers out in a signal frame: once before the next
 * function, else that clears less. [any] */
void os_learn_frame(void);

/* Zero the vector registers, and x87's, in a handler's frame. For a thread that is not
 * to go on: returning loads them. [signal] */
void os_clear_registers(void *context);

/* Where the interrupted stack ends, and how many bytes below that were in use. [signal] */
uintptr_t os_stack_pointer(const void *context);
size_t os_red_zone(void);

/* Ask where the calling thread's stack lies, if it is the first thread, and remember it:
 * glibc looks into /proc, which a chroot takes away. Once, early. [any] */
void os_learn_stack(void);

/* Where the calling thread's stack lies, or for the first thread may grow: [*low, *high),
 * whole words. False: nobody knows. [any] */
bool os_stack_bounds(uintptr_t *low, uintptr_t *high);

/* Whether eight bytes at `at` can be read, or written, found out without a fault. The
 * second overwrites one to eight of them. [signal] */
bool os_may_read(const void *at);
bool os_may_write(void *at);

/* Whether the signal is blocked once the handler returns, because it was only let in
 * for a call such as ppoll; let it in then, or block it. [signal] */
bool os_blocks_on_return(int sig, const void *context);
void os_unblock_on_return(int sig, void *context);
void os_block_on_return(int sig, void *context);

/* Block every signal that the calling thread could take, the C library's own among them
 * (a setgroups() of another thread would put this one's registers on its stack), and give
 * the mask that was. Nothing is waited for before os_unmask: that setgroups() waits too.
 * On macOS faults are never blocked. [signal] */
void os_mask_all(sigset_t *before);

/* The same but for faults and abort's signal, which would end the process unwiped. [signal] */
void os_mask_sent(sigset_t *before);

/* What a handler is to block: all of them, and on macOS all but faults. [signal] */
void os_fill_mask(sigset_t *mask);

/* Put the mask back that one of the two gave. [signal] */
void os_unmask(const sigset_t *before);

/* Names the calling thread among those that live. [signal] */
uintptr_t os_thread(void);

int64_t os_now_ms(void); /* milliseconds of a clock that only runs on [any] */
int64_t os_since_boot_ms(void); /* the same of a clock that runs on in suspend [any] */
int64_t os_about_now_ms(void); /* the same, up to 10 ms behind, at a tenth of the cost [any] */

/* Take one pending signal of the calling thread, if there is one. [signal] */
void os_consume(int sig);

/* Whether a descriptor is open, and not to be closed by exec: one that came over an exec is
 * not. [any] */
bool os_came_over_exec(int fd);

/* What is behind a descriptor, as fstat. [signal] */
struct stat;
int os_look_at(int fd, struct stat *file);

/* The same, faster, of what was a pipe before: a sandbox that ends a process for this call
 * would do so for os_write_quietly(), too. [signal] */
int os_look_at_pipe(int fd, struct stat *file);

/* Write one byte by a call that neither waits nor raises a signal, to what os_look_at found
 * there. 0; EAGAIN, there is no room; EPIPE, nobody reads; else EOPNOTSUPP, so that another
 * call may be tried. errno is kept. [signal] */
SA_MUST_USE int os_write_quietly(int fd, const struct stat *what, char byte);

/* Write one byte without ever waiting, where the caller blocks SIGPIPE, SIGXFSZ and
 * SIGTTOU; likewise. [signal] */
int os_write_byte(int fd, const struct stat *what, char byte);

/* The calling thread's alternate signal stack, as sigaltstack tells it. False: that was refused;
 * errno may be changed. [signal] */
bool os_alt_stack(stack_t *now);

/* Bytes that an alternate signal stack has to have here, for a frame of the kernel's and
 * the handler on it, and another on top. [any] */
size_t os_alt_stack_least(void);

/* Map a stack of that many bytes, not locked, with a guard of 64 KiB below it; NULL:
 * refused. [any] */
void *os_map_stack(size_t bytes);
void os_unmap_stack(void *stack, size_t bytes);

#endif
