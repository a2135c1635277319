/* Several threads fault together: the first to die takes the process with it, and
 * must not do so before its own pass is whole. */
#include "death.h"

enum { THREADS = 6 };
static _Atomic int ready;

static void *faults(void *unused)
{
    atomic_fetch_add(&ready, 1);
    while (atomic_load(&ready) < THREADS) {
    }
#if defined(__x86_64__)
    __asm__ __volatile__("ud2");
#elif defined(__aarch64__)
    __asm__ __volatile__(".inst 0");
#endif
    return unused;
}

int main(int argc, char **argv)
{
    prepare(argc, argv, SIGILL, "F N - S many");
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        MUST(pthread_create(&threads[i], NULL, faults, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    return survived();
}
