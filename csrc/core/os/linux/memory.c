/* The address space, and the pages that hold secrets, on Linux. */
#include "os/linux/budget.h"
#include "os/linux/pages.h"
#include "os/linux/probe.h"
#include "os/linux/syscall.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/* The C library's headers may be older than the kernel. */
#ifndef MAP_FIXED_NOREPLACE /* 4.17 */
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MADV_WIPEONFORK /* 4.14 */
#define MADV_WIPEONFORK 18
#endif

/* ---- address space --------------------------------------------------------- */

enum { RESERVED = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE };

/* Under mlockall(MCL_FUTURE) the reservation was locked on arrival. A child that
 * finds it inherited, should DONTFORK be refused, has what it would reserve anew. */
static void init_reservation(void *at, size_t bytes)
{
    (void)munlock(at, bytes);                /* not locked: nothing to do */
    (void)madvise(at, bytes, MADV_DONTFORK); /* see above */
}

void *os_reserve(size_t bytes, int *error)
{
    void *at = mmap(NULL, bytes, PROT_NONE, RESERVED, -1, 0);
    if (at == MAP_FAILED) {
        *error = errno;
        return NULL;
    }
    init_reservation(at, bytes);
    return at;
}

int os_reserve_at(void *at, size_t bytes)
{
    void *got = mmap(at, bytes, PROT_NONE, RESERVED | MAP_FIXED_NOREPLACE, -1, 0);
    if (got == MAP_FAILED)
        return errno;
    if (got != at) { /* a kernel before 4.17 takes the address for a hint */
        (void)munmap(got, bytes); /* just made, whole: it cannot fail */
        return EEXIST;
    }
    (void)munlock(at, bytes); /* as in init_reservation */
    return 0;
}

/* ---- data pages ------------------------------------------------------------ */

unsigned os_known_protections(void)
{
    return SA_GUARD | SA_LOCK | SA_SECRETMEM | SA_NODUMP | SA_NOFORK;
}

/* Of several refusals the lock's is told. */
static void refuse(struct os_pages *out, unsigned what, struct sa_why why)
{
    out->refused |= what;
    if (!out->why.call || what == SA_LOCK)
        out->why = why;
}

static void refuse_lock(struct os_pages *out, unsigned what, const char *call, int error)
{
    struct rlimit limit;
    size_t allowed = getrlimit(RLIMIT_MEMLOCK, &limit) ? 0 : (size_t)limit.rlim_cur;
    out->scarce = true;
    refuse(out, what,
           (struct sa_why){.call = call,
                           .error = error,
                           .hint = "raise it with ulimit -l or LimitMEMLOCK=",
                           .limit = "RLIMIT_MEMLOCK",
                           .whose = "this process",
                           .allowed = allowed});
}

/* The kernel's answer is EFAULT, which would tell nobody that it is a limit: EAGAIN is what
 * it says where it refuses to map. */
static void refuse_touch(struct os_pages *out)
{
    size_t limit = os_secretmem_limit();
    struct sa_why why = {.call = "first touch of secretmem", .error = ENOMEM};
    if (limit != SIZE_MAX) {
        why.error = EAGAIN;
        why.hint = "raise it with ulimit -l or LimitMEMLOCK=, or close arenas, in this user's "
                   "other processes too";
        why.limit = "RLIMIT_MEMLOCK";
        why.whose = "the secretmem of all of this user's processes";
        why.allowed = limit;
    }
    out->scarce = true;
    refuse(out, SA_SECRETMEM, why);
}

/* Past RLIMIT_FSIZE, which counts here too, the call raises SIGXFSZ against us. */
static int size_secretmem(int fd, size_t bytes)
{
    sigset_t mask, pending;
    os_mask_sent(&mask);
    sigpending(&pending);
    int error = ftruncate(fd, (off_t)bytes) ? errno : 0;
    if (error == EFBIG && !sigismember(&pending, SIGXFSZ))
        os_consume(SIGXFSZ);
    os_unmask(&mask);
    return error;
}

/* Inaccessible secretmem (5.14; on by default since 6.5), or NULL. It is locked by
 * nature, and its descriptor must not stay: exec could hand it on and map the pages
 * there. */
