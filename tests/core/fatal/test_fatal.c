/* The handler of fatal signals: the pass and the marker come first, whatever else comes. */
#include "signals.h"
#include "fatal/marker.h"

#include <pthread.h>
#include <sys/mman.h>
#ifdef __linux__
#include "trap.h"
#endif

static void nothing(int sig) { (void)sig; }

/* ---- the marker ------------------------------------------------------------------------------- */

static int marker_ends[2];

static void is_sent_with_default(void *with)
{
    SAME(dup2(marker_ends[1], 2), 2);
    marker_start(); /* as if loaded now */
    begin();
    raise(*(int *)with);
}

static void is_sent_with_marker(void *with)
{
    int before;
    OK(sa_set_lockdown_fd(marker_ends[1], &before, &why));
    begin();
    raise(*(int *)with);
}

static size_t markers(void (*body)(void *), int sig)
{
    char got[16];
    SAME(pipe(marker_ends), 0);
    SAME(death_of(in_child(body, &sig)), sig);
    close(marker_ends[1]);
    ssize_t n = read(marker_ends[0], got, sizeof got);
    close(marker_ends[0]);
    for (ssize_t i = 0; i < n; i++)
        SAME(got[i], 'F');
    return (size_t)n;
}

/* TERM and HUP end many a process that is well: standard error is spared them. */
TEST(who_gets_the_marker)
{
    NEEDS_QUEUED_SIGNALS;
    for (int i = 0; i < SA_SIGNALS; i++) {
        SAME(markers(is_sent_with_marker, all[i]), 1);
        SAME(markers(is_sent_with_default, all[i]), all[i] != SIGTERM && all[i] != SIGHUP);
    }
}

/* A reader of the marker may rely on the wipe: the last page of a large arena, which is
 * wiped last, holds noise by then. */
static const size_t LARGE = (size_t)32 << 20;

static void *looks_when_told(void *with)
{
    char byte;
    SAME(read(marker_ends[0], &byte, 1), 1);
    bool wiped = *(volatile uint8_t *)((uint8_t *)with + LARGE - 2) != 0x5a ||
                 *(volatile uint8_t *)((uint8_t *)with + LARGE - 1) != 0x5a;
    _exit(wiped ? 42 : 43);
}

static void is_watched(void *unused)
{
    (void)unused;
    int before;
    pthread_t thread;
    struct sa_arena large = {0};
    SAME(pipe(marker_ends), 0);
    OK(sa_set_lockdown_fd(marker_ends[1], &before, &why));
    OK(sa_arena_make(&large, LARGE, 1, &why));
    memset(raw(&large), 0x5a, LARGE);
    OK(sa_fill_end(&large, true));
    signal(SIGABRT, nothing); /* so that we live on until the thread has looked */
    OK(sa_arm((const int[]){SIGABRT}, 1, &why));
    SAME(pthread_create(&thread, NULL, looks_when_told, raw(&large)), 0);
    raise(SIGABRT);
    pause();
}

TEST(the_marker_comes_after_the_wipe)
{
    NEEDS_QUEUED_SIGNALS;
    if (UNDER_TSAN)
        SKIP("looks at pages without asking");
    for (int i = 0; i < 3; i++) {
        int status = in_child(is_watched, NULL);
        CHECK(WIFEXITED(status));
        SAME(WEXITSTATUS(status), 42);
    }
}

/* ---- masks ---------------------------------------------------------------------------------------- */

static pthread_t falling;
static _Atomic bool *in_time; /* shared with the child */

/* By the last page, which is wiped last, it tells whether the signal came before the pass was
 * over: one that comes as the handler returns may end the process first, with us or without. */
static void *disturbs(void *with)
{
    const volatile uint8_t *first = with;
    const volatile uint64_t *last = (const void *)((const uint8_t *)with + LARGE - sizeof *last);
    while (first[0] == 0x5a && first[1] == 0x5a && first[2] == 0x5a)
        ;
    pthread_kill(falling, SIGUSR1);
    atomic_store(in_time, *last == UINT64_C(0x5a5a5a5a5a5a5a5a));
    return NULL;
}

static void is_disturbed(void *unused)
{
    (void)unused;
    int before;
    pthread_t thread;
    struct sa_arena large = {0};
    OK(sa_set_lockdown_fd(marker_ends[1], &before, &why));
    OK(sa_arena_make(&large, LARGE, 1, &why));
    memset(raw(&large), 0x5a, LARGE);
    OK(sa_fill_end(&large, true));
    falling = pthread_self();
    SAME(pthread_create(&thread, NULL, disturbs, raw(&large)), 0);
    *(volatile char *)8 = 1;
}

