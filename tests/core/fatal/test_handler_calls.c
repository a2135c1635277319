/* The system calls that the fatal handler makes are those that docs/platforms.md lists: none
 * besides, and none of them in vain. Each is tried by a filter that ends the process. */
#include "arenas.h"

#ifndef __linux__
int main(int argc, char **argv)
{
    check_begin("test_handler_calls", argc, argv);
    return check_end();
}
#else
#include "linux.h"

#include <pthread.h>
#include <sys/socket.h>
#include <termios.h>

static const struct {
    const char *name;
    long number;
    bool not_always; /* by chance alone, or not with every C library */
} listed[] = {
#define CALL(name) \
    { \
        #name, SYS_##name, false \
    }
#define SOME(name) \
    { \
        #name, SYS_##name, true \
    }
    CALL(getpid),       CALL(rt_sigaction),   CALL(gettid),        CALL(rt_tgsigqueueinfo),
    CALL(rt_sigreturn), CALL(fstat),          CALL(pwritev2),      SOME(newfstatat),
    CALL(sendto),       CALL(rt_sigprocmask), CALL(rt_sigpending), CALL(openat),
    CALL(write),        CALL(close),          CALL(fcntl),         CALL(rt_sigtimedwait),
    CALL(mprotect),     CALL(mmap),           CALL(munmap),        CALL(mincore),
    CALL(pread64),      CALL(sysinfo),        SOME(sched_yield),   CALL(sigaltstack),
    CALL(ioctl),        CALL(tgkill),         CALL(tkill),         CALL(kill),
#ifdef SYS_poll
    CALL(poll),
#else
    CALL(ppoll),
#endif
#undef CALL
#undef SOME
};
enum { LISTED = sizeof listed / sizeof listed[0], NOT_THIS = -1 };

static struct sa_why why;
static struct sa_arena arena, other;
static int ends[2];

/* ---- ways to die -------------------------------------------------------------------------- */

