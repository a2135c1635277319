/* A secret under a key that both processes have: what passes through the socket is of no use to
 * anybody else, and what was changed, or wiped, on the way is no content. */
#include "check.h"

#include "arenas.h"
#include "os/os.h"
#include "transfer/session.h"

#include <pthread.h>
#include <sys/socket.h>

enum { KEY_SEED = 9, SEED = 3, WORDS = 8, OFFER = 24, AT = WORDS + 1 };

static struct sa_why why;
static struct sa_arena from, to, mine, theirs;

/* ---- the two, and what is between them ------------------------------------------------------ */

struct taker {
    int sock;
    size_t size;
    struct sa_arena *key;
    unsigned required;
    enum sa_code code;
    int error;
    struct sa_came came;
    char words[WORDS];
};

static void *takes(void *with)
{
    struct taker *t = with;
    char question[WORDS] = "ask me!";
    struct sa_said asked = {.words = question, .n = WORDS, .fd = -1};
    struct sa_said told = {.words = t->words, .n = WORDS, .fd = -1};
    struct sa_why unused = {0};
    t->code = sa_ask(&to, t->key, t->size, t->required, t->sock, &asked, &told, 20000, &t->came,
                     &unused);
    t->error = unused.error;
    return NULL;
}

/* A run of which each step is to be seen: `near` is the taker's pair of sockets, `far` the giver's. */
struct run {
    int near[2], far[2];
    pthread_t thread;
    struct taker taker;
    char kind;
    uint8_t wire[SA_WORDS + SA_ONE_MESSAGE + 100];
    size_t n;
};

static void begin(struct run *r, size_t size, struct sa_arena *key)
{
    uint8_t question[WORDS + OFFER];
    *r = (struct run){.taker = {.size = size, .key = key}};
    SAME(socketpair(AF_UNIX, SOCK_STREAM, 0, r->near), 0);
    SAME(socketpair(AF_UNIX, SOCK_STREAM, 0, r->far), 0);
    r->taker.sock = r->near[0];
    SAME(pthread_create(&r->thread, NULL, takes, &r->taker), 0);
    SAME(recv(r->near[1], question, sizeof question, MSG_WAITALL), sizeof question);
    r->kind = (char)question[WORDS];
    SAME(send(r->far[1], question, sizeof question, 0), sizeof question);
}

/* What the giver makes of it, all of which is in the wire's buffer then. */
static enum sa_code give(struct run *r, struct sa_arena *key)
{
    char words[WORDS];
    struct sa_said question = {.words = words, .n = WORDS, .fd = -1};
    struct sa_said said = {.words = (char[WORDS]){"answer!"}, .n = WORDS, .fd = -1};
    struct sa_asked asked;
    OK(sa_hear_question(r->far[0], &question, from.size, 1000, &asked, &why));
    SAME(memcmp(words, "ask me!", WORDS), 0);
    enum sa_code code = sa_answer(&from, key, r->far[0], &asked, &said, 1000, &why);
    ssize_t got = recv(r->far[1], r->wire, sizeof r->wire, MSG_DONTWAIT);
    r->n = got < 0 ? 0 : (size_t)got;
    return code;
}

static enum sa_code end(struct run *r)
{
    SAME(send(r->near[1], r->wire, r->n, 0), (ssize_t)r->n);
    SAME(pthread_join(r->thread, NULL), 0);
    for (int i = 0; i < 2; i++) {
        close(r->near[i]);
        close(r->far[i]);
    }
    return r->taker.code;
}

static void keys(void)
{
    make(&mine, 32, 1, KEY_SEED);
    make(&theirs, 32, 1, KEY_SEED);
}

/* Whether sixteen bytes of the content in a row are on the wire. */
static bool is_plain(const struct run *r, size_t size)
{
    for (size_t i = 0; i + 16 <= r->n; i++)
        for (size_t at = 0; at + 16 <= size; at++) {
            uint8_t part[16];
            for (size_t k = 0; k < sizeof part; k++)
                part[k] = content_at(at + k, SEED);
            if (!memcmp(r->wire + i, part, sizeof part))
                return true;
        }
    return false;
}

/* ---- as it should be ------------------------------------------------------------------------ */

static const size_t sizes[] = {0, 1, 32, 100, 4095, SA_ONE_MESSAGE};

TEST(only_ciphertext_goes_through_the_socket)
{
    keys();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct run r;
        size_t size = sizes[i];
        make(&from, size, 1, SEED);
        begin(&r, size, &theirs);
        SAME(r.kind, 'E');
        OK(give(&r, &mine));
        SAME(r.n, AT + sizeof(struct envelope) + size);
        CHECK(!is_plain(&r, size));
        OK(end(&r));
        CHECK(r.taker.came.given && !strcmp(r.taker.words, "answer!"));
        CHECK(is_content(raw(&to), size, SEED));
        OK(sa_check(&to));
        OK(sa_check(&from));
        sa_close(&to);
        sa_close(&from);
    }
}

