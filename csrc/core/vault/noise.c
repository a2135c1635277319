/* The wipe pattern's three buffers: the current one, one for the next, and one that a slow wiper
 * may still hold. A wiper of many bytes pins the buffer that it reads; a rekey stores only to one
 * that is neither current nor pinned. Pins are spread over cache lines, so that threads that
 * wipe do not slow each other. A wiper of a few bytes pins nothing: it looks afterwards whether
 * noise was rekeyed meanwhile, and wipes once more. */
#include "vault/noise.h"

#include "base/chacha.h"
#include "vault/locks.h"
#include "os/os.h"
#include "base/shard.h"
#include "base/wipe.h"

#include <string.h>

enum { BUFFERS = 3, NONE = BUFFERS, TURN = 4 };

/* Words, as a wiper may read what a rekey stores. */
typedef _Atomic uint64_t word;
static _Alignas(64) word buffers[BUFFERS][NOISE_BYTES / sizeof(word)];
static struct {
    _Alignas(64) _Atomic uint32_t pins[BUFFERS];
} shards[SHARDS];
static _Atomic uint64_t current = NONE; /* its index, and a count in steps of TURN */
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
            if (i != atomic_load(&current) % TURN && !pinned(i))
                return i;
}

/* Make a buffer current that holds this, with LOCK_NOISE held. Who reads a word of it while it was
 * free finds that another one has become current before. */
static void swap_in(const uint8_t *fresh)
{
    unsigned next = free_buffer();
    atomic_thread_fence(memory_order_release);
    for (size_t i = 0; i < NOISE_BYTES / sizeof(word); i++) {
        uint64_t value;
        memcpy(&value, fresh + i * sizeof value, sizeof value);
        atomic_store_explicit(&buffers[next][i], value, memory_order_relaxed);
    }
    uint64_t turn = (atomic_load(&current) / TURN + 1) * TURN;
    if (atomic_exchange(&current, turn + next) % TURN != NONE)
        atomic_fetch_add(&rekeys, 1);
}

enum sa_code noise_rekey(struct sa_why *why)
{
    static uint8_t fresh[NOISE_BYTES];
    static const uint8_t nonce[8];
    uint8_t key[32];
    enum sa_code code = os_draw(key, sizeof key, why);
    if (code) {
        wipe_scratch(key, sizeof key);
        return code;
    }
    lock_take(LOCK_NOISE);
    chacha12(fresh, NOISE_BYTES / 64, key, nonce, 0);
    swap_in(fresh);
    lock_give(LOCK_NOISE);
    wipe_scratch(key, sizeof key);
    return SA_OK;
}

bool noise_ready(void) { return atomic_load(&current) % TURN != NONE; }

uint64_t noise_rekeys(void) { return atomic_load(&rekeys); }

/* Word by word: compilers make "rep movs" of a copy of unknown length, which takes longer to begin
 * than these to be stored. */
SA_HOT static void wipe_few(uint8_t *at, size_t n)
{
    uint64_t turn = atomic_load_explicit(&current, memory_order_acquire), now;
    for (;; turn = now) {
        const word *from = buffers[turn % TURN];
        size_t i = 0;
        for (; i < n / sizeof(word); i++) {
            uint64_t value = atomic_load_explicit(&from[i], memory_order_relaxed);
            memcpy(at + i * sizeof value, &value, sizeof value);
        }
        if (n % sizeof(word)) {
            uint64_t value = atomic_load_explicit(&from[i], memory_order_relaxed);
            memcpy(at + i * sizeof value, &value, n % sizeof value);
        }
        atomic_thread_fence(memory_order_acquire);
        now = atomic_load_explicit(&current, memory_order_relaxed);
        if (now == turn)
            return;
    }
}

SA_HOT static void wipe_many(uint8_t *at, size_t n)
{
    _Atomic uint32_t *pins = shards[shard_here()].pins;
    uint64_t turn = atomic_load(&current);
    for (;;) {
        atomic_fetch_add(&pins[turn % TURN], 1);
        uint64_t now = atomic_load(&current);
        if (now == turn)
            break;
        atomic_fetch_sub(&pins[turn % TURN], 1);
        turn = now;
    }
    while (n) {
        size_t part = n < NOISE_BYTES ? n : NOISE_BYTES;
        memcpy(at, (const void *)buffers[turn % TURN], part); /* nobody stores to it */
        at += part;
        n -= part;
    }
    atomic_fetch_sub(&pins[turn % TURN], 1);
}

SA_HOT void noise_wipe(void *p, size_t n)
{
    enum { FEW = 128 };
    if (n <= FEW)
        wipe_few(p, n);
    else
        wipe_many(p, n);
    __asm__ __volatile__("" : : "r"(p) : "memory"); /* never dropped as a dead store */
}

void noise_forked(void)
{
    /* Only this thread is left; another may have been caught holding these. */
    memset(shards, 0, sizeof shards);
    atomic_fetch_or(&current, NONE);
}
