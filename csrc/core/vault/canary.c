/* This file fills slack with a pattern that depends on the address, and tells whether it is
 * whole. */
#include "vault/canary.h"

#include "os/os.h"

#include <string.h>

static uint64_t secret;

enum sa_code canary_start(struct sa_why *why) { return os_draw(&secret, sizeof secret, why); }

/* One word for a whole page keeps the loops below plain stores and compares. */
static uint64_t pattern_at(const uint8_t *at)
{
    return (secret ^ (uintptr_t)at >> 12) * 0x9e3779b97f4a7c15u | 0x0100000000000001u;
}

static uint8_t byte_of(const uint8_t *at)
{
    return (uint8_t)(pattern_at(at) >> (uintptr_t)at % 8 * 8);
}

static const uint8_t *page_end(const uint8_t *at, const uint8_t *to)
{
    const uint8_t *end = (const uint8_t *)(((uintptr_t)at | 4095) + 1);
    return end < to ? end : to;
}

void canary_lay(uint8_t *from, uint8_t *to)
{
    for (; from < to && (uintptr_t)from % 8; from++)
        *from = byte_of(from);
    while (to - from >= 8) {
        uint64_t word = pattern_at(from);
        uint8_t *end = from + (page_end(from, to) - from) / 8 * 8;
        for (; from < end; from += 8)
            memcpy(from, &word, sizeof word);
    }
    for (; from < to; from++)
        *from = byte_of(from);
}

static uint64_t first_word(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* From so many bytes on the C library, with its wide vectors, is quicker at comparing. */
enum { LONG = 256 };

bool canary_whole(const uint8_t *from, const uint8_t *to)
{
    uint64_t damage = 0;
    for (; from < to && (uintptr_t)from % 8; from++)
        damage |= (uint64_t)(*from ^ byte_of(from));
    while (to - from >= 8) {
        uint64_t word = pattern_at(from);
        const uint8_t *end = from + (page_end(from, to) - from) / 8 * 8;
        if (end - from >= LONG) { /* each word is the one before */
            damage |= first_word(from) ^ word;
            damage |= memcmp(from, from + 8, (size_t)(end - from) - 8) != 0;
            from = end;
        }
        for (; from < end; from += 8)
            damage |= first_word(from) ^ word;
    }
    for (; from < to; from++)
        damage |= (uint64_t)(*from ^ byte_of(from));
    return damage == 0;
}
