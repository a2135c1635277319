/* What the tests ask of Linux: memory maps, limits, system calls refused. */
#ifndef LINUX_H
#define LINUX_H

#include "check.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

struct map {
    uintptr_t start, end;
    char access[5];
};

/* The map that holds an address; false: none does. */
static inline bool map_at(const void *p, struct map *out)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    CHECK(maps);
    bool found = false;
    char line[512];
    while (!found && fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &out->start, &out->end, out->access) == 3)
            found = out->start <= (uintptr_t)p && (uintptr_t)p < out->end;
    }
    fclose(maps);
    return found;
}

/* [at, at + bytes) is one map of exactly that size and access. */
static inline bool is_exact_map(const void *at, size_t bytes, const char *access)
{
    struct map m;
    return map_at(at, &m) && m.start == (uintptr_t)at && m.end - m.start == bytes &&
           !memcmp(m.access, access, 3);
}

/* Whether the map that holds an address has a flag: "lo", locked; "dc", not
 * inherited; "dd", not dumped. */
static inline bool map_has(const void *p, const char *flag)
{
    FILE *maps = fopen("/proc/self/smaps", "re");
    CHECK(maps);
    uintptr_t start, end;
    bool here = false, has = false;
    char line[512];
    while (fgets(line, sizeof line, maps)) {
        if (!strncmp(line, "VmFlags:", 8)) {
            if (here) {
                has = strstr(line + 8, flag);
                break;
            }
        } else if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &start, &end) == 2) {
            here = start <= (uintptr_t)p && (uintptr_t)p < end;
        }
    }
    fclose(maps);
    return has;
}

static inline unsigned count_maps(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    CHECK(maps);
    unsigned lines = 0;
    for (int c; (c = getc(maps)) != EOF;)
        lines += c == '\n';
    fclose(maps);
    return lines;
}

/* A number of /proc/self/status, which gives sizes in KiB; "VmLck:". */
static inline size_t status_number(const char *key)
{
    FILE *file = fopen("/proc/self/status", "re");
    CHECK(file);
    char line[256];
    size_t n = SIZE_MAX;
    while (n == SIZE_MAX && fgets(line, sizeof line, file))
        if (!strncmp(line, key, strlen(key)))
            n = (size_t)strtoull(line + strlen(key), NULL, 10);
    fclose(file);
    return n;
}

/* A macro: what kind of number the resource is differs between C libraries. Skips the test
 * where the limit is lower already, and not ours to raise. */
#define limit(what, soft, hard) \
    do { \
        struct rlimit to_ = {soft, hard}, now_; \
        SAME(getrlimit(what, &now_), 0); \
        if (getuid() && now_.rlim_max < to_.rlim_max) { \
            fprintf(stderr, "skipped: the hard limit is lower here: " #what "\n"); \
            exit(CHECK_SKIPPED); \
        } \
        SAME(setrlimit(what, &to_), 0); \
    } while (0)

/* Give up root, which may lock without limit, and get that limit. */
static inline void nobody_with_lock_limit(size_t bytes)
{
    if (getuid() == 0) {
        limit(RLIMIT_MEMLOCK, bytes, bytes);
        SAME(setgroups(0, NULL), 0);
        SAME(setgid(65534), 0);
        SAME(setuid(65534), 0);
        SAME(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0); /* or /proc/self is closed to us */
    } else {
        limit(RLIMIT_MEMLOCK, bytes, bytes);
    }
}

/* From here on a system call meets with that SECCOMP_RET_. false: filters cannot be had. */
static inline bool filter(long call, uint32_t answer)
{
    struct sock_filter lines[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, answer),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof lines / sizeof lines[0], lines};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* From here on a system call fails with that error. */
static inline void deny(long call, int error)
{
    CHECK(filter(call, SECCOMP_RET_ERRNO | (uint32_t)error));
}

/* From here on any of these system calls ends the process; 0 to 200 of them. false: filters
 * cannot be had. */
static inline bool filter_all(const long *calls, unsigned count)
{
    struct sock_filter lines[203] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    };
    for (unsigned i = 0; i < count; i++)
        lines[1 + i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)calls[i],
                                                    (uint8_t)(count - i), 0);
    lines[1 + count] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    lines[2 + count] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    struct sock_fprog program = {(unsigned short)(3 + count), lines};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* From here on a system call with that flag in its sixth argument fails with that error.
 * false: filters cannot be had. */
static inline bool deny_flag(long call, uint32_t flag, int error)
{
    struct sock_filter lines[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[5])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, flag, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof lines / sizeof lines[0], lines};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* After unshare(CLONE_NEWPID): nobody was the first of the new PID namespace and has ended, with
 * whom it would have. */
static inline void namespace_lives(void)
{
    pid_t first = fork();
    CHECK(first >= 0);
    if (first == 0)
        pause();
    pid_t second = fork(); /* which a namespace without its first has not */
    CHECK(second >= 0);
    if (second == 0)
        _exit(0);
    int status;
    SAME(waitpid(second, &status, 0), second);
    SAME(kill(first, SIGKILL), 0);
    SAME(waitpid(first, &status, 0), first);
}

#endif
