/* The wipe pattern: what it is, and that no wipe ever mixes two of them. */
#include "check.h"
#include "vault/noise.h"

#include <pthread.h>
#ifdef __linux__
#include "linux.h"
#endif

static struct sa_why why;

static void wipe_alike(size_t n, size_t shift, const uint8_t noise[NOISE_BYTES])
{
    static uint8_t memory[3 * NOISE_BYTES + 256];
    memset(memory, 0xa5, sizeof memory);
    noise_wipe(memory + shift, n);
    for (size_t i = 0; i < sizeof memory; i++)
        if (i < shift || i >= shift + n)
            SAME(memory[i], 0xa5);
        else
            SAME(memory[i], noise[(i - shift) % NOISE_BYTES]);
}

TEST(any_length_any_alignment)
{
    uint8_t noise[NOISE_BYTES];
    OK(noise_rekey(&why));
    noise_wipe(noise, sizeof noise);
    for (size_t n = 0; n < 150; n++)
        wipe_alike(n, n % 17, noise);
    for (size_t whole = 1; whole <= 3; whole++)
        for (size_t by = 0; by < 20; by++) {
            wipe_alike(whole * NOISE_BYTES - by, by, noise);
            wipe_alike(whole * NOISE_BYTES + by, 19 - by, noise);
        }
}

/* Nothing repeats inside the noise, and its bits look like a coin's. */
TEST(is_noise)
{
    uint8_t noise[NOISE_BYTES];
    unsigned ones = 0;
    OK(noise_rekey(&why));
    noise_wipe(noise, sizeof noise);
    for (size_t i = 0; i < sizeof noise; i++)
        ones += (unsigned)__builtin_popcount(noise[i]);
    CHECK(ones > 4096 * 8 / 2 - 600 && ones < 4096 * 8 / 2 + 600); /* 6.6 sigma */
    for (size_t i = 0; i < sizeof noise; i += 16)
        for (size_t k = i + 16; k < sizeof noise; k += 16)
            CHECK(memcmp(noise + i, noise + k, 16));
}

TEST(rekey_changes_all)
{
    uint8_t before[NOISE_BYTES], after[NOISE_BYTES];
    CHECK(!noise_ready());
    OK(noise_rekey(&why));
    CHECK(noise_ready());
    SAME(noise_rekeys(), 0); /* the first is none */
    noise_wipe(before, sizeof before);
    for (unsigned i = 1; i <= 10; i++) {
        OK(noise_rekey(&why));
        SAME(noise_rekeys(), i);
        noise_wipe(after, sizeof after);
        unsigned same = 0;
        for (size_t k = 0; k < sizeof after; k++)
            same += before[k] == after[k];
        CHECK(same < 60); /* 16 by chance */
        memcpy(before, after, sizeof after);
    }
}

TEST(a_child_has_its_own)
{
    OK(noise_rekey(&why));
    noise_forked();
    CHECK(!noise_ready());
    OK(noise_rekey(&why));
    CHECK(noise_ready());
}

/* ---- threads ---------------------------------------------------------------------------- */

static _Atomic bool over;

static void *rekeys(void *unused)
{
    struct sa_why mine;
    while (goes_on(&over))
        OK(noise_rekey(&mine));
    return unused;
}

/* Wipes so long that many a rekey passes meanwhile: all pieces of one are alike. */
static void *wipes(void *with)
{
    size_t pieces = *(const size_t *)with;
    uint8_t *memory = malloc(pieces * NOISE_BYTES);
    CHECK(memory);
    for (int i = rounds(pieces > 100 ? 3000 : 30000); i--;) {
        noise_wipe(memory, pieces * NOISE_BYTES);
        for (size_t k = 1; k < pieces; k++)
            CHECK(!memcmp(memory, memory + k * NOISE_BYTES, NOISE_BYTES));
    }
    free(memory);
    return NULL;
}

