/* Handing a secret over: both ways, from arena to arena, and all that goes wrong. */
#include "check.h"

#include "arenas.h"
#include "os/os.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>

static struct sa_why why;
static struct sa_arena from, to;

struct giver {
    struct sa_arena *arena;
    int sock;
    uint32_t timeout;
    enum sa_code code;
    int error;
};

static void *gives(void *with)
{
    struct giver *g = with;
    struct sa_why mine = {0};
    g->code = sa_hand_over(g->arena, g->sock, g->timeout, &mine);
    g->error = mine.error;
    return NULL;
}

static void pair(int ends[2]) { SAME(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0); }

static bool has_secretmem(void)
{
    struct sa_arena probe = {0};
    OK(sa_arena_make(&probe, 1, 1, &why));
    bool has = sa_protection_of(&probe) & SA_SECRETMEM;
    sa_close(&probe);
    return has;
}

static int highest_fd(void)
{
    int fd = dup(0);
    close(fd);
    return fd;
}

/* Hand `size` bytes from thread to thread. */
static void hand(size_t size, bool *shared)
{
    int ends[2];
    pthread_t thread;
    make(&from, size, 1, 3);
    pair(ends);
    int before = highest_fd();
    struct giver g = {.arena = &from, .sock = ends[0], .timeout = 20000};
    SAME(pthread_create(&thread, NULL, gives, &g), 0);
    OK(sa_take_over(&to, size, ends[1], 20000, shared, &why));
    SAME(pthread_join(thread, NULL), 0);
    OK(g.code);
    SAME(highest_fd(), before);
    SAME(sa_state_of(&to), SA_USABLE);
    CHECK(is_content(raw(&to), size, 3));
    CHECK(sa_address_of(&to) != sa_address_of(&from));
    OK(sa_check(&to));
    OK(sa_wipe(&from, &why)); /* the copy is independent */
    CHECK(is_content(raw(&to), size, 3));
    enum sa_code code = sa_rotate(&to, 0, &why);
    if (code != SA_UNPROTECTED ||
        os_lock_limit() >= 1 << 20) /* a low limit has no room for a third */
        OK(code);
    CHECK(is_content(raw(&to), size, 3));
    sa_close(&from);
    sa_close(&to);
    close(ends[0]);
    close(ends[1]);
}

static const size_t sizes[] = {0, 1, 32, 4095, 4096, 4097, 60000, 70000, 400000};

TEST(hands_over)
{
    bool secretmem = has_secretmem(), shared;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        hand(sizes[i], &shared);
        if (os_lock_limit() >= 1 << 20 ||
            sizes[i] <= os_page_size()) /* a low one has no room for both */
            SAME(shared, secretmem);
    }
}

/* The pages that came are as any arena's. */
TEST(same_protections)
{
    if (!has_secretmem())
        SKIP("needs secretmem");
    int ends[2];
    bool shared;
    pthread_t thread;
    no_marker();
    make(&from, 100, 1, 1);
    pair(ends);
    struct giver g = {.arena = &from, .sock = ends[0], .timeout = 20000};
    SAME(pthread_create(&thread, NULL, gives, &g), 0);
    OK(sa_take_over(&to, 100, ends[1], 20000, &shared, &why));
    SAME(pthread_join(thread, NULL), 0);
    CHECK(shared);
    SAME(sa_protection_of(&to), sa_protection_of(&from));
    CHECK(!readable((uint8_t *)sa_address_of(&to) + 100));
    pid_t child = fork();
    if (child == 0)
        _exit(readable((void *)sa_address_of(&to)));
    SAME(check_wait(child), 0);
    size_t wiped;
    SAME(sa_lockdown(&wiped, &why), SA_OK);
    SAME(wiped, 2);
    CHECK(!is_content(raw(&to), 100, 1));
    sa_close(&to);
    make(&to, 100, 1, 2); /* parked and taken again */
    CHECK(is_content(raw(&to), 100, 2));
}

TEST(nothing_to_give)
{
    int ends[2];
    bool shared;
    pthread_t thread;
    make(&from, 100, 1, 1);
    OK(sa_wipe(&from, &why));
    pair(ends);
    struct giver g = {.arena = &from, .sock = ends[0], .timeout = 20000};
    SAME(pthread_create(&thread, NULL, gives, &g), 0);
    SAME(sa_take_over(&to, 100, ends[1], 20000, &shared, &why), SA_WIPED);
    SAME(pthread_join(thread, NULL), 0);
    SAME(g.code, SA_WIPED);
    SAME(sa_state_of(&to), SA_IS_CLOSED);
    struct sa_status status;
    sa_status(&status);
    SAME(status.arenas, 1);
}