/* The control: without a key, and without secretmem, it is there to be read. */
TEST(without_a_key_it_is_plain)
{
    struct run r;
    (void)!sa_use_secretmem(false);
    make(&from, 100, 1, SEED);
    begin(&r, 100, NULL);
    SAME(r.kind, 'S');
    OK(give(&r, &mine)); /* which is not asked for */
    CHECK(is_plain(&r, 100));
    OK(end(&r));
    CHECK(is_content(raw(&to), 100, SEED));
}

TEST(no_two_are_alike)
{
    struct run r;
    static uint8_t before[sizeof r.wire];
    keys();
    make(&from, 100, 1, SEED);
    for (int i = 0; i < 3; i++) {
        begin(&r, 100, &theirs);
        OK(give(&r, &mine));
        size_t at = AT + sizeof(struct envelope);
        CHECK(memcmp(r.wire + AT, before + AT, 8)); /* the count */
        CHECK(memcmp(r.wire + at, before + at, 16));
        memcpy(before, r.wire, r.n);
        OK(end(&r));
        sa_close(&to);
    }
}

TEST(more_than_a_message_comes_in_another_way)
{
    struct run r;
    keys();
    begin(&r, SA_ONE_MESSAGE + 1, &theirs);
    CHECK(r.kind == 'P' || r.kind == 'S');
    r.n = AT;
    r.wire[WORDS] = SA_NOT_GIVEN;
    OK(end(&r));
    CHECK(!r.taker.came.given);
}

/* What is required of it is remembered, in which way it may come. */
TEST(what_is_required)
{
    char spent[WORDS] = {0};
    for (int keyed = 0; keyed < 2; keyed++) {
        int ends[2];
        struct sa_said question = {.words = spent, .n = WORDS, .fd = -1}, said = question;
        struct sa_came came;
        keys();
        SAME(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        char refusal[AT] = {[WORDS] = 'D'};
        if (keyed) { /* of nothing, under that key */
            make(&from, 0, 1, SEED);
            struct envelope envelope;
            uint8_t none;
            OK(session_encrypt(&from, &mine, &envelope, &none));
            refusal[WORDS] = 'E';
            SAME(send(ends[1], refusal, AT, 0), AT);
            SAME(send(ends[1], &envelope, sizeof envelope, 0), sizeof envelope);
        } else {
            SAME(send(ends[1], refusal, AT, 0), AT);
        }
        OK(sa_ask(&to, keyed ? &theirs : NULL, 0, SA_LOCK, ends[0], &question, &said, 1000, &came,
                  &why));
        SAME(to.required, SA_LOCK);
        sa_close(&to);
    }
}

/* ---- as it should not ------------------------------------------------------------------------ */

TEST(what_was_changed_is_refused)
{
    const size_t places[] = {AT, AT + 7, AT + 8, AT + 23, AT + 24, AT + 24 + 99};
    keys();
    make(&from, 100, 1, SEED);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        struct run r;
        begin(&r, 100, &theirs);
        OK(give(&r, &mine));
        r.wire[places[i]] ^= 0x40;
        SAME(end(&r), SA_OS_ERROR);
        SAME(r.taker.error, EPROTO);
        CHECK(r.taker.came.heard && !r.taker.came.given);
        SAME(sa_state_of(&to), SA_IS_CLOSED);
    }
    make(&theirs, 32, 1, KEY_SEED + 1);
    struct run r;
    begin(&r, 100, &theirs);
    OK(give(&r, &mine));
    SAME(end(&r), SA_OS_ERROR); /* another key */
}

TEST(whichever_is_wiped)
{
    struct sa_arena *all[] = {&from, &mine, &theirs};
    for (int i = 0; i < 3; i++) {
        struct run r;
        keys();
        make(&from, 100, 1, SEED);
        begin(&r, 100, &theirs);
        if (i < 2)
            OK(sa_wipe(all[i], &why));
        SAME(give(&r, &mine), i < 2 ? SA_WIPED : SA_OK);
        SAME(r.n, i < 2 ? AT : AT + sizeof(struct envelope) + 100);
        if (i == 2)
            OK(sa_wipe(all[i], &why));
        SAME(end(&r), SA_WIPED);
        CHECK(r.taker.came.heard && !r.taker.came.given);
        SAME(sa_state_of(&to), SA_IS_CLOSED);
    }
}

/* Where it comes as it is, what is left of it in the socket is no answer to another question. */
TEST(wiped_before_it_is_read)
{
    struct run r;
    for (int keyed = 0; keyed < 2; keyed++) {
        (void)!sa_use_secretmem(false);
        keys();
        make(&from, 100, 1, SEED);
        begin(&r, 100, keyed ? &theirs : NULL);
        OK(sa_wipe(&to, &why));
        OK(give(&r, &mine));
        SAME(end(&r), SA_WIPED);
        CHECK(r.taker.came.heard && !r.taker.came.given);
        SAME(r.taker.came.unread, !keyed);
    }
}

