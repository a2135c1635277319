/* Handing a secret to another process, from arena to arena.
 *
 * The receiver offers: it makes the arena, on secretmem of a descriptor of its own, and
 * sends that descriptor along. The giver maps the pages, copies and unmaps them with its
 * own slot held busy and all signals masked, so that no wipe falls in between, and no
 * handler finds the secret in a mapping that is not a slot. So nothing outside of the two
 * arenas ever holds it, and there is nothing to wipe. A receiver that never comes, or
 * dies, leaves nothing behind.
 *
 * A fork waits, as for all pages on their way, while a descriptor is open; where one did not
 * wait, the handing over fails.
 */
#include "arena/make.h"
#include "vault/forks.h"
#include "vault/noise.h"
#include "base/registers.h"
#include "vault/vault.h"

#include <errno.h>
#include <string.h>

/* What the receiver says. Both run on one machine, so as they are in memory. */
struct offer {
    char kind; /* PAGES: with their descriptor; STREAM: through the socket */
    char spare[7];
    uint64_t offset; /* where in the pages the content belongs */
    uint64_t bytes;  /* of all pages */
};
enum { PAGES = 'P', STREAM = 'S' };
/* What the giver says, one byte: PAGES could not be mapped; STREAM bytes follow; the
 * content is there; there is none. */
enum { REFUSED = 'R', GO = 'G', DONE = 'D', GONE_BY = 'W' };

/* Before trying again what gave `error`. 0: do. */
static int wait_more(int sock, bool writing, int64_t end, int error)
{
    if (error != EAGAIN)
        return error;
    int64_t left = end - os_now_ms();
    return left <= 0 ? ETIMEDOUT : os_socket_wait(sock, writing, left);
}

static int send_all(int sock, const void *bytes, size_t n, int64_t end)
{
    const uint8_t *p = bytes;
    while (n) {
        size_t sent;
        int error = os_socket_send(sock, p, n, -1, &sent);
        p += sent;
        n -= sent;
        if (error && (error = wait_more(sock, true, end, error)))
            return error;
    }
    return 0;
}

static int receive_all(int sock, void *bytes, size_t n, int64_t end)
{
    uint8_t *p = bytes;
    while (n) {
        size_t got;
        int error = os_socket_receive(sock, p, n, NULL, &got);
        p += got;
        n -= got;
        if (error && (error = wait_more(sock, false, end, error)))
            return error;
    }
    return 0;
}

static enum sa_code failed(const char *call, int error, struct sa_why *why)
{
    *why = (struct sa_why){.call = call, .error = error};
    return SA_OS_ERROR;
}

/* ---- giving ---------------------------------------------------------------------------- */

/* The next offer; *at gets its pages mapped, or NULL where they cannot be. */
static int receive_offer(int sock, struct offer *offer, void **at, int64_t end)
{
    for (;;) {
        size_t got;
        int fd = -1;
        *at = NULL;
        struct alone alone;
        forks_hold_off(&alone); /* while the descriptor is open */
        int error = os_socket_receive(sock, offer, sizeof *offer, &fd, &got);
        if (fd >= 0) {
            if (!error && got == sizeof *offer && offer->kind == PAGES &&
                os_share_map(fd, (size_t)offer->bytes, at))
                *at = NULL;
            os_close(fd);
        }
        bool shared = !forks_let_in(&alone) && fd >= 0;
        if (shared) { /* with a child, which has the pages, too */
            if (*at)
                (void)os_release(*at, (size_t)offer->bytes); /* just mapped, whole */
            return ECONNABORTED;
        }
        if (!error) /* an offer is sent whole, and so it comes */
            return got == sizeof *offer ? 0 : EPROTO;
        if ((error = wait_more(sock, false, end, error)))
            return error;
    }
}

/* Whether the content fits into the pages offered, and they are not many more. */
static bool offer_fits(const struct offer *offer, size_t size)
{
    uint64_t end;
    return !__builtin_add_overflow(offer->offset, (uint64_t)size, &end) && end <= offer->bytes &&
           offer->bytes / 2 <= size + sa_page_size() && offer->bytes % sa_page_size() == 0;
}

/* Whether the pages are there, by the kernel's own loads: the receiver brought them in, but
 * should one be missing that has to come out of a budget that is spent, ours would be SIGBUS. */
