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
        for (; strstr(line, "secretmem") != NULL && low < high; low += sizeof page) {
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

/* Look when the process ends normally; those registered last look first. */
int spy_at_exit(int fd)
{
    report_fd = fd;
    return atexit(tell);
}
