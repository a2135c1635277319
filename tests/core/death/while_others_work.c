/* A program that faults while other threads make, rotate, seal and close arenas. */
#include "death.h"

static struct sa_arena moving, sealed;

static void *moves(void *unused)
{
    struct sa_why mine;
    for (;;)
        (void)!sa_rotate(&moving, 0, &mine);
    return unused;
}

static void *seals(void *unused)
{
    struct sa_why mine;
    struct sa_block block;
    if (sa_seal(&sealed, &mine) != SA_OK)
        return unused;
    for (int i = 0;; i++) /* the fault ends it */
        if (sa_open(&sealed, i % 2, &block, &mine) == SA_OK)
            (void)!sa_open_end(&block, &mine);
    return unused;
}

static void *lives(void *unused)
{
    struct sa_why mine;
    unsigned seed = 1;
    for (;;) {
        struct sa_arena own = {0};
        if (sa_arena_make(&own, (size_t)rand_r(&seed) % 9000, 1, &mine) == SA_OK)
            sa_close(&own);
    }
    return unused;
}

int main(int argc, char **argv)
{
    static void *(*const bodies[])(void *) = {moves, seals, lives};
    rekeyed = true;
    /* A thread that makes an arena while the signal is handed on arms again. Then the signal is
     * handled, and told of, once more. */
    prepare(argc, argv, FAULT, "F N - S many");
    MUST(sa_arena_make(&moving, 9000, 1, &why) == SA_OK && sa_fill_end(&moving, true) == SA_OK);
    MUST(sa_arena_make(&sealed, 100, 1, &why) == SA_OK && sa_fill_end(&sealed, true) == SA_OK);
    for (int i = 0; i < 3; i++) {
        pthread_t thread;
        MUST(pthread_create(&thread, NULL, bodies[i], NULL) == 0);
    }
    unsigned seed = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    usleep((useconds_t)(seed * 613 % 5000));
    volatile uintptr_t nowhere = 8;
    (void)*(volatile uint8_t *)nowhere;
    return survived();
}
