/* What a child does at the instant that bench/channel.py measures from. The time is noted right
 * before it, so that nothing of an interpreter lies between. */
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { STACK = 65536 };
static int told;
static char *wiped;
static size_t wiped_bytes;
static char noise[STACK];

static void note(volatile int64_t *at)
{
    struct timespec now;
    *at = 0; /* the page is there */
    clock_gettime(CLOCK_MONOTONIC, &now);
    *at = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void tell(int sig)
{
    if (wiped_bytes)
        memcpy(wiped, noise, wiped_bytes);
    if (write(told, "F", 1) != 1)
        _exit(1);
    signal(sig, SIG_DFL);
}

/* A handler that does no more than overwrite up to 64 KiB, or nothing, and write a byte. */
int arm_by_hand(int fd, char *at, size_t bytes)
{
    struct sigaction action = {.sa_flags = SA_ONSTACK};
    stack_t stack = {.ss_sp = calloc(1, STACK), .ss_size = STACK};
    action.sa_handler = tell;
    told = fd;
    wiped = at;
    wiped_bytes = bytes;
    if (bytes > sizeof noise)
        return 1;
    memset(noise, 0xa7, bytes);
    if (!stack.ss_sp || sigaltstack(&stack, NULL))
        return 1;
    for (size_t i = 0; i < STACK; i += 4096)
        ((volatile char *)stack.ss_sp)[i] = 0;
    return sigaction(SIGSEGV, &action, NULL) || sigaction(SIGBUS, &action, NULL);
}

void fault(volatile int64_t *noted, volatile char *at)
{
    note(noted);
    *at = 1;
}

int write_by_hand(volatile int64_t *noted, int fd)
{
    note(noted);
    return write(fd, "F", 1) != 1;
}
