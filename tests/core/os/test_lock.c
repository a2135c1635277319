/* Locks of kernels and sandboxes that others have: before 5.18, without mlock2, and what is said
 * of each refusal. The calls by which the library asks are ours. */
#include "arenas.h"
#include "calls.h"
#include "os/os.h"

#ifdef __linux__
#include "linux.h"

#include <sys/mman.h>

static struct sa_why why;
static enum { AS_IT_IS, BEFORE_5_18, UNKNOWN_CALL, SPENT } mlock2_is;
static bool refuse_mlock, refuse_wipe_on_fork, refuse_dont_dump;
static unsigned asked;

static size_t page(void) { return os_page_size(); }

static bool is_accessible(void *at)
{
    struct map m;
    CHECK(map_at(at, &m));
    return m.access[0] == 'r';
}

long syscall(long number, ...)
{
    static long (*real)(long, ...);
    long a[6];
    TAKE_SIX(number, a);
    FIND_REAL(real, "syscall");
    if (number != SYS_mlock2 || mlock2_is == AS_IT_IS)
        return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    asked++;
    if (mlock2_is == UNKNOWN_CALL) {
        errno = ENOSYS;
        return -1;
    }
    long result = mlock2_is == SPENT ? -1 : real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (mlock2_is == SPENT || !is_accessible((void *)a[0])) {
        errno = ENOMEM; /* though it locks */
        return -1;
    }
    return result;
}

int mlock(const void *at, size_t bytes)
{
    static int (*real)(const void *, size_t);
    FIND_REAL(real, "mlock");
    if (!refuse_mlock)
        return real(at, bytes);
    errno = EPERM;
    return -1;
}

int madvise(void *at, size_t bytes, int advice)
{
    static int (*real)(void *, size_t, int);
    FIND_REAL(real, "madvise");
    if ((advice == 18 && refuse_wipe_on_fork) || (advice == MADV_DONTDUMP && refuse_dont_dump)) {
        errno = EINVAL;
        return -1;
    }
    return real(at, bytes, advice);
}

/* Pages that are locked, and as inaccessible as they come otherwise. */
static void locks(void)
{
    struct os_pages p;
    SAME(os_map_pages(3 * page(), false, 0, &p), 0);
    CHECK(p.granted & SA_LOCK);
    CHECK(!is_accessible(p.at));
    CHECK(map_has(p.at, "lo") && map_has(p.at, "dc") && map_has(p.at, "dd"));
    SAME(os_release(p.at, 3 * page()), 0);
}

static bool may_lock(void)
{
    struct os_pages p;
    SAME(os_map_pages(3 * page(), false, 0, &p), 0);
    SAME(os_release(p.at, 3 * page()), 0);
    return p.granted & SA_LOCK;
}

#define NEED_LOCKS() \
    if (under_tool()) \
        SKIP("tools have locks of their own"); \
    if (!may_lock()) \
    SKIP("nothing can be locked here")

TEST(before_5_18)
{
    NEED_LOCKS();
    mlock2_is = BEFORE_5_18;
    locks();
    CHECK(asked > 0);
    sa_use_secretmem(false);
    struct sa_arena a = {0};
    OK(sa_arena_make_with(&a, 100, 1, SA_LOCK, &why));
    CHECK(sa_protection_of(&a) & SA_LOCK);
}

TEST(without_mlock2)
{
    NEED_LOCKS();
    mlock2_is = UNKNOWN_CALL;
    locks();
    CHECK(asked > 0);
}

/* The call that was refused is the one that is named. */
TEST(refusals_name_their_call)
{
    struct os_pages p;
    if (under_tool())
        SKIP("tools have locks of their own");
    mlock2_is = SPENT;
    SAME(os_map_pages(page(), false, SA_LOCK, &p), ENOMEM);
    CHECK(!strcmp(p.why.call, "mlock2") && !strcmp(p.why.limit, "RLIMIT_MEMLOCK"));
    CHECK(!strcmp(p.why.whose, "this process"));
    mlock2_is = UNKNOWN_CALL;
    refuse_mlock = true;
    SAME(os_map_pages(page(), false, SA_LOCK, &p), EPERM);
    CHECK(!strcmp(p.why.call, "mlock"));
    mlock2_is = AS_IT_IS;
    refuse_dont_dump = true;
    SAME(os_map_pages(page(), false, SA_NODUMP, &p), EINVAL);
    CHECK(strstr(p.why.call, "MADV_DONTDUMP"));
}

/* Each protection that is missing is told of once, whatever was told of before. */
TEST(each_is_told_once)
{
    struct sa_arena a = {0};
    unsigned missing = 0;
    if (under_tool())
        SKIP("tools have locks of their own");
    sa_use_secretmem(false);
    mlock2_is = SPENT;
    make(&a, 100, 1, 1);
    CHECK(sa_shortfall(&missing, &why));
    SAME(missing, SA_LOCK);
    CHECK(!strcmp(why.call, "mlock2"));
    refuse_dont_dump = true;
    for (int i = 0; i < 2; i++) { /* the second has nothing new to tell */
        make(&a, 100000, 1, 1);
        SAME(sa_shortfall(&missing, &why), i == 0);
    }
    SAME(missing, SA_NODUMP);
    CHECK(!sa_shortfall(&missing, &why));
}

TEST(no_wipe_on_fork)
{
    struct sa_arena a = {0};
    refuse_wipe_on_fork = true;
    SAME(sa_arena_make(&a, 100, 1, &why), SA_OS_ERROR);
    CHECK(strstr(why.call, "MADV_WIPEONFORK") && why.hint);
    SAME(why.error, EINVAL);
    refuse_wipe_on_fork = false;
    make(&a, 100, 1, 1);
}
#endif

int main(int argc, char **argv)
{
    NEEDS_TAKEN_CALLS("test_lock");
    check_begin("test_lock", argc, argv);
#ifdef __linux__
    RUN(before_5_18);
    RUN(without_mlock2);
    RUN(refusals_name_their_call);
    RUN(each_is_told_once);
    RUN(no_wipe_on_fork);
#endif
    return check_end();
}