static bool all_there(const uint8_t *at, size_t offset, size_t n)
{
    size_t page = sa_page_size();
    for (size_t i = offset / page * page; i < offset + n; i += page)
        if (!os_may_read(at + i))
            return false;
    return true;
}

/* Copy into the other's pages, and unmap them in any case. Where that is refused the secret
 * must not stay in them, as no handler would find it there. */
static enum sa_code put_into(struct sa_arena *a, uint8_t *at, const struct offer *offer,
                             struct sa_why *why)
{
    const uint8_t *bytes;
    sigset_t mask;
    bool given = false, mapped = true;
    int refused = 0;
    enum sa_code code = sa_borrow(a, &bytes);
    if (!code) {
        struct slot s = arena_slot(a);
        for (unsigned turn = 0; mapped && !refused && arena_whole(a); turn++) {
            if (!slot_lock_one(s, &mask)) {
                slot_wait_clear(turn);
                continue;
            }
            given = arena_whole(a);
            if (given && a->size)
                memcpy(at + offer->offset, bytes, a->size);
            registers_forget();
            refused = os_release(at, (size_t)offer->bytes);
            mapped = refused != 0;
            if (mapped)
                noise_wipe(at + offer->offset, a->size);
            slot_unlock_one(s, &mask);
        }
        code = sa_return(a);
    }
    if (mapped)
        (void)os_release(at, (size_t)offer->bytes); /* refused: it stays, never inherited */
    if (refused)
        return failed("munmap", refused, why);
    return given ? SA_OK : code ? code : SA_WIPED; /* wiped since: the copy was before that */
}

/* Through the socket, as much at a time as it takes. */
static enum sa_code stream(struct sa_arena *a, int sock, int64_t end, struct sa_why *why)
{
    uint64_t good = atomic_load(&a->good);
    size_t at = 0;
    while (at < a->size) {
        const uint8_t *bytes;
        size_t sent = 0;
        enum sa_code code = sa_borrow(a, &bytes);
        if (code)
            return code;
        int error = atomic_load(&a->good) == good
                        ? os_socket_send(sock, bytes + at, a->size - at, -1, &sent)
                        : EIO;
        code = sa_return(a);
        if (code || error == EIO)
            return code ? code : SA_WIPED; /* or wiped and written anew meanwhile */
        at += sent;
        if (error && (error = wait_more(sock, true, end, error)))
            return failed("send", error, why);
    }
    return SA_OK;
}

/* Whether there is something to give. */
static enum sa_code look(struct sa_arena *a)
{
    const uint8_t *bytes;
    enum sa_code code = sa_borrow(a, &bytes);
    return code ? code : sa_return(a);
}

enum sa_code sa_hand_over(struct sa_arena *a, int sock, uint32_t timeout_ms, struct sa_why *why)
{
    int64_t end = os_now_ms() + timeout_ms;
    enum sa_code code;
    for (;;) {
        struct offer offer;
        void *at;
        char answer = DONE;
        int error = receive_offer(sock, &offer, &at, end);
        if (error)
            return failed("recvmsg", error, why);
        if (offer.kind == PAGES &&
            !(at && offer_fits(&offer, a->size) && all_there(at, (size_t)offer.offset, a->size))) {
            if (at)
                (void)os_release(at, (size_t)offer.bytes); /* just mapped, whole */
            answer = REFUSED;
            code = SA_OK;
        } else if (offer.kind == PAGES) {
            code = put_into(a, at, &offer, why);
        } else if (offer.kind == STREAM) {
            code = look(a);
            char go = GO;
            if (!code && (error = send_all(sock, &go, 1, end)))
                return failed("send", error, why);
            if (!code && (code = stream(a, sock, end, why)))
                return code; /* in the middle of it nothing else can be said */
        } else {
            return failed("recvmsg", EPROTO, why);
        }
        if (code)
            answer = GONE_BY;
        if ((error = send_all(sock, &answer, 1, end)))
            return failed("send", error, why);
        if (answer != REFUSED)
            return code;
    }
}

/* ---- taking ------------------------------------------------------------------------------ */