TEST(nobody_there)
{
    int ends[2];
    bool shared;
    make(&from, 100, 1, 1);
    pair(ends);
    SAME(sa_hand_over(&from, ends[0], 20, &why), SA_OS_ERROR);
    SAME(why.error, ETIMEDOUT);
    SAME(sa_take_over(&to, 100, ends[1], 20, &shared, &why), SA_OS_ERROR);
    SAME(why.error, ETIMEDOUT);
    close(ends[1]);
    /* what the receiver offered is there still, but its pages are gone with it */
    enum sa_code code = sa_hand_over(&from, ends[0], 20, &why);
    CHECK(code == SA_OK || code == SA_OS_ERROR);
    pair(ends);
    close(ends[0]);
    signal(SIGPIPE, SIG_DFL);
    SAME(sa_take_over(&to, 100, ends[1], 1000, &shared, &why), SA_OS_ERROR);
    CHECK(why.error == ECONNRESET || why.error == EPIPE);
    SAME(sa_state_of(&from), SA_USABLE);
    struct sa_status status;
    sa_status(&status);
    SAME(status.arenas, 1);
}

/* ---- a hostile other side --------------------------------------------------------------- */

struct offer {
    char kind;
    char spare[7];
    uint64_t offset;
    uint64_t bytes;
};

/* What the giver answers to an offer with that descriptor. */
static char answer_to(struct offer offer, int fd, size_t size)
{
    int ends[2];
    pthread_t thread;
    size_t n;
    char answer = 0;
    pair(ends);
    make(&from, size, 1, 1);
    int before = highest_fd();
    struct giver g = {.arena = &from, .sock = ends[0], .timeout = 60};
    SAME(os_socket_send(ends[1], &offer, sizeof offer, fd, &n), 0);
    SAME(pthread_create(&thread, NULL, gives, &g), 0);
    SAME(pthread_join(thread, NULL), 0);
    SAME(highest_fd(), before);
    if (recv(ends[1], &answer, 1, MSG_DONTWAIT) != 1)
        answer = g.code == SA_OS_ERROR && g.error == EPROTO ? '!' : 0;
    sa_close(&from);
    close(ends[0]);
    close(ends[1]);
    return answer;
}

TEST(pages_that_are_none)
{
    size_t page = os_page_size();
    char path[] = "/tmp/secalloc-test-XXXXXX";
    int file = mkstemp(path);
    CHECK(file >= 0);
    unlink(path);
    SAME(ftruncate(file, (off_t)page), 0);
    struct offer offer = {.kind = 'P', .offset = page - 100, .bytes = page};
    SAME(answer_to(offer, file, 100), 'R'); /* it would lie on the disk */
    char byte;
    for (size_t i = 0; i < page; i++) {
        SAME(pread(file, &byte, 1, (off_t)i), 1);
        SAME(byte, 0);
    }
    SAME(answer_to(offer, -1, 100), 'R');
    SAME(answer_to(offer, 0, 100), 'R');
    offer.kind = 'x';
    SAME(answer_to(offer, -1, 100), '!');
}

TEST(offers_that_do_not_fit)
{
    if (!has_secretmem())
        SKIP("needs secretmem");
    size_t page = os_page_size();
    static const struct {
        uint64_t offset, size;
        char answer;
    } tries[] = {
        {0, 100, 'D'},
        {1, 4095, 'D'},
        {1, 4096, 'R'},
        {4096, 0, 'D'},
        {4096, 1, 'R'},
        {UINT64_MAX, 1, 'R'},
        {UINT64_MAX - 99, 100, 'R'},
        {100, 5000, 'R'},
    };
    if (page != 4096)
        SKIP("made for pages of 4 KiB");
    for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++) {
        int fd;
        void *at;
        SAME(os_share_open(page, &fd, &at), 0);
        struct offer offer = {.kind = 'P', .offset = tries[i].offset, .bytes = page};
        SAME(answer_to(offer, fd, tries[i].size), tries[i].answer);
        if (tries[i].answer == 'D')
            CHECK(is_content((uint8_t *)at + tries[i].offset, tries[i].size, 1));
        else
            for (size_t k = 0; k < page; k++)
                SAME(((uint8_t *)at)[k], 0);
        offer.bytes = 2 * page; /* not its size */
        offer.offset = 0;
        SAME(answer_to(offer, fd, 1), 'R');
        close(fd);
        SAME(os_release(at, page), 0);
    }
}

/* Many more than it takes. */
TEST(pages_without_need)
{
    int fd;
    void *at;
    if (!has_secretmem())
        SKIP("needs secretmem");
    size_t bytes = 64 * os_page_size();
    NEEDS_LOCKED(2 * bytes);
    SAME(os_share_open(bytes, &fd, &at), 0);
    struct offer large = {.kind = 'P', .offset = 0, .bytes = bytes};
    SAME(answer_to(large, fd, 1), 'R');
}

static void *answers_nonsense(void *with)
{
    int sock = *(int *)with;
    struct offer offer;
    char byte = '?';
    CHECK(recv(sock, &offer, sizeof offer, 0) > 0);
    SAME(send(sock, &byte, 1, 0), 1);
    return NULL;
}

