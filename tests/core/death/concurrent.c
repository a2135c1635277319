/* Faults and signals in the middle of making, copying, rotating, sealing, wiping and
 * closing, of a rekey, of a lockdown, and of a pool's work: in the very thread, in
 * another, in several at once, from outside, and inside a chained handler. */
#include "storm.h"

enum { THREADS = 3, SMALL = 600, LARGE = 70001 };
enum work {
    ROTATE,
    ROTATE_LARGE,
    MAKE,
    MAKE_LARGE,
    WIPE,
    SEAL,
    REKEY,
    LOCKDOWN,
    POOL,
    STORE,
    WORKS
};
enum place { ITSELF, ANOTHER, SEVERAL, OUTSIDE, CHAINED, PLACES };

static struct sa_arena small, large, own[THREADS];
static bool disarmed_control;
static enum work work;
static enum place place;
static _Atomic int ready;
static unsigned chance;

static void fault(void)
{
    uint64_t never = 0;
    (void)atomic_compare_exchange_strong(&fell, &never, now_ns());
#if defined(__x86_64__)
    __asm__ __volatile__("ud2");
#elif defined(__aarch64__)
    __asm__ __volatile__(".inst 0");
#endif
}

/* Wherever the thread is when it is told to. */
static void fault_here(int sig)
{
    (void)sig;
    fault();
}

/* A handler that was there before ours, and fails itself. */
static void fault_again(int sig)
{
    (void)sig;
    fault();
}

static void make_and_close(size_t n, struct sa_arena *from)
{
    struct sa_arena a = {0};
    struct sa_why mine;
    if (sa_arena_make(&a, n, 1, &mine) != SA_OK)
        return;
    copy(from, &a, n);
    (void)!sa_fill_end(&a, true);
    sa_close(&a);
}

static void in_pool(void)
{
    struct sa_pool *short_lived;
    struct sa_arena cells[5] = {{0}};
    struct sa_why mine;
    if (sa_pool_make(&short_lived, &mine) != SA_OK)
        return;
    for (int i = 0; i < 5; i++)
        if (sa_pool_alloc(i % 2 ? pool : short_lived, &cells[i], 32, &mine) == SA_OK) {
            copy(&small, &cells[i], 32);
            (void)!sa_fill_end(&cells[i], true);
        }
    for (int i = 0; i < 4; i++)
        sa_close(&cells[i]);
    sa_pool_free(short_lived); /* closes the last */
}

/* Stores what is no affair of ours, over and over, as recv_into does. */
static void store_from_outside(struct sa_arena *a)
{
    uint8_t *at;
    if (sa_fill_begin(a, &(struct sa_why){0}) != SA_OK)
        return;
    if (sa_export(a, true, &at) == SA_OK) {
        for (size_t i = 0; i < SMALL; i++)
            ((volatile uint8_t *)at)[i] = (uint8_t)((outside_halves[0] ^ outside_halves[1]) >>
                                                    i % 8 * 8);
        sa_unexport(a);
    }
    (void)!sa_fill_end(a, true);
}

static void do_work(struct sa_arena *mine, int turn)
{
    struct sa_why because;
    struct sa_block block;
    size_t wiped;
    switch (work) {
    case ROTATE:
    case ROTATE_LARGE: (void)!sa_rotate(mine, 0, &because); break;
    case MAKE: make_and_close(SMALL, &small); break;
    case MAKE_LARGE: make_and_close(LARGE, &large); break;
    case WIPE:
        (void)!sa_wipe(mine, &because);
        if (sa_fill_begin(mine, &because) == SA_OK) {
            copy(&small, mine, SMALL);
            (void)!sa_fill_end(mine, true);
        }
        break;
    case SEAL: /* where it is sealed already, that is what it says */
        (void)!sa_seal(mine, &because);
        if (sa_open(mine, turn % 2, &block, &because) == SA_OK)
            (void)!sa_open_end(&block, &because);
        break;
    case REKEY: (void)!sa_rekey(&because); break;
    case LOCKDOWN: /* whatever it leaves is nothing: the control must not see it done */
        if (!disarmed_control)
            (void)!sa_lockdown(&wiped, &because);
        break;
    case POOL: in_pool(); break;
    case STORE: store_from_outside(mine); break;
    case WORKS: break;
    }
}