static void *map_secretmem(size_t bytes, struct os_pages *out)
{
    int fd = os_open_secretmem();
    if (fd < 0) {
        int error = errno;
        out->never_secretmem = error == ENOSYS || error == EPERM || error == EACCES;
        const char *hint = "raise the limit on open files";
        if (error == ENOSYS)
            hint = "Linux 6.5 or later, or secretmem.enable=1 at boot; a container's seccomp "
                   "profile must allow memfd_secret";
        else if (out->never_secretmem)
            hint = "a seccomp filter must allow it: in a systemd unit "
                   "SystemCallFilter=@system-service memfd_secret, else a profile of the "
                   "container's own";
        refuse(out, SA_SECRETMEM,
               (struct sa_why){.call = "memfd_secret", .error = error, .hint = hint});
        return NULL;
    }
    void *at = MAP_FAILED;
    int error = size_secretmem(fd, bytes);
    bool sized = !error;
    if (sized) {
        at = mmap(NULL, bytes, PROT_NONE, MAP_SHARED, fd, 0);
        error = errno;
    }
    (void)close(fd); /* the mapping keeps the file */
    if (at != MAP_FAILED) {
        os_learn_who_is_charged(at);
        return at;
    }
    if (sized && error == EAGAIN)
        refuse_lock(out, SA_SECRETMEM, "mmap of secretmem", error);
    else
        refuse(out, SA_SECRETMEM,
               (struct sa_why){.call = sized ? "mmap of secretmem" : "ftruncate of secretmem",
                               .error = error,
                               .hint = error == EFBIG ? "raise it with ulimit -f" : NULL});
    return NULL;
}

/* Nobody else is to have them: no child, no core file. Returns an errno. */
int os_keep_to_us(void *at, size_t bytes, struct os_pages *out)
{
    if (madvise(at, bytes, MADV_DONTFORK)) { /* 2.6.16 */
        int error = errno;
        out->why = (struct sa_why){.call = "madvise(MADV_DONTFORK)", .error = error};
        return error;
    }
    if (madvise(at, bytes, MADV_DONTDUMP) == 0) /* 3.4 */
        out->granted |= SA_NODUMP;
    else
        refuse(out, SA_NODUMP, (struct sa_why){.call = "madvise(MADV_DONTDUMP)", .error = errno});
    return 0;
}

static int set_access(void *at, size_t bytes, int access, struct os_pages *out)
{
    if (mprotect(at, bytes, access) == 0)
        return 0;
    int error = errno;
    out->why = (struct sa_why){.call = "mprotect", .error = error};
    out->scarce = true;
    return error;
}

/* Bring all pages of secretmem in, where one could be refused later. Returns an errno. */
static int fetch_all(void *at, size_t bytes, struct os_pages *out)
{
    if (!os_charges_users())
        return 0;
    int error = set_access(at, bytes, PROT_READ | PROT_WRITE, out);
    if (error)
        return error;
    if (os_fetch_pages(at, bytes)) {
        refuse_touch(out);
        return out->why.error;
    }
    return set_access(at, bytes, PROT_NONE, out);
}

/* Lock each page as it comes. A refusal is no failure; returns an errno where the pages
 * could not be made inaccessible again. */
int os_lock_mapped(void *at, size_t bytes, struct os_pages *out)
{
    const char *call = "mlock2";
    int error = os_lock_on_fault(at, bytes) ? errno : 0;
    /* Before 5.18 it says ENOMEM where nothing is accessible, though it locks. A sandbox, or
     * a kernel in user space, may not know it: mlock fetches all pages at once. */
    if (error == ENOMEM || error == ENOSYS) {
        int failed = set_access(at, bytes, PROT_READ | PROT_WRITE, out);
        if (failed)
            return failed;
        if (error == ENOSYS) {
            call = "mlock";
            error = mlock(at, bytes) ? errno : 0;
        } else {
            error = os_lock_on_fault(at, bytes) ? errno : 0;
        }
        if ((failed = set_access(at, bytes, PROT_NONE, out)))
            return failed;
    }
    if (!error)
        out->granted |= SA_LOCK;
    else if (error == ENOMEM || error == EPERM || error == EAGAIN)
        refuse_lock(out, SA_LOCK, call, error);
    else
        refuse(out, SA_LOCK,
               (struct sa_why){
                   .call = call, .error = error, .hint = "a sandbox must allow mlock2 or mlock"});
    return 0;
}

static int finish_secretmem(void *at, size_t bytes, struct os_pages *out)
{
    int error = os_keep_to_us(at, bytes, out);
    if (!error)
        error = fetch_all(at, bytes, out);
    if (!error)
        out->granted |= SA_SECRETMEM | SA_LOCK;
    return error;
}

