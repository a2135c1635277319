/* Arenas and slots as the tests of the upper half use them. */
#ifndef ARENAS_H
#define ARENAS_H

#include "arena/use.h"
#include "check.h"
#include "vault/noise.h"
#include "os/os.h"

/* Of a test that rotates, has sheltered blocks, or keeps what only locked pages are kept for: where
 * an ordinary user may lock less, that is refused, which test_budget.c looks at. */
#define NEEDS_LOCKED(bytes) \
    do { \
        if (os_lock_limit() < (size_t)(bytes)) \
            SKIP("may lock too little here"); \
    } while (0)

/* Content that depends on place and on `seed`; no byte of it is zero. */
static inline uint8_t content_at(size_t i, unsigned seed)
{
    return (uint8_t)((i * 31 + i / 251 + seed * 7) % 255 + 1);
}

static inline void put_content(uint8_t *at, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++)
        at[i] = content_at(i, seed);
}

static inline bool is_content(const uint8_t *at, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++)
        if (at[i] != content_at(i, seed))
            return false;
    return true;
}

static inline bool is_all(const uint8_t *at, size_t n, uint8_t byte)
{
    for (size_t i = 0; i < n; i++)
        if (at[i] != byte)
            return false;
    return true;
}

/* Whether [at, at + n) repeats the current noise, with its start at `start`. */
static inline bool is_noise_from(const uint8_t *start, const uint8_t *at, size_t n)
{
    static _Thread_local uint8_t noise[NOISE_BYTES];
    noise_wipe(noise, sizeof noise);
    for (size_t i = 0; i < n; i++)
        if (at[i] != noise[(size_t)(at + i - start) % NOISE_BYTES])
            return false;
    return true;
}

/* The whole slot of an arena, slack and all, holds the current noise. */
static inline bool slot_is_noise(struct slot s)
{
    return is_noise_from(slot_data(s), slot_data(s), s.region->data);
}

static inline void make_wiped(struct sa_arena *a, size_t size, size_t align)
{
    struct sa_why why;
    *a = (struct sa_arena){0};
    OK(sa_arena_make(a, size, align, &why));
    OK(sa_fill_end(a, false));
}

/* An arena with content. */
static inline void make(struct sa_arena *a, size_t size, size_t align, unsigned seed)
{
    struct sa_why why;
    *a = (struct sa_arena){0};
    OK(sa_arena_make(a, size, align, &why));
    put_content(arena_bytes(a), size, seed);
    OK(sa_fill_end(a, true));
}

/* The bytes of a usable arena, past the library's counting. */
static inline uint8_t *raw(struct sa_arena *a) { return (uint8_t *)sa_address_of(a); }

static inline struct sa_status status(void)
{
    struct sa_status now;
    sa_status(&now);
    return now;
}

/* Let the marker go nowhere. */
static inline void no_marker(void)
{
    struct sa_why why;
    int before;
    OK(sa_set_lockdown_fd(-1, &before, &why));
}

static inline size_t lockdown(void)
{
    struct sa_why why;
    size_t wiped;
    OK(sa_lockdown(&wiped, &why));
    return wiped;
}

#endif
