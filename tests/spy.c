/* A native handler that was there before the library's: what does it get to see?
 *
 * It writes one byte to a descriptor, 'S' if the watched range holds the secret
 * and 'N' if not, and on request the signal's number, code and address, then
 * lets the process die. With no range it watches all secretmem of the process,
 * reading through a pipe, so that pages may vanish meanwhile. The secret is given masked, so that this library holds
 * no copy for a search of the memory to find.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MASK 0x5a

static volatile const unsigned char *watched;
static size_t watched_size;
static unsigned char needle[256];
static size_t needle_size;
static int report_fd = -1;
static int with_info;

struct info {
    int32_t number, code;
    uint64_t address;
};

static int holds(const volatile unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i + needle_size <= size; i++) {
        size_t k = 0;
        while (k < needle_size && bytes[i + k] == (needle[k] ^ MASK)) {
            k++;
        }
        if (k == needle_size) {
            return 1;
        }
    }
    return 0;
}

static int secretmem_holds(void)
{
    static char maps[1 << 20];
    static unsigned char page[4096];
    size_t used = 0;
    ssize_t got;
    int pipe_fd[2], fd = open("/proc/self/maps", O_RDONLY);
    while ((got = read(fd, maps + used, sizeof maps - 1 - used)) > 0) {
        used += (size_t)got;
    }
    maps[used] = 0;
    if (fd < 0 || used == 0 || pipe(pipe_fd) != 0) {
        _exit(98);
    }
    for (char *line = strtok(maps, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char *rest;
        uintptr_t low = strtoul(line, &rest, 16), high = strtoul(rest + 1, NULL, 16);
        int secretmem = strstr(line, "secretmem") != NULL;
        if (secretmem) { /* a sealed one, where nobody opened it */
            mprotect((void *)low, high - low, PROT_READ | PROT_WRITE);
        }
        for (; secretmem && low < high; low += sizeof page) {
            if (write(pipe_fd[1], (void *)low, sizeof page) == sizeof page &&
                read(pipe_fd[0], page, sizeof page) == sizeof page && holds(page, sizeof page)) {
                return 1;
            }
        }
    }
    return 0;
}

static int secret_seen(void)
{
    return watched == NULL ? secretmem_holds() : holds(watched, watched_size);
}

static void tell(void)
{
    if (write(report_fd, secret_seen() ? "S" : "N", 1) != 1) {
        _exit(99);
    }
}

static void look(int number, siginfo_t *info, void *context)
{
    (void)context;
    tell();
    if (with_info) {
        struct info out = {info->si_signo, info->si_code, (uintptr_t)info->si_addr};
        if (write(report_fd, &out, sizeof out) != sizeof out) {
            _exit(99);
        }
    }
    struct sigaction fall = {.sa_handler = SIG_DFL};
    sigaction(number, &fall, NULL);
    raise(number); /* taken when this handler returns */
}

/* Say what to look for, and where: before or after the handler is installed. */
void spy_watch(const void *at, size_t size, const unsigned char *masked, size_t masked_size)
{
    watched = at;
    watched_size = size;
    needle_size = masked_size < sizeof needle ? masked_size : sizeof needle;
    memcpy(needle, masked, needle_size);
}

