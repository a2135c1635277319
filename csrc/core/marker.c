#include "marker.h"

#include "os.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

struct target {
    int fd;
    bool set, known; /* chosen by the user; the file behind it was looked at */
    long process;    /* the one that took a channel over, which alone may write; 0: any */
    dev_t device;
    ino_t inode;
    mode_t kind;
};

/* A writer in a handler may hold one entry while others are set: entries are only
 * used anew sixty-three settings later. No lock: a fork could catch it held. */
enum { RING = 64 };
static struct target ring[RING] = {{.fd = STDERR_FILENO}};
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
    t->known = true;
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

void marker_leave(int fd)
{
    unsigned now = atomic_load(&current);
    struct target t = ring[now % RING];
    if (!t.process || t.fd != fd)
        return;
    (void)atomic_compare_exchange_strong(&current, &now, /* or another was set */
                                         put_aside((struct target){.fd = STDERR_FILENO}));
    marker_start();
}

int marker_fd(void) { return get().fd; }

void marker_start(void)
{
    unsigned now = atomic_load(&current);
    struct target t = ring[now % RING];
    if (t.set || t.known)
        return;
    if (look(&t))
        t.fd = -1; /* closed: whatever takes the number later is not for us */
    t.known = true;
    (void)atomic_compare_exchange_strong(&current, &now, put_aside(t)); /* or it was set */
}

/* Signals that a write can raise against the writer. */
static const int raised[] = {SIGPIPE, SIGXFSZ, SIGTTOU};
enum { RAISED = sizeof raised / sizeof raised[0] };

/* Where only signals tell of some failures: they are blocked, and taken off again. */
static void write_shielded(int fd, const struct stat *file, char byte)
{
    sigset_t mask, pending, after;
    os_mask_sent(&mask);
    sigpending(&pending);
    (void)os_write_byte(fd, file, byte); /* nobody is left to tell */
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
    if (t.fd < 0 || !t.known || (only_set && !t.set) ||
        (t.process && t.process != os_process()))
        return;
    int error = t.kind == S_IFIFO ? os_look_at_pipe(t.fd, &file) : os_look_at(t.fd, &file);
    if (!error && still_is(&t, &file) &&
        os_write_quietly(t.fd, &file, byte) == EOPNOTSUPP)
        write_shielded(t.fd, &file, byte);
}
