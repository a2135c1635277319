/* Work in a process of its own that has this one's memory. */
#include "check.h"
#include "os/os.h"

#include <sys/mman.h>
#ifdef __linux__
#include "linux.h"

#include <sched.h>
#endif

enum { BYTES = 65536 };

static volatile unsigned stored, handled;
static volatile long process;
static char *volatile at;

static int run(void (*work)(void *))
{
    void *stack = os_map_stack(BYTES);
    CHECK(stack);
    int error = os_run_apart(stack, BYTES, work, (void *)(uintptr_t)7);
    os_unmap_stack(stack, BYTES);
    return error;
}

static void stores(void *context)
{
    process = os_process();
    stored = (unsigned)(uintptr_t)context;
}

/* What a caller goes by where there is no such process. */
static void none_of_it(int error)
{
    CHECK(error && error != EFAULT);
    SAME(stored, 0);
}

/* A tool, or qemu, makes a child that shares nothing of it. */
static bool there_is_one(void)
{
    int error = run(stores);
    bool is = !error && stored == 7;
    if (!is)
        none_of_it(error);
    stored = 0;
    return is;
}

TEST(what_it_stores_is_seen)
{
#ifdef __linux__
    if (!under_tool() && !getenv("SECALLOC_PART"))
        SAME(run(stores), 0);
#endif
    if (!there_is_one())
        SKIP("there is no such process here");
    SAME(run(stores), 0);
    SAME(stored, 7);
    CHECK(process != os_process());
}

static void count(int sig)
{
    handled++;
    if (sig != SIGCHLD)
        _exit(9); /* returning would fault again, for ever */
}

static void loads(void *unused)
{
    (void)unused;
    stored = 3;
    stored = (unsigned)*(volatile char *)at;
    stored = 4;
}

/* The child's end alone: none of the program's handlers sees the fault, here or there. */
TEST(a_fault_ends_it_alone)
{
    if (!there_is_one())
        SKIP("there is no such process here");
    size_t page = os_page_size();
    FILE *file = tmpfile();
    CHECK(file && signal(SIGSEGV, count) != SIG_ERR && signal(SIGBUS, count) != SIG_ERR);
    at = mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANON, -1, 0);
    CHECK(at != MAP_FAILED);
    SAME(run(loads), EFAULT);
    SAME(stored, 3);
    at = mmap(NULL, page, PROT_READ, MAP_SHARED, fileno(file), 0); /* of an empty file */
    CHECK(at != MAP_FAILED);
    SAME(run(loads), EFAULT);
    SAME(stored, 3);
    SAME(handled, 0);
    CHECK(signal(SIGSEGV, SIG_DFL) == count && signal(SIGBUS, SIG_DFL) == count);
    fclose(file);
}

/* Nothing is left of it: no child to wait for, no signal, no mask. */
TEST(nothing_is_left)
{
    static sigset_t before,
        after; /* zeroed: only so much of them is filled in as there are signals */
    int status;
    CHECK(signal(SIGCHLD, count) != SIG_ERR);
    SAME(sigprocmask(SIG_SETMASK, NULL, &before), 0);
    for (int i = 0; i < 100; i++)
        (void)run(stores); /* or none was made */
    SAME(sigprocmask(SIG_SETMASK, NULL, &after), 0);
    CHECK(!memcmp(&before, &after, sizeof before));
    SAME(waitpid(-1, &status, WNOHANG), -1);
    SAME(errno, ECHILD);
#ifdef __linux__
    SAME(waitpid(-1, &status, WNOHANG | __WALL), -1);
    SAME(errno, ECHILD);
#endif
    SAME(handled, 0);
}

#ifdef __linux__
/* What another thread closes meanwhile is closed: the descriptors are one table. */
static int ends[2];

static void closes(void *unused)
{
    (void)unused;
    stored = close(ends[1]) == 0;
}

TEST(descriptors_are_shared)
{
    if (!there_is_one())
        SKIP("there is no such process here");
    SAME(pipe(ends), 0);
    SAME(run(closes), 0);
    SAME(stored, 1);
    SAME(fcntl(ends[1], F_GETFD), -1);
}

static void goes_on_and_on(void *unused)
{
    (void)unused;
    stored = 1;
    for (int64_t start = os_now_ms(); os_now_ms() - start < 60000;)
        pause_ms(10);
}

/* Else it would keep the memory, with what was not wiped. */
TEST(it_ends_with_its_parent)
{
    if (!there_is_one())
        SKIP("there is no such process here");
    int status;
    pid_t parent, left;
    SAME(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    SAME(pipe(ends), 0);
    if ((parent = fork()) == 0) {
        (void)run(goes_on_and_on);
        _exit(0);
    }
    pause_ms(300); /* it has begun, or is told at once that it comes too late */
    SAME(kill(parent, SIGKILL), 0);
    SAME(waitpid(parent, &status, 0), parent);
    left = waitpid(-1, &status, __WALL);
    CHECK(left > 0 || errno == ECHILD);
    CHECK(left < 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) ||
          (WIFEXITED(status) && WEXITSTATUS(status) == 2));
}

/* Where it would be the first of another PID namespace, and that would end with it. */
TEST(in_another_namespace)
{
    if (UNDER_ASAN || unshare(CLONE_NEWPID))
        SKIP("no namespace to be had, or a search for leaks that is a process, too");
    none_of_it(run(stores));
    namespace_lives();
}

TEST(refused)
{
    const struct rlimit none = {0, 0};
    if (UNDER_ASAN)
        SKIP("its search for leaks is a process, too");
    if (geteuid() == 0 && (setgroups(0, NULL) || setgid(65534) || setuid(65534)))
        SKIP("no other user to be had");
    SAME(setrlimit(RLIMIT_NPROC, &none), 0);
    stored = 0;
    none_of_it(run(stores));
}
#endif

int main(int argc, char **argv)
{
    check_begin("test_apart", argc, argv);
    RUN(what_it_stores_is_seen);
    RUN(a_fault_ends_it_alone);
    RUN(nothing_is_left);
#ifdef __linux__
    RUN(descriptors_are_shared);
    RUN(it_ends_with_its_parent);
    RUN(in_another_namespace);
    RUN(refused);
#endif
    return check_end();
}
