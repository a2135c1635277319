/* What every C test uses. A test is a function without arguments; RUN gives each
 * a process of its own, so that it starts with an unused library, and one that
 * crashes, hangs or leaves something broken fails alone.
 *
 *     TEST(wipes) { CHECK(slot_wipe(s)); SAME(slot_generation(s), 2); }
 *     int main(int argc, char **argv)
 *     {
 *         check_begin("test_slot", argc, argv);
 *         RUN(wipes);
 *         return check_end();
 *     }
 *
 * With the name of a test as its argument a program runs that one alone, in its
 * own process, for a debugger.
 */
#ifndef CHECK_H
#define CHECK_H

#include "secalloc.h" /* before signal.h, whose macros clash with its names */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
enum { UNDER_TSAN = 1 };
#else
enum { UNDER_TSAN = 0 };
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
enum { UNDER_ASAN = 1 };
#else
enum { UNDER_ASAN = 0 };
#endif

/* The environment that valgrind gives its client tells. */
static inline bool under_valgrind(void)
{
    const char *preload = getenv("LD_PRELOAD");
    return preload && strstr(preload, "vgpreload");
}

/* Some tool is around us: it has maps, limits and a speed of its own. */
static inline bool under_tool(void) { return UNDER_TSAN || UNDER_ASAN || under_valgrind(); }

/* Seconds after which a test is taken to hang: of no use but to end it, so a loaded or an
 * emulated machine has all the time that it may want. */
enum { HANGS = 300 };

/* How often to try what is left to chance; an emulated machine asks for a part of that. */
static inline int rounds(int plain)
{
    const char *asked = getenv("SECALLOC_PART");
    int part = under_valgrind()           ? 20
               : under_tool()             ? 5
               : asked && atoi(asked) > 0 ? atoi(asked)
                                          : 1;
    return plain / part ? plain / part : 1;
}

/* ---- checks ----------------------------------------------------------------------- */

#define CHECK(expression) ((expression) ? (void)0 : check_failed(__FILE__, __LINE__, #expression))
/* Two integers are the same. */
#define SAME(have, want) \
    check_same((intmax_t)(have), (intmax_t)(want), __FILE__, __LINE__, #have " is " #want)
/* A call of the library came to SA_OK. */
#define OK(call) SAME(call, 0)
/* Leave a test that cannot say anything here. */
#define SKIP(reason) \
    do { \
        fprintf(stderr, "%s: skipped: %s\n", __func__ + 5, reason); \
        exit(CHECK_SKIPPED); \
    } while (0)

enum { CHECK_SKIPPED = 77 };

/* May be called on any thread and in any child: ends that process. */
static _Noreturn inline void check_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: %s: failed\n", file, line, what);
    _exit(1);
}

static inline void check_same(intmax_t have, intmax_t want, const char *file, int line,
                              const char *what)
{
    if (have == want)
        return;
    fprintf(stderr, "%s:%d: %s: failed: %" PRIdMAX ", not %" PRIdMAX "\n", file, line, what, have,
            want);
    _exit(1);
}

/* ---- running ------------------------------------------------------------------------ */

static const char *check_program, *check_only;
static unsigned check_passes, check_fails, check_skips;

static inline void check_begin(const char *program, int argc, char **argv)
{
    /* A shell that started us in the background may have had these ignored. */
    static const int often_ignored[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    for (size_t i = 0; i < sizeof often_ignored / sizeof often_ignored[0]; i++)
        signal(often_ignored[i], SIG_DFL);
    check_program = program;
    check_only = argc > 1 ? argv[1] : NULL;
}

/* How a child of this process ended, as waitpid tells it. */
static inline int check_wait(pid_t child)
{
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            check_failed(__FILE__, __LINE__, "waitpid");
    return status;
}

/* A child, which an alarm ends where it hangs; 0 in it. */
static inline pid_t check_fork(void)
{
    fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        check_failed(__FILE__, __LINE__, "fork");
    if (child == 0)
        alarm(HANGS);
    return child;
}

static inline void check_run(const char *name, void (*test)(void))
{
    if (check_only) {
        if (!strcmp(check_only, name))
            test(), check_passes++;
        return;
    }
    pid_t child = check_fork();
    if (child == 0) {
        test();
        exit(0);
    }
    int status = check_wait(child);
    if (status == 0) {
        check_passes++;
    } else if (WIFEXITED(status) && WEXITSTATUS(status) == CHECK_SKIPPED) {
        check_skips++;
    } else {
        check_fails++;
        if (WIFSIGNALED(status))
            fprintf(stderr, "%s: %s: ended by signal %d\n", check_program, name, WTERMSIG(status));
        else
            fprintf(stderr, "%s: %s: failed\n", check_program, name);
    }
}

#define TEST(name) static void test_##name(void)
#define RUN(name) check_run(#name, test_##name)

static inline int check_end(void)
{
    printf("%s: %u passed, %u failed", check_program, check_passes, check_fails);
    if (check_skips)
        printf(", %u skipped", check_skips);
    printf("\n");
    return check_fails || (check_only && !check_passes) ? 1 : 0;
}

/* ---- what tests do ------------------------------------------------------------------- */

static inline void pause_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

/* Whether a thread that is busy until `over` has to go on. Valgrind runs one thread
 * at a time, and a busy one would keep the others waiting: there it pauses. */
static inline bool goes_on(const _Atomic bool *over)
{
    if (under_valgrind())
        pause_ms(1);
    return !atomic_load(over);
}

/* Whether a byte can be read, found out without a fault: a system call would be
 * refused it. To valgrind that refusal is an error, so there the maps tell. */
static inline bool readable(const void *p)
{
    int ends[2];
    if (under_valgrind()) {
        FILE *maps = fopen("/proc/self/maps", "r");
        uintptr_t start, end;
        char line[512], access[5] = "";
        bool found = false;
        while (maps && !found && fgets(line, sizeof line, maps))
            if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &start, &end, access) == 3)
                found = start <= (uintptr_t)p && (uintptr_t)p < end;
        if (maps)
            fclose(maps);
        return found && access[0] == 'r';
    }
    if (pipe(ends))
        check_failed(__FILE__, __LINE__, "pipe");
    bool can = write(ends[1], p, 1) == 1;
    close(ends[0]);
    close(ends[1]);
    return can;
}

/* How `body` ends in a child process, as waitpid tells it; 0 if it returns. Where it is
 * skipped, so is the test. */
static inline int in_child(void (*body)(void *), void *with)
{
    pid_t child = check_fork();
    if (child == 0) {
        body(with);
        _exit(0);
    }
    int status = check_wait(child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == CHECK_SKIPPED)
        exit(CHECK_SKIPPED);
    return status;
}

/* Of the first 1,024. It allocates nothing: it runs in children of processes with threads, where
 * not every allocator works (Zig's musl hangs). */
static inline unsigned count_descriptors(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) != -1;
    return n;
}

/* The signal that ended a child; 0: none did. */
static inline int death_of(int status) { return WIFSIGNALED(status) ? WTERMSIG(status) : 0; }

/* What the kernel sends for a touch of an inaccessible page. */
static inline bool is_fault(int sig) { return sig == SIGSEGV || sig == SIGBUS; }

#endif