/* From here on every call that is not listed ends the process, and so does one that is. */
static void only_listed(int but, bool exits)
{
    struct sock_filter lines[LISTED + 5];
    unsigned n = 0;
    lines[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                              offsetof(struct seccomp_data, nr));
    int left = LISTED + (exits ? 1 : 0) - (but == NOT_THIS ? 0 : 1);
    for (int i = 0; i < LISTED; i++)
        if (i != but)
            lines[n++] = (struct sock_filter)BPF_JUMP(
                BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)listed[i].number, (uint8_t)(left--), 0);
    if (exits)
        lines[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0);
    lines[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    lines[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {(unsigned short)n, lines};
    SAME(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    SAME(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void marker_to(int fd)
{
    int before;
    CHECK(fd >= 0);
    OK(sa_set_lockdown_fd(fd, &before, &why));
}

static int terminal(void)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    CHECK(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    return open(ptsname(master), O_RDWR | O_NOCTTY);
}

static void to_a_pipe(void) {}
static void sealed(void) { OK(sa_seal(&arena, &why)); }
static void large(void) { make(&other, 64 * sa_page_size(), 1, 1); }

/* Which pages of it were touched, mincore cannot tell: they may be in swap. */
static void large_and_unlocked(void)
{
    nobody_with_lock_limit(0);
    large();
    CHECK(!(sa_protection_of(&other) & SA_LOCK));
}

static void large_and_unlocked_without_pagemap(void)
{
    large_and_unlocked();
    deny(SYS_openat, EPERM);
}

static void to_nowhere(void)
{
    int before;
    OK(sa_set_lockdown_fd(-1, &before, &why));
}

static void to_a_socket(void)
{
    int pair[2];
    SAME(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    marker_to(pair[0]);
}

static void to_a_file(void) { marker_to(fileno(tmpfile())); }
static void to_a_device(void) { marker_to(open("/dev/null", O_WRONLY)); }
static void to_a_terminal(void) { marker_to(terminal()); }
static void silent(void) { OK(sa_echo_off(terminal(), &why)); }

/* As before 6.18, whose pwritev2 does not know how to spare us SIGPIPE. */
static void by_other_means(void) { deny(SYS_pwritev2, EOPNOTSUPP); }

static void to_nobody_by_other_means(void)
{
    int pipe_ends[2];
    SAME(pipe(pipe_ends), 0);
    close(pipe_ends[0]);
    marker_to(pipe_ends[1]);
    by_other_means();
}

static void by_flags(void)
{
    by_other_means();
    deny(SYS_openat, EACCES);
}

static void not_to_be_opened(void)
{
    sealed();
    deny(SYS_mprotect, ENOMEM);
}

static void not_to_be_replaced(void)
{
    not_to_be_opened();
    deny(SYS_mmap, ENOMEM);
}

static void not_queued(void) { deny(SYS_rt_tgsigqueueinfo, EPERM); }

static void not_by_process(void)
{
    not_queued();
    deny(SYS_tgkill, EPERM);
}

static void exits(int sig)
{
    (void)sig;
    _exit(42);
}

static void handled(void)
{
    OK(sa_disarm(&why));
    signal(SIGSEGV, exits);
    OK(sa_arm(NULL, 0, &why));
}

static void handled_but_not_put_back(void)
{
    handled();
    deny(SYS_rt_sigaction, EPERM);
}

static void *works(void *with)
{
    struct sa_block block;
    while (sa_open(&other, false, &block, &why) == SA_OK && sa_open_end(&block, &why) == SA_OK)
        continue;
    pause_ms(5000); /* it was wiped: the process is about to die */
    return with;
}

static void others_work(void)
{
    pthread_t thread;
    make(&other, 200, 1, 1);
    OK(sa_seal(&other, &why));
    SAME(pthread_create(&thread, NULL, works, NULL), 0);
    pause_ms(2);
}

/* Of a signal that is sent nothing comes again, so the process is killed. */
static void sent_but_not_put_back(void) { deny(SYS_rt_sigaction, EPERM); }

static void sent_but_not_to_the_thread(void)
{
    sent_but_not_put_back();
    deny(SYS_tkill, EPERM);
}

static const struct way {
    void (*prepare)(void);
    int sent, death; /* 0: a fault, SIGSEGV */
} ways[] = {
    {to_a_pipe, 0, 0},
    {to_nowhere, 0, 0},
    {sealed, 0, 0},
    {large, 0, 0},
    {to_a_socket, 0, 0},
    {to_a_file, 0, 0},
    {to_a_device, 0, 0},
    {to_a_terminal, 0, 0},
    {silent, 0, 0},
    {by_other_means, 0, 0},
    {to_nobody_by_other_means, 0, 0},
    {by_flags, 0, 0},
    {not_to_be_opened, 0, 0},
    {not_to_be_replaced, 0, 0},
    {not_queued, 0, 0},
    {not_by_process, 0, 0},
    {handled, 0, -42},
    {handled_but_not_put_back, 0, -42},
    {others_work, 0, 0},
    {to_a_pipe, SIGTERM, SIGTERM},
    {sent_but_not_put_back, SIGTERM, SIGKILL},
    {sent_but_not_to_the_thread, SIGTERM, SIGKILL},
    {large_and_unlocked, 0, 0},
    {large_and_unlocked_without_pagemap, 0, 0},
};
enum { WAYS = sizeof ways / sizeof ways[0] };

struct end {
    const struct way *way;
    int but;
};

static void dies(void *with)
{
    const struct end *end = with;
    make(&arena, 200, 1, 3);
    marker_to(ends[1]);
    end->way->prepare();
    only_listed(end->but, end->way->death == -42);
    if (end->way->sent)
        (void)syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), end->way->sent);
    else
        *(volatile char *)8 = 1;
    _exit(98);
}

/* Whether it ends otherwise than it should. */
static bool ends_wrong(int way, int but, int *status)
{
    struct end end = {&ways[way], but};
    *status = in_child(dies, &end);
    int death = ways[way].death;
    return death == -42 ? !WIFEXITED(*status) || WEXITSTATUS(*status) != 42
                        : death_of(*status) != (death ? death : SIGSEGV);
}

static void may_filter(void *unused)
{
    (void)unused;
    _exit(filter(SYS_getppid, SECCOMP_RET_ALLOW) ? 42 : 0);
}

#define NEEDS_FILTERS \
    if (under_tool()) \
        SKIP("a tool's own calls would be refused, too"); \
    if (WEXITSTATUS(in_child(may_filter, NULL)) != 42) \
        SKIP("filters of system calls cannot be had"); \
    SAME(pipe(ends), 0)

/* ---- tests ---------------------------------------------------------------------------------- */

TEST(no_other_call)
{
#ifndef __GLIBC__
    SKIP("another C library opens files by other calls than the list has");
#endif
    NEEDS_FILTERS;
    int status;
    for (int way = 0; way < WAYS; way++)
        for (int i = 0; i < 5; i++)
            if (ends_wrong(way, NOT_THIS, &status)) {
                fprintf(stderr, "way %d: status %#x\n", way, (unsigned)status);
                check_failed(__FILE__, __LINE__, "a call that is not listed");
            }
}

/* A control of the above, too: without each of them some way ends by the filter. */
TEST(no_call_in_vain)
{
    NEEDS_FILTERS;
    for (int i = 0; i < LISTED; i++) {
        int status, wrong = 0;
        for (int way = 0; way < WAYS && !wrong; way++)
            wrong = ends_wrong(way, i, &status) && death_of(status) == SIGSYS;
        if (!wrong && !listed[i].not_always)
            check_failed(__FILE__, __LINE__, listed[i].name);
    }
}

TEST(as_documented)
{
    char page[65536], name[64];
    FILE *file = fopen("docs/platforms.md", "re");
    if (!file)
        SKIP("not run beside the documentation");
    page[fread(page, 1, sizeof page - 1, file)] = 0;
    fclose(file);
    char *section = strstr(page, "### What the handler calls\n");
    CHECK(section);
    section = strchr(section, '\n');
    char *end = strstr(section, "\n## ");
    CHECK(end);
    *end = 0;
    unsigned seen = 0;
    for (char *line = strstr(section, "\n|"); line; line = strstr(line + 1, "\n|")) {
        char *stop = strchr(line + 1, '\n');
        for (char *at = strrchr(line, '|') ? line : NULL; at && at < stop;) {
            at = strchr(at, '`');
            if (!at || at > stop)
                break;
            size_t length = strcspn(at + 1, "`");
            snprintf(name, sizeof name, "%.*s", (int)length, at + 1);
            at += length + 2;
            int found = -1;
            for (int i = 0; i < LISTED; i++)
                if (!strcmp(listed[i].name, name))
                    found = i;
#ifdef SYS_poll
            if (!strcmp(name, "ppoll"))
#else
            if (!strcmp(name, "poll"))
#endif
                continue;
            if (found < 0)
                check_failed(__FILE__, __LINE__, name);
            seen |= 1u << found;
        }
    }
    for (int i = 0; i < LISTED; i++)
        if (!(seen >> i & 1))
            check_failed(__FILE__, __LINE__, listed[i].name);
}

int main(int argc, char **argv)
{
    check_begin("test_handler_calls", argc, argv);
    RUN(no_other_call);
    RUN(no_call_in_vain);
    RUN(as_documented);
    return check_end();
}
#endif
