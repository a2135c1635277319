/* Open blocks: each is counted in the arena's use word, and listed here with the thread that
 * began it, so that a turn never holds off a thread that has a block of the arena open already. */
#include "arena/cipher.h"
#include "arena/use.h"
#include "vault/locks.h"

enum { BUCKETS = 256 };
static struct {
    _Alignas(64) brief_lock lock;
    uint32_t epoch; /* of the process whose blocks they are: a child has none of its parent's */
    struct sa_block *first;
} buckets[BUCKETS];

static unsigned bucket_of(const struct sa_arena *a)
{
    return (unsigned)((uintptr_t)a * 0x9e3779b97f4a7c15u >> 56);
}

static void lock_bucket(unsigned i)
{
    uint32_t epoch = vault_epoch();
    brief_take(&buckets[i].lock, epoch);
    if (buckets[i].epoch != epoch)
        buckets[i].first = NULL;
    buckets[i].epoch = epoch;
}

static void unlock_bucket(unsigned i) { brief_give(&buckets[i].lock); }

static void list(struct sa_block *b, struct sa_arena *a)
{
    unsigned i = bucket_of(a);
    b->arena = a;
    b->thread = os_thread();
    lock_bucket(i);
    b->next = buckets[i].first;
    b->from = &buckets[i].first;
    if (b->next)
        b->next->from = &b->next;
    buckets[i].first = b;
    unlock_bucket(i);
}

static void unlist(struct sa_block *b)
{
    unsigned i = bucket_of(b->arena);
    lock_bucket(i);
    *b->from = b->next;
    if (b->next)
        b->next->from = b->from;
    unlock_bucket(i);
}

bool block_is_open_here(struct sa_arena *a)
{
    unsigned i = bucket_of(a);
    uintptr_t here = os_thread();
    lock_bucket(i);
    const struct sa_block *b = buckets[i].first;
    while (b && !(b->arena == a && b->thread == here))
        b = b->next;
    unlock_bucket(i);
    return b;
}

/* ---- begin and end -------------------------------------------------------------------- */

/* Give pages the access that the word asks for. Without exports, and none can come while the arena
 * moves, there is less to ask. */
static inline enum sa_code apply(struct sa_arena *a, uint64_t use, struct sa_why *why)
{
    if (use & USE_EXPORTS || arena_shares(a) || cipher_concerns(a))
        return arena_apply_access(a, why);
    int error = slot_set_access(arena_slot(a), use_wants(use));
    return error ? place_refused(error, why) : SA_OK;
}

/* With the block counted and the arena moving. Read-only only when the exports end: nobody is
 * lied to. */
static enum sa_code look_inside(struct sa_arena *a, uint64_t use, struct sa_why *why)
{
    enum sa_code code = arena_shares(a) ? arena_open_pages(a, OS_READ, why) : apply(a, use, why);
    return code && code != SA_BUSY ? code : arena_whole(a) ? SA_OK : SA_WIPED;
}

SA_COLD static void take_back(struct sa_arena *a, uint64_t one)
{
    struct sa_why unused;
    atomic_fetch_sub(&a->use, one);
    if (arena_apply_access(a, &unused)) {
        /* refused: a little more open than it was */
    }
}

enum sa_code sa_open(struct sa_arena *a, bool change, struct sa_block *block, struct sa_why *why)
{
    uint64_t one = change ? USE_EDIT : USE_READ, all = change ? USE_EDITS : USE_READS, use;
    enum sa_code code = arena_alive(a);
    if (code || (code = arena_begin_moving_with(a, USE_FILL, one, all, &use)))
        return code == SA_FILLING ? SA_WIPED : code;
    block->change = change;
    block->generation = atomic_load(&a->good); /* before the look: a wipe from now on shows */
    if (!(code = look_inside(a, use, why)))
        list(block, a);
    else
        take_back(a, one);
    use_note(a, use);
    arena_leave(a, USE_MOVING);
    return code;
}

enum sa_code sa_open_end(struct sa_block *block, struct sa_why *why)
{
    struct sa_arena *a = block->arena;
    uint64_t one = block->change ? USE_EDIT : USE_READ, use;
    enum sa_code code = arena_alive(a);
    if (code) /* of the parent, whose list is gone, closed there or not */
        return code;
    unlist(block);
    if ((code = arena_begin_moving_with(a, 0, 0 - one, 0, &use)))
        return code;
    bool wiped = arena_generation(a) != block->generation;
    use_note(a, use);
    code = apply(a, use, why);
    arena_leave(a, USE_MOVING);
    return wiped ? SA_WIPED : code;
}
