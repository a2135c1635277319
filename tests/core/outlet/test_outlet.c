/* Pipes and files from which others read a secret: what they give, to whom, and what is left. */
#include "arenas.h"
#ifndef __APPLE__
#include "linux.h"
#endif

#include "vault/vault.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>

#ifdef __APPLE__
static bool map_has(const void *at, const char *what)
{
    (void)at;
    (void)what;
    return true; /* a map does not tell there */
}
#endif

enum { SMALL = 40, LARGE = 400000 };

static struct sa_why why;
static struct sa_arena from;
static struct sa_outlet way;
static size_t unread;
static uint8_t got[LARGE + 1];

/* All that a descriptor gives, up to its end. */
static size_t read_all(int fd)
{
    size_t n = 0;
    ssize_t part;
    while ((part = read(fd, got + n, sizeof got - n)) > 0)
        n += (size_t)part;
    CHECK(part == 0);
    return n;
}

/* False: this system has no such thing. */
static bool open_file(size_t start, size_t size, int *fd)
{
    enum sa_code code = sa_file_open(&way, &from, start, size, fd, &why);
    if (code == SA_OS_ERROR && why.error == ENOTSUP)
        SKIP("has no files in memory");
    OK(code);
    return true;
}

TEST(a_pipe_gives_all_of_it)
{
    static const size_t sizes[] = {0, 1, SMALL, 512, 513, 4096, 4097, 65536, 65537};
    unsigned before = count_descriptors();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        int fd;
        make(&from, sizes[i], 1, 3);
        OK(sa_pipe_open(&way, &from, 0, sizes[i], &fd, &why));
        CHECK(fd > STDERR_FILENO && fcntl(fd, F_GETFD) & FD_CLOEXEC);
        SAME(read_all(fd), sizes[i]);
        CHECK(is_content(got, sizes[i], 3));
        OK(sa_outlet_close(&way, &unread));
        SAME(unread, 0);
        OK(sa_outlet_close(&way, &unread));
        SAME(count_descriptors(), before);
        sa_close(&from);
    }
}

TEST(a_part)
{
    int fd;
    make(&from, SMALL, 1, 3);
    OK(sa_pipe_open(&way, &from, 5, 10, &fd, &why));
    SAME(read_all(fd), 10);
    CHECK(!memcmp(got, raw(&from) + 5, 10));
    OK(sa_outlet_close(&way, &unread));
    SAME(sa_pipe_open(&way, &from, 5, SMALL, &fd, &why), SA_BAD_RANGE);
    OK(sa_outlet_close(&way, &unread));
}

/* Fed as it is read; meanwhile the arena is open for reading, and afterwards as before. */
TEST(more_than_a_pipe_holds)
{
    int fd;
    make(&from, LARGE, 1, 3);
    OK(sa_seal(&from, &why));
    OK(sa_pipe_open(&way, &from, 0, LARGE, &fd, &why));
    SAME(sa_state_of(&from), SA_USABLE);
    SAME(read_all(fd), LARGE);
    CHECK(is_content(got, LARGE, 3));
    OK(sa_outlet_close(&way, &unread));
    SAME(unread, 0);
    SAME(sa_state_of(&from), SA_IS_SEALED);
}

/* The reader's other holder gets no byte after the end, and does not keep it from ending. */
TEST(nobody_reads)
{
    static const size_t sizes[] = {SMALL, LARGE};
    for (size_t i = 0; i < 2; i++) {
        int fd;
        make(&from, sizes[i], 1, 3);
        OK(sa_pipe_open(&way, &from, 0, sizes[i], &fd, &why));
        int other = dup(fd);
        SAME(read(other, got, 7), 7);
        OK(sa_outlet_close(&way, &unread));
        SAME(unread, sizes[i] - 7);
        SAME(fcntl(fd, F_GETFD), -1);
        SAME(read_all(other), 0);
        close(other);
        sa_close(&from);
    }
}

/* A number that is another file's by then stays open. */
TEST(closed_by_others)
{
    int fd;
    make(&from, SMALL, 1, 3);
    OK(sa_pipe_open(&way, &from, 0, SMALL, &fd, &why));
    close(fd);
    int other[2];
    SAME(pipe(other), 0);
    SAME(dup2(other[0], fd), fd);
    OK(sa_outlet_close(&way, &unread));
    SAME(unread, SMALL);
    CHECK(fcntl(fd, F_GETFD) >= 0);
}

TEST(wiped_while_it_was_fed)
{
    int fd;
    make(&from, LARGE, 1, 3);
    OK(sa_pipe_open(&way, &from, 0, LARGE, &fd, &why));
    OK(sa_wipe(&from, &why));
    size_t n = read_all(fd); /* the end comes all the same */
    CHECK(n < LARGE);
    SAME(sa_outlet_close(&way, &unread), SA_WIPED);
    SAME(unread, LARGE - n);
    SAME(sa_pipe_open(&way, &from, 0, LARGE, &fd, &why), SA_WIPED);
    sa_close(&from);
    SAME(sa_pipe_open(&way, &from, 0, LARGE, &fd, &why), SA_CLOSED);
    SAME(sa_file_open(&way, &from, 0, LARGE, &fd, &why), SA_CLOSED);
}