TEST(never_a_mixture)
{
    static const size_t sizes[] = {2, 9, 256};
    pthread_t rekeyer[2], wiper[3];
    OK(noise_rekey(&why));
    for (size_t i = 0; i < 2; i++)
        SAME(pthread_create(&rekeyer[i], NULL, rekeys, NULL), 0);
    for (size_t i = 0; i < 3; i++)
        SAME(pthread_create(&wiper[i], NULL, wipes, (void *)(uintptr_t)&sizes[i]), 0);
    for (size_t i = 0; i < 3; i++)
        SAME(pthread_join(wiper[i], NULL), 0);
    atomic_store(&over, true);
    for (size_t i = 0; i < 2; i++)
        SAME(pthread_join(rekeyer[i], NULL), 0);
    CHECK(noise_rekeys() > 0);
}

static uint8_t few[128];
static volatile sig_atomic_t handled;

static void rekey_in_handler(int sig)
{
    struct sa_why mine;
    for (unsigned i = 0; i < 3; i++) /* so that the first buffer is stored to, whichever it was */
        OK(noise_rekey(&mine));
    handled += sig == SIGALRM;
}

/* A wipe of few bytes pins nothing: what was rekeyed in its middle it has to see. */
TEST(few_bytes_are_no_mixture_either)
{
    uint8_t before[sizeof few], after[sizeof few];
    OK(noise_rekey(&why));
    noise_wipe(before, sizeof before);
    CHECK(signal(SIGALRM, rekey_in_handler) != SIG_ERR);
    for (int i = rounds(200); i--; memcpy(before, after, sizeof before)) {
        int earlier = (int)handled;
        ualarm((useconds_t)(20 + i % 50), 0);
        do
            noise_wipe(few, sizeof few);
        while (handled == earlier);
        noise_wipe(after, sizeof after);
        CHECK(!memcmp(few, before, sizeof few) || !memcmp(few, after, sizeof few));
    }
}

static uint8_t interrupted[64 * NOISE_BYTES];
static void wipe_in_handler(int sig)
{
    (void)sig;
    noise_wipe(interrupted, sizeof interrupted);
    for (size_t k = NOISE_BYTES; k < sizeof interrupted; k += NOISE_BYTES)
        CHECK(!memcmp(interrupted, interrupted + k, NOISE_BYTES));
    handled++;
}

/* A handler may interrupt a rekey, even of its own thread, anywhere. */
TEST(wipe_in_a_handler)
{
    OK(noise_rekey(&why));
    CHECK(signal(SIGALRM, wipe_in_handler) != SIG_ERR);
    for (int i = rounds(200); i--;) {
        int before = (int)handled; /* first: the alarm may come at once */
        ualarm((useconds_t)(20 + i * 7), 0);
        while (handled == before)
            OK(noise_rekey(&why));
    }
}

/* ---- no entropy ----------------------------------------------------------------------------- */

#ifdef __linux__
TEST(without_entropy_the_old_stays)
{
    if (under_valgrind())
        SKIP("valgrind needs the system call");
    uint8_t before[NOISE_BYTES], after[NOISE_BYTES];
    OK(noise_rekey(&why));
    noise_wipe(before, sizeof before);
    deny(SYS_getrandom, EAGAIN);
    SAME(noise_rekey(&why), SA_OS_ERROR);
    CHECK(!strcmp(why.call, "getrandom"));
    SAME(why.error, EAGAIN);
    noise_wipe(after, sizeof after);
    CHECK(!memcmp(before, after, sizeof after));
    SAME(noise_rekeys(), 0);
}

TEST(without_entropy_none_at_all)
{
    if (under_valgrind())
        SKIP("valgrind needs the system call");
    deny(SYS_getrandom, ENOSYS);
    SAME(noise_rekey(&why), SA_OS_ERROR);
    CHECK(!noise_ready());
}
#endif

int main(int argc, char **argv)
{
    check_begin("test_noise", argc, argv);
    RUN(any_length_any_alignment);
    RUN(is_noise);
    RUN(rekey_changes_all);
    RUN(a_child_has_its_own);
    RUN(never_a_mixture);
    RUN(few_bytes_are_no_mixture_either);
    RUN(wipe_in_a_handler);
#ifdef __linux__
    RUN(without_entropy_the_old_stays);
    RUN(without_entropy_none_at_all);
#endif
    return check_end();
}