static int finish_anonymous(void *at, size_t bytes, struct os_pages *out)
{
    /* A page touched is a page had, not 512; and khugepaged, which makes huge pages by copying,
     * leaves the small ones behind unwiped. EINVAL: the kernel makes none. (2.6.38) */
    (void)madvise(at, bytes, MADV_NOHUGEPAGE);
    /* In a process that said PR_SET_MEMORY_MERGE (6.4) all is merged with what holds the same,
     * which another process can tell by the time that a store takes. EINVAL: no KSM. (2.6.32) */
    (void)madvise(at, bytes, MADV_UNMERGEABLE);
    int error = os_keep_to_us(at, bytes, out);
    return error ? error : os_lock_mapped(at, bytes, out);
}

int os_map_pages(size_t bytes, bool secretmem, unsigned least, struct os_pages *out)
{
    *out = (struct os_pages){0};
    void *at = secretmem ? map_secretmem(bytes, out) : NULL;
    int error = at ? finish_secretmem(at, bytes, out) : 0;
    if (at && error && out->refused & SA_SECRETMEM) {
        (void)munmap(at, bytes); /* just made, whole: it cannot fail */
        at = NULL;
        error = 0;
        out->granted = 0;
    }
    if (!at && !(out->refused & least)) {
        /* Accounted memory, unlike the reservation around it, so that the two never merge
         * into one map. */
        at = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED) {
            error = errno;
            out->why = (struct sa_why){.call = "mmap", .error = error};
            out->scarce = error == ENOMEM || error == EAGAIN;
            return error;
        }
        error = finish_anonymous(at, bytes, out);
    }
    if (!error && out->refused & least)
        error = out->why.error ? out->why.error : EAGAIN;
    if (!error)
        out->at = at;
    else if (at)
        (void)munmap(at, bytes); /* as above */
    return error;
}

/* After a replacing call was refused: the kernel checks limits before it unmaps,
 * so that normally nothing changed. Where it did unmap, the hole is closed. */
static void mend_hole(void *at, size_t bytes, bool *hole)
{
    int error = os_reserve_at(at, bytes);
    if (!error)
        init_reservation(at, bytes);
    *hole = error != 0 && error != EEXIST;
}

int os_place_pages(void *from, size_t bytes, void *onto, bool *hole)
{
    *hole = false;
    if (mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, onto) != MAP_FAILED)
        return 0;
    int error = errno;
    mend_hole(onto, bytes, hole);
    return error;
}

int os_unplace_pages(void *at, size_t bytes, bool *hole)
{
    *hole = false;
    if (mmap(at, bytes, PROT_NONE, RESERVED | MAP_FIXED, -1, 0) != MAP_FAILED) {
        init_reservation(at, bytes); /* like its neighbours, so that the maps merge */
        return 0;
    }
    int error = errno;
    mend_hole(at, bytes, hole);
    return error;
}

/* By the C library's call it takes a twentieth longer: after a system call every return is
 * mispredicted on some processors, and so the fewer the better. */
SA_HOT int os_protect(void *at, size_t bytes, enum os_access access)
{
    static const int bits[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE};
    return (int)-os_syscall(SYS_mprotect, (long)at, (long)bytes, bits[access], 0, 0, 0);
}

int os_drop_pages(void *at, size_t bytes)
{
    int before = errno, error = 0;
    if (mmap(at, bytes, PROT_NONE, RESERVED | MAP_FIXED, -1, 0) == MAP_FAILED && munmap(at, bytes))
        error = errno;
    errno = before;
    return error;
}

int os_touched(void *at, size_t bytes, unsigned char *vec)
{
    int before = errno;
    if (!os_may_call_now(OS_MINCORE))
        return EPERM;
    int error = mincore(at, bytes, vec) ? errno : 0;
    errno = before;
    return error;
}

/* ---- memory of our own ------------------------------------------------------ */

void *os_map_table(size_t bytes, struct sa_why *why)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, RESERVED, -1, 0);
    if (at == MAP_FAILED) {
        *why = (struct sa_why){.call = "mmap", .error = errno};
        return NULL;
    }
    (void)munlock(at, bytes); /* under MCL_FUTURE it was locked on arrival */
    if (madvise(at, bytes, MADV_WIPEONFORK)) {
        *why = (struct sa_why){.call = "madvise(MADV_WIPEONFORK)",
                               .error = errno,
                               .hint = "Linux 4.14 or later; a sandbox must allow it"};
        (void)munmap(at, bytes); /* just made, whole: it cannot fail */
        return NULL;
    }
    return at;
}
