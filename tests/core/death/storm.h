/* Deaths in the middle of the library's own work. The observer looks at every slot of
 * the vault, so that nothing that was moved can escape it, and tells on descriptor 4:
 *
 *     N  neither of the two below
 *     O  what a thread was storing from outside when the pass went by: not covered
 *     S  the secret, which only the library's own code moves: must not be
 *
 * and how many nanoseconds passed from the fault to here, if that is known.
 *
 * The secret is one random word repeated, so that a page holds it if any aligned word
 * of it is one of the word's eight rotations.
 */
#ifndef STORM_H
#define STORM_H

#include "death.h"
#include "vault/state.h"

#include <time.h>

static uint64_t halves[2], outside_halves[2];
static struct sa_pool *pool;
static _Atomic int looking;
static _Atomic uint64_t fell; /* when the first fault was about to be, in ns; 0: unknown */
/* [signal] */
static inline bool holds(const uint64_t *words, size_t n, const uint64_t *parts)
{
    bool found = false;
    for (size_t i = 0; i < n; i++)
        for (unsigned turn = 0; turn < 64; turn += 8) {
            uint64_t word = parts[0] ^ parts[1];
            found |= words[i] == (word << turn | word >> (64 - turn) % 64);
        }
    return found;
}

/* Read through a pipe, as another thread may move the page meanwhile. [signal] */
static inline void look_at(uint8_t *at, size_t length, bool *secret, bool *outside)
{
    static uint64_t page[4096 / sizeof(uint64_t)];
    static int ends[2];
    if (!ends[1])
        MUST(pipe(ends) == 0);
    for (size_t i = 0; i < length; i += sizeof page) {
        (void)!mprotect(at + i / os_page_size() * os_page_size(), os_page_size(),
                        PROT_READ | PROT_WRITE);
        ssize_t n = write(ends[1], at + i, sizeof page);
        if (n <= 0)
            continue;
        MUST(read(ends[0], page, (size_t)n) == n);
        *secret |= holds(page, (size_t)n / sizeof *page, halves);
        *outside |= holds(page, (size_t)n / sizeof *page, outside_halves);
    }
}

/* [signal] */
static inline uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* [signal] */
static inline void look_everywhere(int sig)
{
    uint64_t taken = atomic_load(&fell) ? now_ns() - atomic_load(&fell) : 0;
    while (atomic_exchange(&looking, 1)) /* one tells for all: it ends the process */
        usleep(1000);
    bool secret = false, outside = false;
    for (uint32_t i = 0; i < atomic_load(&vault.segment_count); i++)
        for (uint32_t k = 0; k < atomic_load(&segments[i].used); k++)
            look_at(slot_data((struct slot){&segments[i], k}), segments[i].data, &secret, &outside);
    for (uint32_t i = 0; i < atomic_load(&vault.large_count); i++)
        if (atomic_load(&larges[i].base))
            look_at(slot_data((struct slot){&larges[i], 0}), larges[i].data, &secret, &outside);
    char text[24] = {secret ? 'S' : outside ? 'O' : 'N'};
    size_t at = sizeof text;
    for (uint64_t n = taken; n; n /= 10)
        text[--at] = (char)('0' + n % 10);
    memmove(text + 1, text + at, sizeof text - at);
    (void)!write(VERDICT, text, 1 + sizeof text - at);
    signal(sig, SIG_DFL);
    raise(sig);
}

/* An arena full of the word. */
static inline void fill(struct sa_arena *a, size_t n, const uint64_t *parts)
{
    MUST(sa_arena_make(a, n, 1, &why) == SA_OK);
    uint8_t *at = (uint8_t *)sa_address_of(a);
    for (size_t i = 0; i < n; i++)
        at[i] = (uint8_t)((parts[0] ^ parts[1]) >> i % 8 * 8);
    MUST(sa_fill_end(a, true) == SA_OK);
}

/* From one arena to another, by the library. */
static inline void copy(struct sa_arena *from, struct sa_arena *to, size_t n)
{
    uint8_t *bytes_;
    if (sa_export(from, false, &bytes_) != SA_OK)
        return;
    (void)!sa_store(to, 0, bytes_, n); /* refused where a wipe passed */
    sa_unexport(from);
}

/* Some thousand turns of nothing. */
static inline void dawdle(unsigned turns)
{
    for (volatile unsigned i = 0; i < turns; i++) {
    }
}

#endif
