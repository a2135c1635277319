/* The wipe pattern's three buffers: the current one, one to build the next in, and one that a
 * slow wiper may still hold. A wiper pins the buffer that it reads; a rekey builds only in one
 * that is neither current nor pinned. Pins are spread over cache lines, so that threads that
 * wipe do not slow each other. */
#include "vault/noise.h"

#include "base/chacha.h"
#include "vault/locks.h"
#include "os/os.h"
#include "base/shard.h"
#include "base/wipe.h"

#include <string.h>

enum { BUFFERS = 3, NONE = BUFFERS };

static _Alignas(64) uint8_t buffers[BUFFERS][NOISE_BYTES];
static struct {
    _Alignas(64) _Atomic uint32_t pins[BUFFERS];
} shards[SHARDS];
static _Atomic unsigned current = NONE;
static _Atomic uint64_t rekeys;

static bool pinned(unsigned buffer)
{
    uint32_t sum = 0;
    for (unsigned i = 0; i < SHARDS; i++)
        sum += atomic_load(&shards[i].pins[buffer]);
    return sum != 0;
}

static unsigned free_buffer(void)
{
    for (unsigned turn = 0;; os_wait(turn++))
        for (unsigned i = 0; i < BUFFERS; i++)
            if (i != atomic_load(&current) && !pinned(i))
                return i;
}

enum sa_code noise_rekey(struct sa_why *why)
{
    static const uint8_t nonce[8];
    uint8_t key[32];
    enum sa_code code = os_draw(key, sizeof key, why);
    if (code) {
        wipe_scratch(key, sizeof key);
        return code;
    }
    lock_take(LOCK_NOISE);
    unsigned next = free_buffer();
    chacha12(buffers[next], NOISE_BYTES / 64, key, nonce, 0);
    if (atomic_exchange(&current, next) != NONE)
        atomic_fetch_add(&rekeys, 1);
    lock_give(LOCK_NOISE);
    wipe_scratch(key, sizeof key);
    return SA_OK;
}

bool noise_ready(void) { return atomic_load(&current) != NONE; }

uint64_t noise_rekeys(void) { return atomic_load(&rekeys); }

/* A few words one by one: compilers make "rep movs" of a copy of unknown length, which takes longer
 * to begin than these to be stored. */
SA_HOT static void put(uint8_t *at, const uint8_t *from, size_t n)
{
    enum { FEW = 128 };
    if (n > FEW) {
        memcpy(at, from, n);
        return;
    }
    for (; n >= 8; n -= 8, at += 8, from += 8) {
        uint64_t word;
        memcpy(&word, from, sizeof word);
        memcpy(at, &word, sizeof word);
        __asm__ __volatile__("" : : : "memory"); /* or the loop is made a copy again */
    }
    for (; n; n--) {
        *at++ = *from++;
        __asm__ __volatile__("" : : : "memory");
    }
}

SA_HOT void noise_wipe(void *p, size_t n)
{
    _Atomic uint32_t *pins = shards[shard_here()].pins;
    unsigned buffer = atomic_load(&current);
    for (;;) {
        atomic_fetch_add(&pins[buffer], 1);
        unsigned now = atomic_load(&current);
        if (now == buffer)
            break;
        atomic_fetch_sub(&pins[buffer], 1);
        buffer = now;
    }
    for (uint8_t *at = p; n;) {
        size_t part = n < NOISE_BYTES ? n : NOISE_BYTES;
        put(at, buffers[buffer], part);
        at += part;
        n -= part;
    }
    __asm__ __volatile__("" : : "r"(p) : "memory"); /* never dropped as a dead store */
    atomic_fetch_sub(&pins[buffer], 1);
}

void noise_forked(void)
{
    /* Only this thread is left; another may have been caught holding these. */
    memset(shards, 0, sizeof shards);
    atomic_store(&current, NONE);
}
