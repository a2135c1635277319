/* Taking a secret from another process, into an arena whose pages are offered to it.
 *
 * The receiver offers: it makes the arena, on secretmem of a descriptor of its own, and sends that
 * descriptor along, with the question if there is one. So no secret is ever on its way. Or the two
 * have a key, and ciphertext goes through the socket into any arena.
 */
#include "arena/make.h"
#include "vault/forks.h"
#include "vault/vault.h"
#include "transfer/say.h"
#include "transfer/session.h"

#include <errno.h>
#include <string.h>

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

/* As sa_arena_make, but where it can be had on pages that are offered to the giver, with what is
 * asked. */
static enum sa_code make_shared(struct sa_arena *a, size_t size, unsigned required, int sock,
                                const struct sa_said *question, bool *shared, struct sa_why *why)
{
    struct cell place;
    enum slot_holds holds;
    bool lost = false;
    int fd = -1;
    uint8_t own = (uint8_t)required;
    enum sa_code code = arena_prepare(&required, true, why);
    if (code || (code = place_take_own(size, 0, required, &place, &holds, why)))
        return code;
    a->required = own;
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
        struct sa_said with = *question;
        with.fd = fd;
        /* At once or not at all: nobody waits while forks do. */
        *shared = alone_still(&alone) && say_with(sock, &with, &offer, sizeof offer, 0) == 0;
        os_close(fd);
    }
    bool forked = !forks_let_in(&alone) && fd >= 0;
    if (lost) { /* nothing of it is ours any more */
        vault_lose(s, size);
        return say_failed("mremap", ENOMEM, why);
    }
    if (!forked)
        return code;
    vault_note_shared(s); /* a child has its pages, too */
    sa_close(a);
    return say_failed("fork", EAGAIN, why);
}

/* ---- what is answered ------------------------------------------------------------------------ */

/* What came of an answer: the words, a step, and with SEALED an envelope and ciphertext. */
struct reply {
    uint8_t bytes[SA_WORDS + 1 + sizeof(struct envelope) + SA_ONE_MESSAGE];
    size_t got;
};

/* Have `least` bytes of it, and no more than `most`; a descriptor with them is the answer's. */
static int hear_up_to(int sock, struct reply *r, size_t least, size_t most, struct sa_said *answer,
                      int64_t end)
{
    while (r->got < least) {
        size_t got = 0;
        int fd = -1;
        int error = say_wait(sock, false, end, EAGAIN);
        if (error)
            return error;
        error = os_socket_receive(sock, r->bytes + r->got, most - r->got, &fd, NULL, &got);
        if (fd >= 0 && answer->fd >= 0)
            os_close(fd); /* unasked for */
        else if (fd >= 0)
            answer->fd = fd;
        r->got += got;
        if (error && error != EAGAIN)
            return error;
    }
    return 0;
}

/* The words and the step, and what comes with them, at most `more` bytes. */
static int hear_answer(int sock, struct sa_said *answer, struct reply *r, size_t more, char *step,
                       int64_t end)
{
    size_t n = answer->n + 1;
    r->got = 0;
    if (answer->n > SA_WORDS)
        return EINVAL;
    int error = hear_up_to(sock, r, n, n + more, answer, end);
    if (error)
        return error;
    for (size_t i = 0; i < answer->n; i++)
        ((uint8_t *)answer->words)[i] = r->bytes[i];
    *step = (char)r->bytes[answer->n];
    return 0;
}

/* Straight into the arena, which is being filled. */
static int receive_into(struct sa_arena *a, int sock, int64_t end)
{
    uint8_t *bytes;
    if (sa_export(a, true, &bytes)) /* wiped meanwhile: the end of the fill tells */
        return ECANCELED;
    int error = say_hear(sock, bytes, a->size, end);
    sa_unexport(a);
    return error;
}

/* The rest of it, and out of it the content. */
static int receive_encrypted(struct sa_arena *a, struct sa_arena *key, int sock,
                             struct sa_said *answer, struct reply *r, int64_t end)
{
    struct envelope envelope;
    size_t at = answer->n + 1, all = at + sizeof envelope + a->size;
    int error = hear_up_to(sock, r, all, all, answer, end);
    if (error)
        return error;
    memcpy(&envelope, r->bytes + at, sizeof envelope);
    return session_decrypt(a, key, &envelope, r->bytes + at + sizeof envelope);
}

/* Where the pages went, or could not be had. With came->shared the answer says what came of them. */
static int converse(struct sa_arena *a, struct sa_arena *key, int sock,
                    const struct sa_said *question, struct sa_said *answer, struct sa_came *came,
                    char *step, int64_t end)
{
    static const struct sa_said none = {.fd = -1};
    struct offer offer = {.kind = key ? ENCRYPTED : STREAM};
    struct reply reply;
    int error = 0;
    if (!came->shared)
        error = say_with(sock, question, &offer, sizeof offer, end);
    if (answer->n && (error == EPIPE || error == ECONNRESET))
        error = 0; /* it may have said why before */
    size_t more = key ? sizeof(struct envelope) + a->size : 0;
    if (error || (error = hear_answer(sock, answer, &reply, more, step, end)))
        return error;
    came->heard = true;
    if (came->shared && *step == REFUSED) {
        came->shared = false;
        if ((error = say_with(sock, &none, &offer, sizeof offer, end)) ||
            (error = say_hear(sock, step, 1, end)))
            return error;
    }
    if (key) {
        if (*step == SEALED && !(error = receive_encrypted(a, key, sock, answer, &reply, end)))
            *step = DONE;
        return error;
    }
    if (!came->shared && *step == GO && !(error = receive_into(a, sock, end)))
        error = say_hear(sock, step, 1, end);
    came->unread = error == ECANCELED;
    return error;
}

enum sa_code sa_ask(struct sa_arena *a, struct sa_arena *key, size_t size, unsigned required,
                    int sock, const struct sa_said *question, struct sa_said *answer,
                    uint32_t timeout_ms, struct sa_came *came, struct sa_why *why)
{
    int64_t end = os_now_ms() + timeout_ms;
    char step = REFUSED;
    *came = (struct sa_came){.given = false};
    answer->fd = -1;
    if (size > SA_ONE_MESSAGE)
        key = NULL;
    enum sa_code code = key ? sa_arena_make_with(a, size, 1, required, why)
                            : make_shared(a, size, required, sock, question, &came->shared, why);
    if (code)
        return code;
    int error = converse(a, key, sock, question, answer, came, &step, end);
    code = sa_fill_end(a, !error && step == DONE);
    if (!error && step == NOT_GIVEN && answer->n) {
        sa_close(a);
        return SA_OK;
    }
    if (error && error != ECANCELED)
        code = say_failed("recv", error, why);
    else if (step == GONE_BY)
        code = SA_WIPED;
    else if (!code && step != DONE)
        code = error ? SA_WIPED : say_failed("recv", EPROTO, why);
    came->given = !code;
    if (code)
        sa_close(a);
    return code;
}

enum sa_code sa_take_over(struct sa_arena *a, size_t size, int sock, uint32_t timeout_ms,
                          bool *shared, struct sa_why *why)
{
    const struct sa_said question = {.fd = -1};
    struct sa_said answer = {.fd = -1};
    struct sa_came came;
    enum sa_code code = sa_ask(a, NULL, size, 0, sock, &question, &answer, timeout_ms, &came, why);
    *shared = came.shared;
    if (answer.fd >= 0)
        os_close(answer.fd); /* unasked for */
    return code;
}