/* A signal that ends the process comes once the pass has begun. */
TEST(other_signals_wait_for_the_pass)
{
    NEEDS_QUEUED_SIGNALS;
    if (UNDER_TSAN)
        SKIP("looks at pages without asking");
    in_time = mmap(NULL, sizeof *in_time, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANON, -1, 0);
    CHECK(in_time != MAP_FAILED);
    for (int waited = 0; waited < 20; waited += *in_time) {
        char got[16];
        *in_time = false;
        SAME(pipe(marker_ends), 0);
        int death = death_of(in_child(is_disturbed, NULL));
        if (!is_fault(death) && *in_time)
            SAME(death, SIGSEGV); /* says what it was */
        if (!is_fault(death))
            SAME(death, SIGUSR1);
        close(marker_ends[1]);
        SAME(read(marker_ends[0], got, sizeof got), 1); /* the pass was whole, in any case */
        close(marker_ends[0]);
    }
}

/* ---- threads -------------------------------------------------------------------------------------- */

#ifdef __linux__
static pthread_barrier_t line;
static _Atomic int counted;

static void count(int sig)
{
    (void)sig;
    atomic_fetch_add(&counted, 1);
}

static void *raises(void *with)
{
    for (int i = rounds(20000); i--;) {
        pthread_barrier_wait(&line);
        raise(SIGFPE);
        pthread_barrier_wait(&line);
    }
    return with;
}

/* Signals on several threads at once each get to the handler of before. */
TEST(all_at_once)
{
    NEEDS_QUEUED_SIGNALS;
    enum { THREADS = 3 };
    pthread_t threads[THREADS];
    no_marker();
    signal(SIGFPE, count);
    begin();
    sa_close(&arena); /* there is nothing to wipe: this is about handing over */
    SAME(pthread_barrier_init(&line, NULL, THREADS + 1), 0);
    for (int i = 0; i < THREADS; i++)
        SAME(pthread_create(&threads[i], NULL, raises, NULL), 0);
    for (int i = 1, n = rounds(20000); i <= n; i++) {
        pthread_barrier_wait(&line);
        pthread_barrier_wait(&line);
        SAME(counted, i * THREADS);
        struct sa_arena another = {0};
        make(&another, 1, 1, 1); /* arms again */
        sa_close(&another);
    }
    for (int i = 0; i < THREADS; i++)
        SAME(pthread_join(threads[i], NULL), 0);
}
#endif

/* ---- the first process of a namespace ------------------------------------------------------------ */

#ifdef __linux__
static int in_namespace(void (*body)(void))
{
    fflush(NULL);
    long pid = syscall(SYS_clone, 0x20000000UL /* CLONE_NEWPID */ | SIGCHLD, 0, 0, 0, 0);
    if (pid < 0)
        return -1;
    if (pid == 0) {
        alarm(HANGS);
        body();
        _exit(0);
    }
    return check_wait((pid_t)pid);
}

/* Where a sent signal's default would do nothing, it wipes nothing. */
static void is_sent_as_init(void)
{
    SAME(getpid(), 1);
    no_marker();
    begin();
    for (int i = 0; i < SA_SIGNALS; i++) {
        raise(all[i]);
        CHECK(is_whole());
        SAME(state_of(all[i]), SA_HANDLER_ARMED);
    }
}

static void faults_as_init(void)
{
    no_marker();
    begin();
    raw(&arena)[200] = 1;
}

static void traps_as_init(void)
{
    no_marker();
    begin();
#if defined(__x86_64__)
    __asm__ __volatile__("int3");
#else
    __asm__ __volatile__("brk #0");
#endif
}

static void is_trapped_as_init(void)
{
    no_marker();
    begin();
    SAME(trap_calls_of(SYS_getppid), 0);
    (void)getppid();
}

TEST(init_lives_on_and_dies)
{
    if (under_tool())
        SKIP("tools do not survive a raw clone into a namespace");
    int status = in_namespace(is_sent_as_init);
    if (status < 0)
        SKIP("may not make a PID namespace");
    SAME(status, 0);
    SAME(death_of(in_namespace(faults_as_init)), SIGSEGV);
    SAME(death_of(in_namespace(traps_as_init)), SIGTRAP);
    SAME(death_of(in_namespace(is_trapped_as_init)), SIGSYS);
}
#endif

int main(int argc, char **argv)
{
    check_begin("test_fatal", argc, argv);
    RUN(who_gets_the_marker);
    RUN(the_marker_comes_after_the_wipe);
    RUN(other_signals_wait_for_the_pass);
#ifdef __linux__
    RUN(all_at_once);
    RUN(init_lives_on_and_dies);
#endif
    return check_end();
}