TEST(a_giver_that_talks_nonsense)
{
    int ends[2];
    bool shared;
    pthread_t thread;
    pair(ends);
    SAME(pthread_create(&thread, NULL, answers_nonsense, &ends[0]), 0);
    SAME(sa_take_over(&to, 100, ends[1], 20000, &shared, &why), SA_OS_ERROR);
    SAME(why.error, EPROTO);
    SAME(pthread_join(thread, NULL), 0);
    SAME(sa_state_of(&to), SA_IS_CLOSED);
}

/* Through the socket it goes part by part, and never in parts of two contents. */
TEST(replaced_in_the_midst)
{
    enum { BYTES = 1 << 20 }; /* more than a socket takes at once */
    static uint8_t part[65536], next[BYTES];
    struct offer offer = {.kind = 'S'};
    struct sa_arena fresh = {0};
    int ends[2];
    pthread_t thread;
    size_t n;
    char go;
    pair(ends);
    make(&from, BYTES, 1, 1);
    struct giver g = {.arena = &from, .sock = ends[0], .timeout = 20000};
    SAME(os_socket_send(ends[1], &offer, sizeof offer, -1, &n), 0);
    SAME(pthread_create(&thread, NULL, gives, &g), 0);
    SAME(recv(ends[1], &go, 1, MSG_WAITALL), 1);
    SAME(go, 'G');
    SAME(recv(ends[1], part, 1000, MSG_WAITALL), 1000);
    CHECK(is_content(part, 1000, 1));
    put_content(next, BYTES, 2);
    OK(sa_twin(&from, &fresh, &why));
    OK(sa_store(&fresh, 0, next, BYTES));
    OK(sa_fill_end(&fresh, true));
    OK(sa_replace(&from, &fresh, &why));
    while (recv(ends[1], part, sizeof part, MSG_DONTWAIT) > 0) {
    }
    SAME(pthread_join(thread, NULL), 0);
    SAME(g.code, SA_WIPED);
    CHECK(is_content(raw(&from), BYTES, 2));
    sa_close(&fresh);
    sa_close(&from);
}

/* ---- wipes in between ----------------------------------------------------------------------- */

static _Atomic bool over;

static void *locks_down(void *with)
{
    while (goes_on(&over)) {
        size_t wiped;
        struct sa_why mine;
        (void)!sa_lockdown(&wiped, &mine);
        pause_ms(1);
    }
    return with;
}

/* Whatever came out usable is the content, whole. */
TEST(handing_over_under_lockdown)
{
    if (UNDER_TSAN)
        SKIP("made of what a race detector calls races");
    pthread_t thread, wiper;
    int good = 0, bad = 0, ends[2];
    bool shared;
    size_t size = 9000;
    no_marker();
    make(&from, size, 1, 1);
    SAME(pthread_create(&wiper, NULL, locks_down, NULL), 0);
    for (int i = 0; i < 20000 && (i < rounds(400) || !good || !bad); i++) {
        static uint8_t content[9000], copy[9000];
        put_content(content, size, (unsigned)i);
        OK(sa_fill_begin(&from, &why));
        enum sa_code stored = sa_store(&from, 0, content, size);
        (void)!sa_fill_end(&from, stored == SA_OK);
        pair(ends);
        struct giver g = {.arena = &from, .sock = ends[0], .timeout = 20000};
        SAME(pthread_create(&thread, NULL, gives, &g), 0);
        enum sa_code code = sa_take_over(&to, size, ends[1], 20000, &shared, &why);
        SAME(pthread_join(thread, NULL), 0);
        CHECK(code == SA_OK || code == SA_WIPED || code == SA_OS_ERROR);
        const uint8_t *look;
        if (!code && sa_borrow(&to, &look) == SA_OK) {
            memcpy(copy, look, size);
            if (sa_return(&to) == SA_OK) {
                CHECK(is_content(copy, size, (unsigned)i));
                good++;
            } else {
                bad++;
            }
        } else {
            bad++;
        }
        sa_close(&to);
        close(ends[0]);
        close(ends[1]);
    }
    atomic_store(&over, true);
    SAME(pthread_join(wiper, NULL), 0);
    CHECK(good > 0 && bad > 0);
}

#ifdef __linux__
#include "linux.h"

/* Without secretmem on the one side or the other it goes through the socket. */
TEST(through_the_socket)
{
    bool shared;
    deny(447, EPERM);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        hand(sizes[i], &shared);
        CHECK(!shared);
    }
}
#endif

int main(int argc, char **argv)
{
    check_begin("test_transfer", argc, argv);
    RUN(hands_over);
    RUN(same_protections);
    RUN(nothing_to_give);
    RUN(nobody_there);
    RUN(pages_that_are_none);
    RUN(offers_that_do_not_fit);
    RUN(pages_without_need);
    RUN(a_giver_that_talks_nonsense);
    RUN(replaced_in_the_midst);
    RUN(handing_over_under_lockdown);
#ifdef __linux__
    RUN(through_the_socket);
#endif
    return check_end();
}