static void *works(void *with)
{
    struct sa_arena *mine = with;
    bool faults_too = place == SEVERAL && mine < &own[THREADS - 1];
    unsigned patience = (unsigned)(mine - own) * 200 + chance % 977;
    atomic_fetch_add(&ready, 1);
    for (int turn = 0;; turn++) {
        do_work(mine, turn);
        if (faults_too && atomic_load(&ready) > THREADS) {
            dawdle(patience);
            fault();
        }
    }
    return NULL;
}

static void set_up(void)
{
    static struct sa_arena aside[5];
    MUST(os_entropy(halves, sizeof halves) == 0);
    MUST(os_entropy(outside_halves, sizeof outside_halves) == 0);
    MUST(sa_pool_make(&pool, &why) == SA_OK);
    fill(&small, SMALL, halves);
    fill(&large, LARGE, halves);
    for (int i = 0; i < THREADS; i++)
        fill(&own[i], work == ROTATE_LARGE ? LARGE : SMALL, halves);
    for (int i = 0; i < 5; i++) {
        MUST(sa_pool_alloc(pool, &aside[i], 100, &why) == SA_OK);
        copy(&small, &aside[i], 100);
        MUST(sa_fill_end(&aside[i], true) == SA_OK);
    }
}

static void from_outside(void)
{
    pid_t parent = getpid(), child = fork();
    MUST(child >= 0);
    if (child == 0) {
        usleep(500 + chance % 3000);
        kill(parent, SIGILL);
        _exit(0);
    }
    for (;;)
        pause();
}

int main(int argc, char **argv)
{
    if (is(argc, argv, "expect")) {
        fprintf(stderr, "%d F N - S storm\n", SIGILL);
        return 0;
    }
    unsigned trial = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    work = (enum work)(trial % WORKS); /* fifty trials are one of each with each */
    place = (enum place)((trial + trial / WORKS) % PLACES);
    chance = trial * 2654435761u >> 7;
    disarmed_control = is(argc, argv, "disarmed");
    alarm(300);
    int before;
    MUST(sa_set_lockdown_fd(MARKER, &before, &why) == SA_OK);
    struct sigaction look = {.sa_handler = look_everywhere, .sa_flags = SA_ONSTACK};
    struct sigaction again = {.sa_handler = fault_again, .sa_flags = SA_ONSTACK};
    struct sigaction here = {.sa_handler = fault_here, .sa_flags = SA_NODEFER};
    sigfillset(&look.sa_mask);
    MUST(sigaction(SIGILL, &look, NULL) == 0 && sigaction(SIGUSR1, &here, NULL) == 0);
    if (place == CHAINED)
        MUST(sigaction(SIGSEGV, &again, NULL) == 0 && sigaction(SIGBUS, &again, NULL) == 0);
    set_up();
    if (disarmed_control)
        MUST(sa_disarm(&why) == SA_OK);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        MUST(pthread_create(&threads[i], NULL, works, &own[i]) == 0);
    while (atomic_load(&ready) < THREADS)
        usleep(100);
    dawdle(chance % 200000);
    atomic_fetch_add(&ready, 1);
    switch (place) {
    case ITSELF: pthread_kill(threads[0], SIGUSR1); break;
    case ANOTHER: fault(); break;
    case SEVERAL: break;
    case OUTSIDE: from_outside(); break;
    case CHAINED: *(volatile uint8_t *)(sa_address_of(&small) + SMALL) = 1; break;
    case PLACES: break;
    }
    pthread_join(threads[0], NULL);
    return survived();
}