int spy_install(int number, int fd, int info)
{
    struct sigaction action = {.sa_sigaction = look, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    report_fd = fd;
    with_info = info;
    return sigaction(number, &action, NULL);
}

static struct sigaction below;

static void call_then_tell(int number, siginfo_t *info, void *context)
{
    if (below.sa_flags & SA_SIGINFO) {
        below.sa_sigaction(number, info, context);
    }
    tell();
    if (!(below.sa_flags & SA_SIGINFO)) {
        sigaction(number, &below, NULL);
        raise(number);
    } /* else the library queued it, and it comes now */
}

/* For signals that the library leaves to a handler which was there: come on top of it,
 * call it, and look. */
int spy_on_top(int number, int fd)
{
    struct sigaction action = {.sa_sigaction = call_then_tell, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    report_fd = fd;
    return sigaction(number, &action, &below);
}

/* Look when the process ends normally; those registered last look first. */
int spy_at_exit(int fd)
{
    report_fd = fd;
    return atexit(tell);
}

/* ---- what a thread leaves behind ------------------------------------------------------- */

/* The secret, all over a stack that is dead when it returns. */
__attribute__((noinline)) static unsigned bury(unsigned depth)
{
    volatile unsigned char here[2048];
    for (size_t i = 0; i < sizeof here; i++) {
        here[i] = needle[i % needle_size] ^ MASK;
    }
    unsigned below = depth > 0 ? bury(depth - 1) : 0;
    return below + here[depth % sizeof here];
}

#if defined(__x86_64__)
/* 64 bytes at a time: all of the widest registers. */
// clang-format off
#define EACH(WHAT) WHAT(0) WHAT(1) WHAT(2) WHAT(3) WHAT(4) WHAT(5) WHAT(6) WHAT(7) \
    WHAT(8) WHAT(9) WHAT(10) WHAT(11) WHAT(12) WHAT(13) WHAT(14) WHAT(15)
#define NARROW(n) "movdqu (%0), %%xmm" #n "\n pxor (%1), %%xmm" #n "\n"
#define MIDDLE(n) "vmovdqu (%0), %%ymm" #n "\n vpxor (%1), %%ymm" #n ", %%ymm" #n "\n"
#define WIDE(n) "vmovdqu64 (%0), %%zmm" #n "\n vpxorq (%1), %%zmm" #n ", %%zmm" #n "\n"
#define WIDEST EACH(WIDE) WIDE(16) WIDE(17) WIDE(18) WIDE(19) WIDE(20) WIDE(21) WIDE(22) WIDE(23) \
    WIDE(24) WIDE(25) WIDE(26) WIDE(27) WIDE(28) WIDE(29) WIDE(30) WIDE(31)
// clang-format on

static void fall(const unsigned char *masked, const unsigned char *mask)
{
    if (__builtin_cpu_supports("avx512f")) {
        __asm__ __volatile__(WIDEST "ud2" : : "r"(masked), "r"(mask) : "memory");
    } else if (__builtin_cpu_supports("avx2")) {
        __asm__ __volatile__(EACH(MIDDLE) "ud2" : : "r"(masked), "r"(mask) : "memory");
    } else {
        __asm__ __volatile__(EACH(NARROW) "ud2" : : "r"(masked), "r"(mask) : "memory");
    }
}
#elif defined(__aarch64__)
static void fall(const unsigned char *masked, const unsigned char *mask)
{
    __asm__ __volatile__("ldp q8, q9, [%0]\n ldp q10, q11, [%1]\n"
                         "eor v8.16b, v8.16b, v10.16b\n eor v9.16b, v9.16b, v11.16b\n .inst 0"
                         :
                         : "r"(masked), "r"(mask)
                         : "memory");
}
#endif

/* Leave 32 secret bytes, given masked, all over the stack and the vector registers, and
 * die of an illegal instruction. */
void spy_leave(const unsigned char *masked32, int on_stack, int in_registers)
{
    static unsigned char masked[64] __attribute__((aligned(64)));
    static unsigned char mask[64] __attribute__((aligned(64)));
    memset(mask, MASK, sizeof mask);
    memcpy(needle, masked32, 32);
    needle_size = 32;
    memcpy(masked, in_registers ? masked32 : mask, 32);
    memcpy(masked + 32, masked, 32);
    if (on_stack) {
        bury(120);
    }
    fall(masked, mask);
}

/* How often `size` bytes, given masked, stand in this process's readable memory outside
 * secretmem. What is read is masked at once, so that it is not found again here; but where the
 * given needle itself was read, this unmasks it, so what lies in our own buffer does not count. */
long spy_copies(const unsigned char *masked, size_t size)
{
    static char maps[1 << 20];
    static unsigned char chunk[1 << 16];
    size_t used = 0;
    ssize_t got;
    long found = 0;
    int fd = open("/proc/self/maps", O_RDONLY), memory = open("/proc/self/mem", O_RDONLY);
    while ((got = read(fd, maps + used, sizeof maps - 1 - used)) > 0) {
        used += (size_t)got;
    }
    close(fd);
    maps[used] = 0;
    for (char *line = maps, *next; *line; line = next) {
        next = strchr(line, '\n') + 1;
        unsigned long start = strtoul(line, &line, 16), end = strtoul(line + 1, &line, 16);
        if (line[1] != 'r' || !strncmp(next - 9, "vsyscall", 8)) {
            continue;
        }
        for (unsigned long at = start; at < end; at += sizeof chunk - size) {
            size_t want = end - at < sizeof chunk ? end - at : sizeof chunk;
            got = pread(memory, chunk, want, (off_t)at);
            for (ssize_t i = 0; i < got; i++) {
                chunk[i] ^= MASK;
            }
            const unsigned char *from = chunk, *past = chunk + (got > 0 ? got : 0);
            while ((from = memmem(from, (size_t)(past - from), masked, size))) {
                found += at + (unsigned long)(from - chunk) - (unsigned long)chunk >= sizeof chunk;
                from++;
            }
            if (want < sizeof chunk) {
                break;
            }
        }
    }
    close(memory);
    return found;
}
