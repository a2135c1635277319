/* Pipes from which others read a secret.
 *
 * What a pipe takes at once is written when it is opened. The rest is fed by a thread that waits
 * for nothing but room. It ends as soon as it is told so and there is room: the thread that ends it
 * reads back what is in the pipe. So it ends though others may hold the reader.
 */
#include "outlet/outlet.h"

#include "os/os.h"
#include "vault/forks.h"
#include "vault/lent.h"
#include "vault/locks.h"
#include "vault/read_page.h"

#include <errno.h>
#include <poll.h>

enum {
    SURELY = 512,      /* any pipe takes it at once: _POSIX_PIPE_BUF */
    AT_ONCE = 1 << 16, /* so that the arena is not lent for long */
    STACK = 256 << 10, /* for handlers of signals, too */
};

static enum sa_code failed(const char *call, int error, struct sa_why *why)
{
    *why = (struct sa_why){.call = call, .error = error};
    return SA_OS_ERROR;
}

/* ---- ends ---------------------------------------------------------------------------------- */

static void close_ends(struct sa_outlet *o)
{
    lent_close(&o->out);
    lent_close(&o->feed);
    lent_close(&o->keep);
}

/* With fork held off: the two ends, and another of the first. */
static int open_noted(struct sa_outlet *o)
{
    int ends[2], keep, error = os_pipe(ends);
    if (error)
        return error;
    lent_add(&o->out, ends[0]);
    lent_add(&o->feed, ends[1]);
    if (!(error = os_duplicate(ends[0], &keep)))
        lent_add(&o->keep, keep);
    return error;
}

static enum sa_code open_ends(struct sa_outlet *o, struct sa_why *why)
{
    int error = EAGAIN;
    for (unsigned tries = 0; error == EAGAIN && tries < 8; tries++) {
        struct alone alone;
        forks_hold_off(&alone);
        error = open_noted(o);
        if (!forks_let_in(&alone))
            error = EAGAIN; /* a child has them that does not know of it */
        if (error)
            close_ends(o);
    }
    return error ? failed("pipe", error, why) : SA_OK;
}

/* ---- feeding ------------------------------------------------------------------------------- */

/* Write until the pipe is full or all is in it. */
static enum sa_code feed_some(struct sa_outlet *o, struct sa_why *why)
{
    while (o->sent < o->size && !atomic_load(&o->stop)) {
        const uint8_t *bytes;
        size_t left = o->size - o->sent, sent;
        enum sa_code code = sa_borrow(o->source, &bytes);
        if (code)
            return code;
        int error = os_pipe_write(o->feed.fd, bytes + o->start + o->sent,
                                  left < AT_ONCE ? left : AT_ONCE, &sent);
        if ((code = sa_return(o->source))) /* it may have been noise that went */
            return code;
        o->sent += sent;
        if (error == EAGAIN)
            break;
        if (error)
            return failed("write", error, why);
    }
    return SA_OK;
}

/* The end comes after the last byte, or where there is nothing more to be had: a reader that waited
 * for more would never end. */
static void *feed_all(void *outlet)
{
    struct sa_outlet *o = outlet;
    struct sa_why unused;
    enum sa_code code = SA_OK; /* of a wipe the end of the block of the source tells */
    while (!code && o->sent < o->size && !atomic_load(&o->stop)) {
        struct pollfd room = {.fd = o->feed.fd, .events = POLLOUT};
        (void)poll(&room, 1, 1000); /* the time is not what ends it */
        code = feed_some(o, &unused);
    }
    lent_close(&o->feed);
    return NULL;
}

static enum sa_code start_feeder(struct sa_outlet *o, struct sa_why *why)
{
    pthread_attr_t attributes;
    sigset_t mask;
    int error = pthread_attr_init(&attributes);
    if (error)
        return failed("pthread_attr_init", error, why);
    (void)pthread_attr_setstacksize(&attributes, STACK); /* refused: it has the usual size */
    os_mask_sent(&mask);
    error = pthread_create(&o->feeder, &attributes, feed_all, o);
    os_unmask(&mask);
    (void)pthread_attr_destroy(&attributes); /* nothing to lose */
    o->feeding = !error;
    return error ? failed("pthread_create", error, why) : SA_OK;
}

static size_t drop_all(struct sa_outlet *o)
{
    size_t all = 0, got;
    while ((got = read_page_drop(o->keep.fd)))
        all += got;
    return all;
}

size_t pipe_end(struct sa_outlet *o)
{
    atomic_store(&o->stop, true);
    size_t dropped = drop_all(o); /* makes room, which is what the feeder waits for */
    if (o->feeding && pthread_join(o->feeder, NULL)) {
        /* it is joinable, and nobody else's: it cannot fail */
    }
    o->feeding = false;
    lent_close(&o->feed);
    dropped += drop_all(o); /* what it fed meanwhile */
    return o->size - o->sent + dropped;
}

/* ---- opening ------------------------------------------------------------------------------- */

/* All that the pipe takes; with the end where that is all, else with a thread that goes on. */
static enum sa_code begin(struct sa_outlet *o, struct sa_why *why)
{
    enum sa_code code = feed_some(o, why);
    if (code)
        return code;
    if (o->sent < o->size)
        return start_feeder(o, why);
    lent_close(&o->feed);
    return outlet_let_go(o);
}

enum sa_code sa_pipe_open(struct sa_outlet *o, struct sa_arena *source, size_t start, size_t size,
                          int *fd, struct sa_why *why)
{
    enum sa_code code = outlet_reach(o, source, start, size, size > SURELY, why);
    if (!code)
        code = open_ends(o, why);
    if (!code && (code = begin(o, why))) {
        (void)drop_all(o); /* nobody knows of it but a child that was forked meanwhile */
        close_ends(o);
    }
    if (code) {
        if (outlet_let_go(o)) {
            /* what failed is told already */
        }
        return code;
    }
    o->live = true;
    *fd = o->out.fd;
    return SA_OK;
}