/* Give a slot that is not live yet other pages, whose descriptor *fd is. False: it kept
 * its own; *lost: the slot is gone. Forks are held off. */
static bool other_pages(struct slot s, int *fd, bool *lost)
{
    size_t bytes = s.region->data;
    void *at;
    *lost = false;
    if (os_share_open(bytes, fd, &at))
        return false;
    if (os_place_pages(at, bytes, slot_data(s), lost) == 0)
        return true;
    (void)os_release(at, bytes); /* just mapped, whole */
    os_close(*fd);
    return false;
}

/* As sa_arena_make, but where it can be had on pages that are offered to the giver. */
static enum sa_code make_shared(struct sa_arena *a, size_t size, unsigned required, int sock,
                                bool *shared, struct sa_why *why)
{
    struct cell place;
    enum slot_holds holds;
    bool lost = false;
    int fd = -1;
    enum sa_code code = arena_prepare(&required, true, why);
    if (code || (code = place_take_own(size, 0, required, &place, &holds, why)))
        return code;
    struct slot s = place.slot;
    struct alone alone;
    forks_hold_off(&alone); /* while the descriptor is open */
    *shared = word_granted(atomic_load(slot_word(s))) & SA_SECRETMEM && other_pages(s, &fd, &lost);
    if (!lost)
        code = arena_start(a, &place, size, *shared ? HOLDS_ZEROS : holds,
                           (struct sa_content){.from = NULL}, USE_FILL, why);
    if (*shared) {
        struct offer offer = {
            .kind = PAGES, .offset = s.region->data - size, .bytes = s.region->data};
        size_t sent;
        *shared = alone_still(&alone) &&
                  os_socket_send(sock, &offer, sizeof offer, fd, &sent) == 0 &&
                  sent == sizeof offer;
        os_close(fd);
    }
    bool forked = !forks_let_in(&alone) && fd >= 0;
    if (lost) { /* nothing of it is ours any more */
        vault_lose(s, size);
        return failed("mremap", ENOMEM, why);
    }
    if (!forked)
        return code;
    vault_note_shared(s); /* a child has its pages, too */
    sa_close(a);
    return failed("fork", EAGAIN, why);
}

/* Straight into the arena, which is being filled. */
static int receive_into(struct sa_arena *a, int sock, int64_t end)
{
    uint8_t *bytes;
    if (sa_export(a, true, &bytes)) /* wiped meanwhile: the end of the fill tells */
        return ECANCELED;
    int error = receive_all(sock, bytes, a->size, end);
    sa_unexport(a);
    return error;
}

static int answer_of(int sock, char *answer, int64_t end)
{
    return receive_all(sock, answer, 1, end);
}

static int take_stream(struct sa_arena *a, int sock, char *answer, int64_t end)
{
    struct offer offer = {.kind = STREAM};
    int error = send_all(sock, &offer, sizeof offer, end);
    if (!error && !(error = answer_of(sock, answer, end)) && *answer == GO &&
        !(error = receive_into(a, sock, end)))
        error = answer_of(sock, answer, end);
    return error;
}

enum sa_code sa_take_over_with(struct sa_arena *a, size_t size, unsigned required, int sock,
                               uint32_t timeout_ms, bool *shared, struct sa_why *why)
{
    int64_t end = os_now_ms() + timeout_ms;
    char answer = REFUSED;
    int error = 0;
    *shared = false;
    enum sa_code code = make_shared(a, size, required, sock, shared, why);
    if (code)
        return code;
    if (*shared)
        error = answer_of(sock, &answer, end);
    if (!error && answer == REFUSED) {
        *shared = false;
        error = take_stream(a, sock, &answer, end);
    }
    code = sa_fill_end(a, !error && answer == DONE);
    if (error && error != ECANCELED)
        code = failed("recv", error, why);
    else if (answer == GONE_BY)
        code = SA_WIPED;
    else if (!code && answer != DONE)
        code = error ? SA_WIPED : failed("recv", EPROTO, why);
    if (code)
        sa_close(a);
    return code;
}

enum sa_code sa_take_over(struct sa_arena *a, size_t size, int sock, uint32_t timeout_ms,
                          bool *shared, struct sa_why *why)
{
    return sa_take_over_with(a, size, 0, sock, timeout_ms, shared, why);
}
