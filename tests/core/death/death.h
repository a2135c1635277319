/* One fault per program. Each makes an arena with a secret among others, sets the
 * marker to descriptor 3, and faults. A native handler that was there before the
 * library's is the observer: it must be called after the wipe, looks at the arena,
 * and tells on descriptor 4 what it saw:
 *
 *     N  noise: the arena was wiped
 *     S  the secret
 *     ?  neither
 *
 * Then the process dies of the signal's default action. With the argument
 * "disarmed" the library's handlers are off, and the observer must see the secret:
 * the control without which an N proves nothing. With "expect" a program tells
 * run.py on standard error what its ending must be, as
 *
 *     signal marker verdict marker-if-disarmed verdict-if-disarmed how
 *
 * where "-" is nothing at all, and `how` is "plain", "many" (several threads may
 * each leave a marker and a verdict), "storm" (see storm.h), "told" (a message on
 * standard error), or "killed" (it says R on descriptor 4, then waits for that
 * signal from outside).
 *
 * The plain secret is only ever in the arena: memory keeps two halves, whose
 * exclusive or it is.
 */
#ifndef DEATH_H
#define DEATH_H

#include "arena/use.h"
#include "vault/noise.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MUST(expression) \
    do { \
        if (!(expression)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #expression); \
            _exit(101); \
        } \
    } while (0)

enum { MARKER = 3, VERDICT = 4, MOST = 300000 };

static struct sa_arena arena;
static uint8_t *bytes;
static size_t size;
static uint8_t half[MOST], other_half[MOST];
static struct sa_why why;

/* Another thread rotates: the noise may be a newer one than that of the wipe. */
static bool rekeyed;

/* [signal] */
static inline char verdict(void)
{
    struct slot s = arena_slot(&arena);
    uint8_t *data = slot_data(s), noise[NOISE_BYTES];
    (void)!mprotect(data, s.region->data, PROT_READ | PROT_WRITE); /* a sealed one, disarmed */
    noise_wipe(noise, sizeof noise);
    bool secret = false, all_noise = true;
    for (size_t i = 0; i < size; i++) {
        secret |=
            i + 8 <= size &&
            !memcmp(bytes + i,
                    (uint8_t[8]){half[i] ^ other_half[i], half[i + 1] ^ other_half[i + 1],
                                 half[i + 2] ^ other_half[i + 2], half[i + 3] ^ other_half[i + 3],
                                 half[i + 4] ^ other_half[i + 4], half[i + 5] ^ other_half[i + 5],
                                 half[i + 6] ^ other_half[i + 6], half[i + 7] ^ other_half[i + 7]},
                    8);
        all_noise &= bytes[i] == noise[(size_t)(bytes + i - data) % NOISE_BYTES];
    }
    return secret ? 'S' : all_noise || rekeyed ? 'N' : '?';
}

/* [signal] */
static void observer(int sig)
{
    char saw = verdict();
    (void)!write(VERDICT, &saw, 1);
    signal(sig, SIG_DFL);
    raise(sig); /* comes when this handler returns, if the fault does not come again */
}

static inline bool is(int argc, char **argv, const char *what)
{
    return argc > 1 && !strcmp(argv[1], what);
}

static struct sa_arena *neighbours; /* 24 others, made or not */
static bool made[24];

/* Everything up to the fault. `expected`: see above; starts with the signal. */
static inline void prepare(int argc, char **argv, int sig, const char *expected)
{
    if (is(argc, argv, "expect")) {
        fprintf(stderr, "%d %s\n", sig, expected);
        exit(0);
    }
    static const size_t sizes[] = {32, 33, 1000, 4095, 4096, 4097, 20000, 65536, 70001, MOST};
    unsigned seed = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    struct sa_arena *near = calloc(24, sizeof *near);
    int before;
    alarm(300);
    MUST(near);
    neighbours = near;
    MUST(sa_set_lockdown_fd(MARKER, &before, &why) == SA_OK);
    struct sigaction act = {.sa_handler = observer, .sa_flags = SA_ONSTACK};
    sigfillset(&act.sa_mask);
    MUST(sigaction(sig, &act, NULL) == 0);
    size = sizes[seed % (sizeof sizes / sizeof sizes[0])];
    for (int i = 0; i < 24; i++)
        if (i == 12) {
            MUST(sa_arena_make(&arena, size, 1, &why) == SA_OK);
            MUST(sa_store_random(&arena, &why) == SA_OK);
            MUST(sa_fill_end(&arena, true) == SA_OK);
        } else if (rand_r(&seed) % 2) {
            MUST(sa_arena_make(&near[i], (size_t)rand_r(&seed) % 9000, 1, &why) == SA_OK);
            made[i] = true;
        }
    bytes = (uint8_t *)sa_address_of(&arena);
    MUST(bytes && os_entropy(half, size) == 0);
    for (size_t i = 0; i < size; i++)
        other_half[i] = half[i] ^ bytes[i];
    if (is(argc, argv, "disarmed"))
        MUST(sa_disarm(&why) == SA_OK);
}

static inline int survived(void)
{
    fprintf(stderr, "survived\n");
    return 100;
}

static inline void on_thread(void *(*body)(void *), void *with)
{
    pthread_t thread;
    MUST(pthread_create(&thread, NULL, body, with) == 0);
    MUST(pthread_join(thread, NULL) == 0);
}

/* What an inaccessible page gives. */
#ifdef __APPLE__
enum { FAULT = SIGBUS };
#else
enum { FAULT = SIGSEGV };
#endif

#endif
