/* The marker's way out: it arrives where it should, and whatever stands in its
 * way, the writer neither waits nor dies nor leaves a trace. Each test runs with
 * default actions for all signals, so that one of them would end it, and hangs
 * are ended by the alarm. */
#include "check.h"
#include "fatal/marker.h"
#include "os/os.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#ifdef __linux__
#include "linux.h"
#endif

static struct sa_why why;

static int set(int fd)
{
    int before;
    OK(marker_set(fd, &before, &why));
    return before;
}

/* What can be read there, without waiting. */
static size_t arrived(int fd, char *into, size_t n)
{
    int flags = fcntl(fd, F_GETFL);
    SAME(fcntl(fd, F_SETFL, flags | O_NONBLOCK), 0);
    ssize_t got = read(fd, into, n);
    SAME(fcntl(fd, F_SETFL, flags), 0);
    return got < 0 ? 0 : (size_t)got;
}

/* A terminal's bytes come by a worker of the kernel's, late or one by one. */
static void arrives(int fd, const char *what)
{
    char got[16];
    size_t n = 0, part;
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    while (n < strlen(what) && poll(&ready, 1, 10000) == 1 &&
           (part = arrived(fd, got + n, sizeof got - n)))
        n += part;
    n += arrived(fd, got + n, sizeof got - n); /* and no more than that */
    SAME(n, strlen(what));
    CHECK(!memcmp(got, what, strlen(what)));
}

static int scratch_file(void)
{
    char name[] = "/tmp/secalloc-marker-XXXXXX";
    int fd = mkstemp(name);
    CHECK(fd >= 0);
    unlink(name);
    return fd;
}

static off_t size_of(int fd)
{
    struct stat file;
    SAME(fstat(fd, &file), 0);
    return file.st_size;
}

/* ---- where it goes ---------------------------------------------------------------------- */

TEST(to_a_pipe)
{
    int ends[2];
    SAME(pipe(ends), 0);
    int standard_error = marker_fd();
    SAME(set(ends[1]), standard_error); /* which was the default */
    SAME(marker_fd(), ends[1]);
    marker_write('F', false);
    arrives(ends[0], "F");
    marker_write('L', true);
    marker_write('F', true);
    arrives(ends[0], "LF");
    SAME(set(-1), ends[1]);
    marker_write('F', false);
    arrives(ends[0], "");
    SAME(set(ends[1]), -1);
    SAME(set(-7), ends[1]);
    SAME(marker_fd(), -1);
}