TEST(a_file_gives_it_from_anywhere)
{
    static const size_t sizes[] = {0, 1, SMALL, 4096, 4097, LARGE};
    unsigned before = count_descriptors();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        int fd;
        size_t n = sizes[i];
        make(&from, n, 1, 3);
        OK(sa_seal(&from, &why));
        if (!open_file(0, n, &fd))
            return;
        SAME(sa_state_of(&from), SA_IS_SEALED);
        CHECK(fd > STDERR_FILENO && fcntl(fd, F_GETFD) & FD_CLOEXEC);
        for (int again = 0; again < 2; again++) {
            SAME(lseek(fd, 0, SEEK_SET), 0);
            SAME(read_all(fd), n);
            CHECK(is_content(got, n, 3));
        }
        if (n > 30) {
            SAME(pread(fd, got, 10, 20), 10);
            CHECK(content_at(20, 3) == got[0]);
        }
        OK(sa_outlet_close(&way, &unread));
        SAME(count_descriptors(), before);
        SAME(status().arenas, 1);
        sa_close(&from);
    }
}

/* A program that has the file writes nothing to it, maps nothing of it writable, and cannot change
 * its size. */
TEST(nobody_writes_to_a_file)
{
    int fd;
    char path[40];
    make(&from, SMALL, 1, 3);
    if (!open_file(0, SMALL, &fd))
        return;
    SAME(write(fd, "x", 1), -1);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int writable = open(path, O_RDWR | O_CLOEXEC); /* root may, whatever the mode */
    if (writable >= 0) {
        SAME(write(writable, "x", 1), -1);
        SAME(ftruncate(writable, 0), -1);
        CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, writable, 0) == MAP_FAILED);
        close(writable);
    }
    uint8_t *seen = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(seen != MAP_FAILED);
    CHECK(is_content(seen, SMALL, 3));
    CHECK(is_all(seen + SMALL, 4096 - SMALL, 0)); /* no canary for others to see */
    OK(sa_outlet_close(&way, &unread));
    CHECK(is_noise_from(seen, seen, 4096)); /* overwritten, though another has it open */
}

/* The pages of the file are an arena's: locked, kept from children and core files. */
TEST(protected_as_an_arena)
{
    int fd;
    NEEDS_LOCKED(1 << 20);
    make(&from, SMALL, 1, 3);
    if (!open_file(0, SMALL, &fd))
        return;
    SAME(status().arenas, 2);
    const uint8_t *at = raw(&way.copy);
    CHECK(sa_is_secure(at, SMALL));
    CHECK(map_has(at, " lo") && map_has(at, " dc") && map_has(at, " dd"));
    CHECK(!map_has(&from, " lo")); /* it would say so */
    OK(sa_outlet_close(&way, &unread));
    SAME(status().arenas, 1);
}

/* Both sizes: whole at once, and by pages that were ever touched. */
TEST(a_file_is_wiped_with_the_rest)
{
    static const size_t sizes[] = {SMALL, LARGE};
    no_marker();
    for (size_t i = 0; i < 2; i++) {
        int fd;
        make(&from, sizes[i], 1, 3);
        if (!open_file(0, sizes[i], &fd))
            return;
        SAME(lockdown(), 2);
        SAME(read_all(fd), sizes[i]);
        for (size_t k = 0; k + 8 <= sizes[i]; k += 8) {
            uint8_t held[8];
            for (unsigned j = 0; j < 8; j++)
                held[j] = content_at(k + j, 3);
            CHECK(memcmp(got + k, held, 8));
        }
        SAME(sa_outlet_close(&way, &unread), SA_WIPED);
        sa_close(&from);
    }
}

static int survives;

static void looks(int sig)
{
    (void)sig;
    _exit(pread(survives, got, SMALL, 0) == SMALL && !is_content(got, SMALL, 3) ? 7 : 8);
}

/* As the handler of before ours finds it. */
static void faults(void *fd)
{
    (void)fd;
    make(&from, SMALL, 1, 3);
    OK(sa_file_open(&way, &from, 0, SMALL, &survives, &why));
    SAME(pread(survives, got, SMALL, 0), SMALL);
    CHECK(is_content(got, SMALL, 3)); /* the control */
    *(volatile char *)8 = 1;
}

TEST(a_file_is_wiped_by_a_fault)
{
    if (under_valgrind())
        SKIP("a fault that a handler passes on is valgrind's internal error");
    int fd;
    no_marker();
    make(&from, SMALL, 1, 3);
    if (!open_file(0, SMALL, &fd))
        return;
    OK(sa_outlet_close(&way, &unread));
    OK(sa_disarm(&why));
    signal(SIGSEGV, looks);
    OK(sa_arm(NULL, 0, &why));
    int status = in_child(faults, NULL);
    SAME(WEXITSTATUS(status), 7);
}