TEST(a_giver_without_a_key_or_with_too_much)
{
    struct run r;
    keys();
    make(&from, 100, 1, SEED);
    begin(&r, 100, &theirs);
    SAME(give(&r, NULL), SA_OS_ERROR);
    SAME(why.error, EPROTO);
    SAME(r.n, 0);
    shutdown(r.near[1], SHUT_RDWR);
    SAME(pthread_join(r.thread, NULL), 0);
    SAME(r.taker.code, SA_OS_ERROR);
    sa_close(&from);
    make(&from, SA_ONE_MESSAGE + 1, 1, SEED);
    begin(&r, 100, &theirs);
    SAME(give(&r, &mine), SA_OS_ERROR);
    SAME(r.n, 0);
    shutdown(r.near[1], SHUT_RDWR);
    SAME(pthread_join(r.thread, NULL), 0);
}

static _Atomic bool over;

static void *locks_down(void *with)
{
    while (goes_on(&over)) {
        (void)lockdown();
        pause_ms(1);
    }
    return with;
}

/* Whatever came out usable is the content, whole. */
TEST(under_lockdown)
{
    if (UNDER_TSAN)
        SKIP("made of what a race detector calls races");
    pthread_t wiper;
    int good = 0, bad = 0;
    no_marker();
    make_wiped(&from, SA_ONE_MESSAGE, 1);
    make_wiped(&mine, 32, 1);
    make_wiped(&theirs, 32, 1);
    struct sa_arena *all[] = {&from, &mine, &theirs};
    SAME(pthread_create(&wiper, NULL, locks_down, NULL), 0);
    for (int i = 0; i < 20000 && (i < rounds(400) || !good || !bad); i++) {
        static uint8_t content[SA_ONE_MESSAGE];
        for (int k = 0; k < 3; k++) {
            put_content(content, all[k]->size, k ? KEY_SEED : (unsigned)i);
            OK(sa_fill_begin(all[k], &why));
            enum sa_code stored = sa_store(all[k], 0, content, all[k]->size);
            (void)!sa_fill_end(all[k], stored == SA_OK);
        }
        struct run r;
        begin(&r, SA_ONE_MESSAGE, &theirs);
        enum sa_code code = give(&r, &mine);
        CHECK(code == SA_OK || code == SA_WIPED);
        code = end(&r);
        CHECK(code == SA_OK || code == SA_WIPED);
        const uint8_t *look;
        bool whole = false;
        if (!code && sa_borrow(&to, &look) == SA_OK) {
            memcpy(content, look, sizeof content);
            whole = sa_return(&to) == SA_OK;
        }
        CHECK(!whole || is_content(content, sizeof content, (unsigned)i));
        good += whole;
        bad += !whole;
        sa_close(&to);
    }
    atomic_store(&over, true);
    SAME(pthread_join(wiper, NULL), 0);
    CHECK(good > 0 && bad > 0);
}

/* Wipes it while both are in use and no slot can be held, as a pass is under way. */
static void *wipes_in_a_pass(void *with)
{
    pause_ms(20);
    (void)slot_wipe(arena_slot(with));
    wipers_leave();
    return NULL;
}

static void wiped_in_use(struct sa_arena *a, bool giving)
{
    struct envelope envelope;
    uint8_t out[100] = {0};
    pthread_t thread;
    keys();
    make(&from, sizeof out, 1, SEED);
    to = (struct sa_arena){0};
    OK(sa_arena_make(&to, sizeof out, 1, &why));
    OK(session_encrypt(&from, &mine, &envelope, out));
    wipers_enter();
    SAME(pthread_create(&thread, NULL, wipes_in_a_pass, a), 0);
    if (giving)
        SAME(session_encrypt(&from, &mine, &envelope, out), SA_WIPED);
    else
        SAME(session_decrypt(&to, &theirs, &envelope, out), ECANCELED);
    SAME(pthread_join(thread, NULL), 0);
    sa_close(&from);
    sa_close(&to);
}

/* Whichever of the two is wiped before its slot is held: noise is neither encrypted nor a key. */
TEST(wiped_in_use_before_it_is_held)
{
    wiped_in_use(&from, true);
    wiped_in_use(&mine, true);
    wiped_in_use(&to, false);
    wiped_in_use(&theirs, false);
}

int main(int argc, char **argv)
{
    check_begin("test_session", argc, argv);
    RUN(only_ciphertext_goes_through_the_socket);
    RUN(without_a_key_it_is_plain);
    RUN(no_two_are_alike);
    RUN(more_than_a_message_comes_in_another_way);
    RUN(what_is_required);
    RUN(what_was_changed_is_refused);
    RUN(whichever_is_wiped);
    RUN(wiped_before_it_is_read);
    RUN(a_giver_without_a_key_or_with_too_much);
    RUN(under_lockdown);
    RUN(wiped_in_use_before_it_is_held);
    return check_end();
}