TEST(to_a_socket_and_a_file)
{
    int pair[2], file = scratch_file();
    SAME(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    set(pair[1]);
    marker_write('F', false);
    arrives(pair[0], "F");
    set(file);
    marker_write('F', false);
    marker_write('L', false);
    SAME(size_of(file), 2);
}

TEST(the_default)
{
    int ends[2];
    SAME(pipe(ends), 0);
    int kept = dup(2);
    SAME(dup2(ends[1], 2), 2);
    marker_write('F', false); /* not what it was at load */
    arrives(ends[0], "");
    marker_start(); /* as if loaded now */
    SAME(marker_fd(), 2);
    marker_write('F', true); /* nobody chose it */
    arrives(ends[0], "");
    marker_write('F', false);
    marker_write('L', false);
    arrives(ends[0], "FL");
    SAME(dup2(kept, 2), 2); /* something else by now */
    marker_write('F', false);
    arrives(ends[0], "");
    SAME(dup2(ends[1], 2), 2);
    marker_write('F', false);
    arrives(ends[0], "F");
    marker_no_default();
    SAME(marker_fd(), -1);
    marker_write('F', false);
    arrives(ends[0], "");
    SAME(set(ends[1]), -1);
    marker_no_default(); /* another was set */
    SAME(marker_fd(), ends[1]);
}

TEST(a_closed_default)
{
    int kept = dup(2), ends[2];
    close(2);
    marker_start();
    SAME(marker_fd(), -1);
    SAME(pipe(ends), 0); /* takes number 2 */
    marker_write('F', false);
    CHECK(ends[0] == 2 || ends[1] == 2);
    char got[4];
    size_t n = arrived(ends[0], got, sizeof got);
    SAME(dup2(kept, 2), 2);
    SAME(n, 0);
}

/* Number 2 was taken before the library was loaded: what is closed by exec did not come
 * over it, and is no standard error. */
TEST(a_default_that_the_program_opened)
{
    int kept = dup(2), file = scratch_file();
    SAME(dup2(file, 2), 2);
    SAME(fcntl(2, F_SETFD, FD_CLOEXEC), 0);
    marker_start();
    marker_write('F', false);
    int fd = marker_fd();
    SAME(dup2(kept, 2), 2);
    SAME(fd, -1);
    SAME(size_of(file), 0);
}

/* This program anew, with that standard error; -1: closed. What it does is in main. */
static const char *program;

static void again(const char *what, int errors)
{
    pid_t child = fork();
    if (child == 0) {
        if (errors < 0)
            close(2);
        else
            dup2(errors, 2);
        execl(program, program, what, (char *)NULL);
        _exit(errno == ENOEXEC ? CHECK_SKIPPED : 1);
    }
    int status = check_wait(child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == CHECK_SKIPPED) {
        fprintf(stderr, "as another program: skipped: this kernel executes none of its kind\n");
        exit(CHECK_SKIPPED);
    }
    SAME(status, 0);
}

TEST(as_it_was_at_load)
{
    int ends[2], file = scratch_file();
    SAME(pipe(ends), 0);
    again("writes", ends[1]);
    arrives(ends[0], "F");
    again("closes-and-writes", ends[1]); /* no arena was made before */
    arrives(ends[0], "");
    again("writes", file);
    SAME(size_of(file), 1);
    again("closes-and-writes", -1);
}

/* The program itself, begun by the test above. Another file has number 2 by then. */
static int closes_and_writes(void)
{
    close(2);
    FILE *other = tmpfile();
    if (!other || dup2(fileno(other), 2) != 2)
        return 2;
    marker_write('F', false);
    return size_of(2) != 0;
}

TEST(bad_descriptors)
{
    int ends[2], before = 4711;
    SAME(pipe(ends), 0);
    set(ends[1]);
    close(ends[0]);
    SAME(marker_set(ends[0], &before, &why), SA_OS_ERROR);
    SAME(why.error, EBADF);
    SAME(before, 4711);
    SAME(marker_fd(), ends[1]); /* nothing changed */
}

/* A number that stands for another file by now gets nothing. */
TEST(a_number_used_again)
{
    int ends[2], others[2];
    SAME(pipe(ends), 0);
    SAME(pipe(others), 0);
    int file = scratch_file(), other = scratch_file();
    set(ends[1]);
    SAME(dup2(others[1], ends[1]), ends[1]);
    marker_write('F', false);
    arrives(others[0], "");
    set(file);
    SAME(dup2(other, file), file);
    marker_write('F', false);
    SAME(size_of(other), 0);
    close(file);
    marker_write('F', false); /* closed: nothing */
    SAME(set(other), file);
    marker_write('F', false);
    SAME(size_of(other), 1);
}

/* ---- what stands in the way ---------------------------------------------------------------- */

static void nothing_is_pending(void)
{
    sigset_t pending;
    sigpending(&pending);
    for (int sig = 1; sig < 32; sig++)
        SAME(sigismember(&pending, sig), 0);
}

/* Full: nothing is written, nobody waits, no flag of the description changes. */
TEST(full_pipe)
{
    int ends[2];
    static char block[65536]; /* of any machine a page: a pipe has room again by whole pages */
    SAME(pipe(ends), 0);
    int flags = fcntl(ends[1], F_GETFL);
    SAME(fcntl(ends[1], F_SETFL, flags | O_NONBLOCK), 0);
    while (write(ends[1], block, sizeof block) > 0 || write(ends[1], block, 1) > 0) {
    }
    SAME(fcntl(ends[1], F_SETFL, flags), 0);
    set(ends[1]);
    errno = 4711;
    marker_write('F', false);
    SAME(errno, 4711);
    SAME(fcntl(ends[1], F_GETFL), flags);
    CHECK(read(ends[0], block, sizeof block) > 0);
    marker_write('F', false); /* room again */
    size_t n;
    char last = 0;
    while ((n = arrived(ends[0], block, sizeof block)))
        last = block[n - 1];
    SAME(last, 'F');
}

TEST(full_socket)
{
    int pair[2], kinds[] = {SOCK_STREAM, SOCK_DGRAM};
    for (int i = 0; i < 2; i++) {
        SAME(socketpair(AF_UNIX, kinds[i], 0, pair), 0);
        char byte = 'x';
        int flags = fcntl(pair[1], F_GETFL);
        /* a send with MSG_DONTWAIT waits on macOS */
        SAME(fcntl(pair[1], F_SETFL, flags | O_NONBLOCK), 0);
        while (send(pair[1], &byte, 1, 0) == 1) {
        }
        SAME(fcntl(pair[1], F_SETFL, flags), 0);
        set(pair[1]);
        marker_write('F', false);
        SAME(fcntl(pair[1], F_GETFL), flags);
    }
}

TEST(nobody_reads)
{
    int ends[2], pair[2];
    SAME(pipe(ends), 0);
    close(ends[0]);
    set(ends[1]);
    errno = 4711;
    marker_write('F', false);
    SAME(errno, 4711);
    nothing_is_pending();
    SAME(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    close(pair[0]);
    set(pair[1]);
    marker_write('F', false);
    nothing_is_pending();
}

TEST(a_file_at_its_limit)
{
    int file = scratch_file();
    struct rlimit none = {3, 3};
    SAME(write(file, "abc", 3), 3);
    SAME(setrlimit(RLIMIT_FSIZE, &none), 0);
    set(file);
    marker_write('F', false);
    nothing_is_pending();
    SAME(size_of(file), 3);
}

/* Signals that were pending before are left, those that we caused are not. */
static volatile sig_atomic_t pipes;
static void count(int sig) { pipes += sig == SIGPIPE; }

TEST(a_pending_signal_is_kept)
{
    int ends[2];
    sigset_t one;
    SAME(pipe(ends), 0);
    close(ends[0]);
    set(ends[1]);
    signal(SIGPIPE, count);
    marker_write('F', false);
    SAME(pipes, 0);
    sigemptyset(&one);
    sigaddset(&one, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &one, NULL);
    raise(SIGPIPE);
    marker_write('F', false);
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    CHECK(sigismember(&now, SIGPIPE)); /* the mask is as it was */
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    SAME(pipes, 1);
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    CHECK(!sigismember(&now, SIGXFSZ) && !sigismember(&now, SIGTTOU));
}

#ifdef __linux__
/* A pipe where signals are to be held back: on a kernel before 6.18, in qemu-user, in a
 * sandbox. */
static void refused(int error, void (*test)(void))
{
    enum { NOSIGNAL = 0x100 };
    if (!deny_flag(SYS_pwritev2, NOSIGNAL, error))
        SKIP("no filter of system calls");
    test();
}

TEST(an_older_kernel) { refused(EOPNOTSUPP, test_to_a_pipe); }
TEST(an_emulator) { refused(ENOSYS, test_to_a_pipe); }
TEST(a_sandbox) { refused(EPERM, test_to_a_pipe); }
TEST(another_refusal) { refused(EINVAL, test_to_a_pipe); }

/* Where only what the C library calls is allowed, and else is death. */
TEST(a_sandbox_that_kills)
{
    if (under_tool())
        SKIP("tools are in the sandbox too");
    struct stat file;
    pid_t child = fork();
    if (child == 0)
        _exit(!filter(SYS_fstat, SECCOMP_RET_KILL_PROCESS) || fstat(0, &file));
    if (check_wait(child))
        SKIP("no filter of system calls, or this C library makes the same call");
    FILE *opened = tmpfile();
    CHECK(opened != NULL);
    CHECK(filter(SYS_fstat, SECCOMP_RET_KILL_PROCESS));
    set(fileno(opened));
    marker_write('F', false);
    char got;
    SAME(pread(fileno(opened), &got, 1, 0), 1);
    SAME(got, 'F');
}

TEST(full_pipe_on_an_older_kernel) { refused(EOPNOTSUPP, test_full_pipe); }
TEST(nobody_reads_on_an_older_kernel) { refused(EOPNOTSUPP, test_nobody_reads); }
TEST(a_pending_signal_on_an_older_kernel) { refused(EOPNOTSUPP, test_a_pending_signal_is_kept); }
#endif

static int open_terminal(int *other_end)
{
    *other_end = posix_openpt(O_RDWR | O_NOCTTY);
    CHECK(*other_end >= 0);
    SAME(grantpt(*other_end), 0);
    SAME(unlockpt(*other_end), 0);
    int terminal = open(ptsname(*other_end), O_RDWR | O_NOCTTY);
    CHECK(terminal >= 0);
    return terminal;
}

/* As Ctrl-S does. */
TEST(a_stopped_terminal)
{
    int other, terminal = open_terminal(&other);
    int flags = fcntl(terminal, F_GETFL);
    set(terminal);
    marker_write('F', false);
    arrives(other, "F");
    SAME(tcflow(terminal, TCOOFF), 0);
    marker_write('F', false);
    arrives(other, "");
    SAME(fcntl(terminal, F_GETFL), flags);
    SAME(tcflow(terminal, TCOON), 0);
    marker_write('F', false);
    arrives(other, "F");
}

/* A person reads it: there alone a newline follows, so that nothing is glued to it. */
TEST(a_terminal_as_standard_error)
{
    int other, terminal = open_terminal(&other);
    again("writes", terminal);
    arrives(other, "F\r\n");
    set(terminal); /* chosen, it is one byte */
    marker_write('F', false);
    arrives(other, "F");
}

/* In the background of a terminal that stops those who write: SIGTTOU. */
static void background(void *unused)
{
    (void)unused;
    int other, terminal;
    CHECK(setsid() >= 0);
    terminal = open_terminal(&other);
#ifdef TIOCSCTTY
    CHECK(ioctl(terminal, TIOCSCTTY, 0) == 0);
#endif
    struct termios mode;
    SAME(tcgetattr(terminal, &mode), 0);
    mode.c_lflag |= TOSTOP;
    SAME(tcsetattr(terminal, TCSANOW, &mode), 0);
    pid_t pid = fork();
    if (pid == 0) {
        SAME(setpgid(0, 0), 0); /* no longer in the foreground */
        set(terminal);
        marker_write('F', false);
        nothing_is_pending();
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(pid, &status, WUNTRACED) == pid);
    if (WIFSTOPPED(status))
        kill(pid, SIGKILL);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(a_terminal_in_the_background) { SAME(in_child(background, NULL), 0); }

/* ---- the description is shared ---------------------------------------------------------------- */

static _Atomic bool over;

static void *watches_flags(void *with)
{
    int fd = *(int *)with, flags = fcntl(fd, F_GETFL);
    while (goes_on(&over))
        SAME(fcntl(fd, F_GETFL), flags);
    return NULL;
}

TEST(no_flag_flickers)
{
    int ends[2], pair[2], other, terminal = open_terminal(&other), file = scratch_file();
    SAME(pipe(ends), 0);
    SAME(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    int fds[] = {ends[1], pair[1], terminal, file};
    for (int i = 0; i < 4; i++) {
        pthread_t thread;
        atomic_store(&over, false);
        SAME(pthread_create(&thread, NULL, watches_flags, &fds[i]), 0);
        set(fds[i]);
        for (int k = rounds(3000); k--;) {
            marker_write('F', false);
            char drop[64];
            if (i < 3 && k % 16 == 0)
                (void)!read(i == 0 ? ends[0] : i == 1 ? pair[0] : other, drop, sizeof drop);
        }
        atomic_store(&over, true);
        SAME(pthread_join(thread, NULL), 0);
    }
}

/* ---- threads ------------------------------------------------------------------------------------- */

static int ends_of_one[2], ends_of_two[2];

static void *sets(void *with)
{
    while (goes_on(&over)) {
        set(ends_of_one[1]);
        set(ends_of_two[1]);
        sched_yield();
    }
    return with;
}

TEST(written_while_set)
{
    if (UNDER_TSAN) /* an entry is used anew after seven settings, though a thread may still read it */
        SKIP("a ring read without a lock");
    pthread_t thread;
    char drop[4096];
    SAME(pipe(ends_of_one), 0);
    SAME(pipe(ends_of_two), 0);
    set(ends_of_one[1]);
    SAME(pthread_create(&thread, NULL, sets, NULL), 0);
    for (int i = rounds(30000); i--;) {
        size_t before = arrived(ends_of_one[0], drop, 64) + arrived(ends_of_two[0], drop, 64);
        SAME(before, 0);
        marker_write('F', false);
        before = arrived(ends_of_one[0], drop, 64) + arrived(ends_of_two[0], drop, 64);
        SAME(before, 1);
        SAME(drop[0], 'F');
    }
    atomic_store(&over, true);
    SAME(pthread_join(thread, NULL), 0);
}

/* What came over a channel is written to by the process that took it, not by a
 * child, which may put the default back. */
TEST(taken_over)
{
    int ends[2], errors[2];
    char byte = 0;
    SAME(pipe(ends), 0);
    SAME(pipe(errors), 0);
    SAME(dup2(errors[1], 2), 2);
    marker_start(); /* as if loaded now */
    SAME(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    SAME(fcntl(errors[0], F_SETFL, O_NONBLOCK), 0);
    SAME(marker_take(-5, &why), SA_OS_ERROR);
    OK(marker_take(ends[1], &why));
    SAME(marker_fd(), ends[1]);
    marker_write('F', true); /* as one that was set */
    SAME(read(ends[0], &byte, 1), 1);
    pid_t child = fork();
    if (child == 0) {
        marker_write('F', false);
        if (read(ends[0], &byte, 1) == 1)
            _exit(1);
        marker_leave(ends[0]); /* another: nothing changes */
        if (marker_fd() != ends[1])
            _exit(2);
        marker_leave(ends[1]);
        marker_write('L', true); /* nothing, it is the default */
        marker_write('F', false);
        _exit(marker_fd() == 2 && read(errors[0], &byte, 1) == 1 && byte == 'F' ? 0 : 3);
    }
    SAME(check_wait(child), 0);
    SAME(read(ends[0], &byte, 1), -1);
    marker_write('L', false);
    SAME(read(ends[0], &byte, 1), 1);
    SAME(byte, 'L');
    int previous;
    OK(marker_set(ends[1], &previous, &why)); /* set by the program: as ever */
    SAME(previous, ends[1]);
    marker_leave(ends[1]);
    SAME(marker_fd(), ends[1]);
}

int main(int argc, char **argv)
{
    program = argv[0];
    if (argc > 1 && !strcmp(argv[1], "writes")) {
        marker_write('F', true); /* nobody chose it */
        marker_write('F', false);
        return 0;
    }
    if (argc > 1 && !strcmp(argv[1], "closes-and-writes"))
        return closes_and_writes();
    check_begin("test_marker", argc, argv);
    RUN(to_a_pipe);
    RUN(to_a_socket_and_a_file);
    RUN(the_default);
    RUN(a_closed_default);
    RUN(a_default_that_the_program_opened);
    RUN(as_it_was_at_load);
    RUN(bad_descriptors);
    RUN(a_number_used_again);
    RUN(full_pipe);
    RUN(full_socket);
    RUN(nobody_reads);
    RUN(a_file_at_its_limit);
    RUN(a_pending_signal_is_kept);
#ifdef __linux__
    RUN(an_older_kernel);
    RUN(an_emulator);
    RUN(a_sandbox);
    RUN(another_refusal);
    RUN(a_sandbox_that_kills);
    RUN(full_pipe_on_an_older_kernel);
    RUN(nobody_reads_on_an_older_kernel);
    RUN(a_pending_signal_on_an_older_kernel);
#endif
    RUN(a_stopped_terminal);
    RUN(a_terminal_as_standard_error);
    RUN(a_terminal_in_the_background);
    RUN(no_flag_flickers);
    RUN(written_while_set);
    RUN(taken_over);
    return check_end();
}
