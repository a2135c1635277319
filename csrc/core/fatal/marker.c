/* This file writes the one byte that tells others of a wipe, to the file that was chosen for it
 * and to no other. */
#include "fatal/marker.h"

#include "os/os.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

struct target {
    int fd;
    bool set;        /* chosen by the user, or come over a channel */
    bool terminal;   /* standard error, and a person reads it */
    long process;    /* the one that took a channel over, which alone may write; 0: any */
    dev_t device;    /* the file behind it */
    ino_t inode;
    mode_t kind;
};

/* A writer in a handler may hold one entry while others are set: entries are only
 * used anew sixty-three settings later. No lock: a fork could catch it held. */
enum { RING = 64 };
static const struct target nowhere = {.fd = -1};
static struct target ring[RING] = {{.fd = -1}};
static struct target standard_error = {.fd = -1};
static _Atomic unsigned current, claimed;

static int look(struct target *t)
{
    struct stat file;
    int error = os_look_at(t->fd, &file);
    if (error)
        return error;
    t->device = file.st_dev;
    t->inode = file.st_ino;
    t->kind = file.st_mode & S_IFMT;
    return 0;
}

SA_HOT static bool still_is(const struct target *t, const struct stat *file)
{
    return t->device == file->st_dev && t->inode == file->st_ino &&
           t->kind == (file->st_mode & S_IFMT);
}

/* Put it aside, to be made current by its number. */
static unsigned put_aside(struct target t)
{
    unsigned next = atomic_fetch_add(&claimed, 1) + 1;
    ring[next % RING] = t;
    return next;
}

SA_HOT static struct target get(void)
{
    for (;;) {
        unsigned now = atomic_load(&current);
        struct target t = ring[now % RING];
        if (atomic_load(&current) == now)
            return t;
    }
}

static enum sa_code set(struct target t, int *previous, struct sa_why *why)
{
    int error = t.fd >= 0 || t.process ? look(&t) : 0;
    if (error) {
        *why = (struct sa_why){.call = "fstat", .error = error};
        return SA_OS_ERROR;
    }
    *previous = ring[atomic_exchange(&current, put_aside(t)) % RING].fd;
    return SA_OK;
}

enum sa_code marker_set(int fd, int *previous, struct sa_why *why)
{
    return set((struct target){.fd = fd < 0 ? -1 : fd, .set = true}, previous, why);
}

enum sa_code marker_take(int fd, struct sa_why *why)
{
    int previous;
    return set((struct target){.fd = fd, .set = true, .process = os_process()}, &previous, why);
}

/* Back to the default, unless another was set meanwhile. */
static void set_default(unsigned now)
{
    (void)atomic_compare_exchange_strong(&current, &now, put_aside(standard_error));
}

void marker_leave(int fd)
{
    unsigned now = atomic_load(&current);
    struct target t = ring[now % RING];
    if (t.process && t.fd == fd)
        set_default(now);
}

int marker_fd(void) { return get().fd; }

void marker_start(void)
{
    struct target t = {.fd = STDERR_FILENO};
    unsigned now = atomic_load(&current);
    standard_error = os_came_over_exec(t.fd) && look(&t) == 0 ? t : nowhere;
    standard_error.terminal = standard_error.fd >= 0 && isatty(t.fd);
    if (!ring[now % RING].set)
        set_default(now);
}

bool marker_standard_error(void)
{
    struct stat file = {0};
    return standard_error.fd >= 0 && os_look_at(standard_error.fd, &file) == 0 &&
           still_is(&standard_error, &file);
}

void marker_no_default(void)
{
    unsigned now = atomic_load(&current);
    standard_error = nowhere;
    if (!ring[now % RING].set)
        set_default(now);
}

/* Signals that a write can raise against the writer. */
static const int raised[] = {SIGPIPE, SIGXFSZ, SIGTTOU};
enum { RAISED = sizeof raised / sizeof raised[0] };

/* Where only signals tell of some failures: they are blocked, and taken off again. */
static void write_shielded(const struct target *t, const struct stat *file, char byte)
{
    sigset_t mask, pending, after;
    os_mask_sent(&mask);
    sigpending(&pending);
    (void)os_write_byte(t->fd, file, byte); /* nobody is left to tell */
    if (t->terminal)
        (void)os_write_byte(t->fd, file, '\n'); /* or the shell's prompt follows it */
    sigpending(&after);
    for (int i = 0; i < RAISED; i++)
        if (sigismember(&after, raised[i]) && !sigismember(&pending, raised[i]))
            os_consume(raised[i]);
    os_unmask(&mask);
}

SA_HOT void marker_write(char byte, bool only_set)
{
    struct target t = get();
    struct stat file = {0};
    if (t.fd < 0 || (only_set && !t.set) || (t.process && !os_is_process(t.process)))
        return;
    int error = t.kind == S_IFIFO ? os_look_at_pipe(t.fd, &file) : os_look_at(t.fd, &file);
    if (!error && still_is(&t, &file) && os_write_quietly(t.fd, &file, byte) == EOPNOTSUPP)
        write_shielded(&t, &file, byte);
}
