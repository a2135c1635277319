/* Giving a secret to another process, into pages that it offered.
 *
 * The giver maps the pages, copies and unmaps them with its own slot held busy and all signals
 * masked, so that no wipe falls in between, and no handler finds the secret in a mapping that is
 * not a slot. So nothing outside of the two arenas ever holds it, and there is nothing to wipe. A
 * receiver that never comes, or dies, leaves nothing behind.
 *
 * A fork waits, as for all pages on their way, while a descriptor is open; where one did not
 * wait, the handing over fails.
 */
#include "arena/make.h"
#include "vault/forks.h"
#include "vault/noise.h"
#include "base/registers.h"
#include "transfer/say.h"
#include "transfer/session.h"

#include <errno.h>
#include <string.h>

static const struct sa_said no_words = {.fd = -1};

void sa_asked_drop(struct sa_asked *asked)
{
    if (asked->at)
        (void)os_release(asked->at, (size_t)asked->bytes); /* mapped whole, and so it goes */
    asked->at = NULL;
}

/* ---- the question -------------------------------------------------------------------------- */

/* Whether pages are worth mapping for a secret of `most` bytes at most. */
static bool is_modest(const struct offer *offer, size_t most)
{
    return offer->bytes / 2 <= most || offer->bytes / 2 - most <= sa_page_size();
}

/* Who sent all parts; -1: nobody said; -2: several did. */
static int32_t same_sender(int32_t before, int32_t now)
{
    if (now < 0 || before == now)
        return before;
    return before == -1 ? now : -2;
}

struct hearing {
    uint8_t bytes[SA_WORDS + sizeof(struct offer)];
    size_t n, got;
    size_t most; /* of what can be asked for */
    struct offer offer;
    void *pages;
    int32_t sender;
};

/* What is there of a question. Pages are mapped where their descriptor came with the end of it: it
 * is closed in any case. */
static int hear_part(int sock, struct hearing *h)
{
    int fd = -1;
    int32_t sender = -1;
    size_t got;
    struct alone alone;
    forks_hold_off(&alone); /* while the descriptor is open */
    int error = os_socket_receive(sock, h->bytes + h->got, h->n - h->got, &fd, &sender, &got);
    h->got += got;
    if (h->got == h->n)
        memcpy(&h->offer, h->bytes + h->n - sizeof h->offer, sizeof h->offer);
    if (fd >= 0) {
        if (h->got == h->n && h->offer.kind == PAGES && is_modest(&h->offer, h->most) &&
            os_share_map(fd, (size_t)h->offer.bytes, &h->pages))
            h->pages = NULL;
        os_close(fd);
    }
    h->sender = same_sender(h->sender, sender);
    bool shared = !forks_let_in(&alone) && fd >= 0; /* with a child, which has the pages, too */
    return shared ? ECONNABORTED : error;
}

enum sa_code sa_hear_question(int sock, struct sa_said *question, size_t most, uint32_t timeout_ms,
                              struct sa_asked *asked, struct sa_why *why)
{
    int64_t end = os_now_ms() + timeout_ms;
    struct hearing h = {.n = question->n + sizeof h.offer, .most = most, .sender = -1};
    int error = question->n > SA_WORDS ? EINVAL : 0;
    while (!error && h.got < h.n) {
        error = say_wait(sock, false, end, EAGAIN);
        if (!error && (error = hear_part(sock, &h)) == EAGAIN)
            error = 0;
    }
    *asked = (struct sa_asked){
        .kind = h.offer.kind, .at = h.pages, .offset = h.offer.offset, .bytes = h.offer.bytes};
    question->sender = h.sender;
    if (error) {
        sa_asked_drop(asked);
        return say_failed("recvmsg", error, why);
    }
    if (question->n)
        memcpy(question->words, h.bytes, question->n);
    return SA_OK;
}

/* ---- the answer ---------------------------------------------------------------------------- */