struct both {
    struct sa_outlet pipe, file;
    int ends[2];
    bool has_file;
};

static void looks_in_child(void *with)
{
    struct both *b = with;
    sa_outlets_forked();
    SAME(fcntl(b->ends[0], F_GETFD), -1);
    SAME(fcntl(b->pipe.keep.fd, F_GETFD), -1);
    SAME(fcntl(b->ends[1], F_GETFD), -1);
    SAME(sa_outlet_close(&b->pipe, &unread), SA_FORKED);
    if (b->has_file)
        SAME(sa_outlet_close(&b->file, &unread), SA_FORKED);
    make(&from, LARGE, 1, 4); /* it has its own */
    int fd;
    OK(sa_pipe_open(&way, &from, 0, LARGE, &fd, &why));
    SAME(read_all(fd), LARGE);
    OK(sa_outlet_close(&way, &unread));
}

TEST(no_child_has_any)
{
    if (UNDER_TSAN)
        SKIP("ThreadSanitizer ends a child of a process with threads that begins one");
    static struct both b;
    make(&from, LARGE, 1, 3);
    OK(sa_pipe_open(&b.pipe, &from, 0, LARGE, &b.ends[0], &why));
    b.has_file = sa_file_open(&b.file, &from, 0, LARGE, &b.ends[1], &why) == SA_OK;
    if (!b.has_file)
        b.ends[1] = -1;
    SAME(in_child(looks_in_child, &b), 0);
    SAME(read_all(b.ends[0]), LARGE); /* ours is as it was */
    CHECK(is_content(got, LARGE, 3));
    OK(sa_outlet_close(&b.pipe, &unread));
    if (b.has_file) {
        SAME(read_all(b.ends[1]), LARGE);
        OK(sa_outlet_close(&b.file, &unread));
    }
}

static void *holds_descriptors(void *over)
{
    while (!atomic_load((_Atomic bool *)over)) {
        struct sa_outlet mine;
        struct sa_why unused;
        size_t left;
        int fd;
        if (sa_pipe_open(&mine, &from, 0, SMALL, &fd, &unused) == SA_OK)
            OK(sa_outlet_close(&mine, &left));
    }
    return NULL;
}

static void counts(void *most)
{
    sa_outlets_forked();
    CHECK(count_descriptors() <= *(unsigned *)most);
}

/* A fork waits for a thread that opens or closes just now, so that its child knows all of them. */
TEST(forks_beside_threads)
{
    if (under_valgrind())
        SKIP("to valgrind a child has lost what its parent's threads held");
    static _Atomic bool over;
    unsigned before = count_descriptors();
    pthread_t threads[3];
    make(&from, SMALL, 1, 3);
    for (int i = 0; i < 3; i++)
        SAME(pthread_create(&threads[i], NULL, holds_descriptors, &over), 0);
    for (int i = rounds(100); i; i--)
        SAME(in_child(counts, &before), 0);
    atomic_store(&over, true);
    for (int i = 0; i < 3; i++)
        SAME(pthread_join(threads[i], NULL), 0);
}

/* What a library freed a moment ago is overwritten. */
TEST(what_was_freed_is_overwritten)
{
    static uintptr_t at;
    int fd;
    if (under_tool())
        SKIP("the tool keeps what is freed");
    make(&from, SMALL, 1, 3);
    for (int swept = 0; swept < 2; swept++) {
        uint8_t *buffer = malloc(4096);
        memset(buffer, 0xa7, 4096);
        at = (uintptr_t)buffer;
        OK(sa_pipe_open(&way, &from, 0, SMALL, &fd, &why));
        free(buffer);
        if (swept)
            OK(sa_outlet_close(&way, &unread));
        bool there = sa_peek(at + 2048, got, 512) && is_all(got, 512, 0xa7);
        if (!swept) {
            OK(sa_outlet_close(&way, &unread));
            if (!there)
                SKIP("this C library keeps nothing of what is freed");
            continue;
        }
        CHECK(!there);
    }
}

int main(int argc, char **argv)
{
    check_begin("test_outlet", argc, argv);
    RUN(a_pipe_gives_all_of_it);
    RUN(a_part);
    RUN(more_than_a_pipe_holds);
    RUN(nobody_reads);
    RUN(closed_by_others);
    RUN(wiped_while_it_was_fed);
    RUN(a_file_gives_it_from_anywhere);
    RUN(nobody_writes_to_a_file);
    RUN(protected_as_an_arena);
    RUN(a_file_is_wiped_with_the_rest);
    RUN(a_file_is_wiped_by_a_fault);
    RUN(no_child_has_any);
    RUN(forks_beside_threads);
    RUN(what_was_freed_is_overwritten);
    return check_end();
}