/* Whether the content fits into the pages offered, and they are not many more. */
static bool offer_fits(const struct sa_asked *offer, size_t size)
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
static enum sa_code put_into(struct sa_arena *a, struct sa_asked *offer, struct sa_why *why)
{
    const uint8_t *bytes;
    uint8_t *at = offer->at;
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
    if (!mapped)
        offer->at = NULL;
    sa_asked_drop(offer); /* refused: it stays, never inherited */
    if (refused)
        return say_failed("munmap", refused, why);
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
        if (error && (error = say_wait(sock, true, end, error)))
            return say_failed("send", error, why);
    }
    return SA_OK;
}

/* The words, and the content under the key, in one message; or that there is none. */
static enum sa_code answer_encrypted(struct sa_arena *a, struct sa_arena *key, int sock,
                                     const struct sa_said *words, int64_t end, struct sa_why *why)
{
    uint8_t all[SA_WORDS + 1 + sizeof(struct envelope) + SA_ONE_MESSAGE];
    struct envelope envelope;
    size_t n = words->n;
    if (!key || a->size > SA_ONE_MESSAGE || n > SA_WORDS)
        return say_failed("recvmsg", EPROTO, why);
    enum sa_code code = session_encrypt(a, key, &envelope, all + n + 1 + sizeof envelope);
    if (n)
        memcpy(all, words->words, n);
    all[n++] = code ? GONE_BY : SEALED;
    if (!code) {
        memcpy(all + n, &envelope, sizeof envelope);
        n += sizeof envelope + a->size;
    }
    int error = say_all(sock, all, n, words->fd, end);
    return error ? say_failed("send", error, why) : code;
}

/* Whether there is something to give. */
static enum sa_code look(struct sa_arena *a)
{
    const uint8_t *bytes;
    enum sa_code code = sa_borrow(a, &bytes);
    return code ? code : sa_return(a);
}

/* One offer, answered with these words before; *again: those pages were refused, and another offer
 * is to come. */
static enum sa_code answer_one(struct sa_arena *a, struct sa_arena *key, int sock,
                               struct sa_asked *asked, const struct sa_said *words, int64_t end,
                               bool *again, struct sa_why *why)
{
    enum sa_code code = SA_OK;
    char step = DONE, go = GO;
    int error;
    *again = asked->kind == PAGES && !(asked->at && offer_fits(asked, a->size) &&
                                       all_there(asked->at, (size_t)asked->offset, a->size));
    if (asked->kind == ENCRYPTED)
        return answer_encrypted(a, key, sock, words, end, why);
    if (*again) {
        sa_asked_drop(asked);
        step = REFUSED;
    } else if (asked->kind == PAGES) {
        code = put_into(a, asked, why);
    } else if (asked->kind == STREAM) {
        code = look(a);
        if (!code && (error = say_with(sock, words, &go, 1, end)))
            return say_failed("send", error, why);
        if (!code && (code = stream(a, sock, end, why)))
            return code; /* in the middle of it nothing else can be said */
        if (!code)
            words = &no_words; /* which were said */
    } else {
        return say_failed("recvmsg", EPROTO, why);
    }
    if (code)
        step = GONE_BY;
    if ((error = say_with(sock, words, &step, 1, end)))
        return say_failed("send", error, why);
    return code;
}

enum sa_code sa_answer(struct sa_arena *a, struct sa_arena *key, int sock, struct sa_asked *asked,
                       const struct sa_said *words, uint32_t timeout_ms, struct sa_why *why)
{
    int64_t end = os_now_ms() + timeout_ms;
    bool again;
    enum sa_code code = answer_one(a, key, sock, asked, words, end, &again, why);
    return code || !again ? code : sa_hand_over(a, sock, timeout_ms, why);
}

enum sa_code sa_hand_over(struct sa_arena *a, int sock, uint32_t timeout_ms, struct sa_why *why)
{
    int64_t end = os_now_ms() + timeout_ms;
    enum sa_code code;
    bool again;
    do {
        struct sa_asked asked;
        struct sa_said none = no_words;
        int64_t left = end - os_now_ms();
        code = sa_hear_question(sock, &none, a->size, left > 0 ? (uint32_t)left : 0, &asked, why);
        if (code)
            return code;
        code = answer_one(a, NULL, sock, &asked, &no_words, end, &again, why);
    } while (!code && again);
    return code;
}
