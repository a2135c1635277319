/* Open blocks: each is counted in the arena's use word, and listed here with the thread that
 * began it, so that a turn never holds off a thread that has a block of the arena open already. */
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

/* With the block counted and the arena moving. Read-only only when the exports end: nobody is
 * lied to. */
static enum sa_code look_inside(struct sa_arena *a, struct sa_why *why)
{
    enum sa_code code = arena_open_pages(a, OS_READ, why);
    return code ? code : arena_whole(a) ? SA_OK : SA_WIPED;
}

enum sa_code sa_open(struct sa_arena *a, bool change, struct sa_block *block, struct sa_why *why)
{
    struct sa_why unused;
    uint64_t one = change ? USE_EDIT : USE_READ, all = change ? USE_EDITS : USE_READS;
    enum sa_code code = arena_alive(a);
    if (code || (code = arena_begin_moving_with(a, USE_FILL, one, all)))
        return code == SA_FILLING ? SA_WIPED : code;
    block->change = change;
    block->generation = atomic_load(&a->good); /* before the look: a wipe from now on shows */
    if (!(code = look_inside(a, why))) {
        list(block, a);
    } else {
        atomic_fetch_sub(&a->use, one);
        if (arena_apply_access(a, &unused)) {
            /* refused: a little more open than it was */
        }
    }
    use_note(a, atomic_load(&a->use));
    arena_leave(a, USE_MOVING);
    return code;
}

enum sa_code sa_open_end(struct sa_block *block, struct sa_why *why)
{
    struct sa_arena *a = block->arena;
    enum sa_code code = arena_alive(a);
    if (code) /* of the parent, whose list is gone, closed there or not */
        return code;
    unlist(block);
    if ((code = arena_begin_moving_with(a, 0, 0 - (block->change ? USE_EDIT : USE_READ), 0)))
        return code;
    bool wiped = arena_generation(a) != block->generation;
    use_note(a, atomic_load(&a->use));
    code = arena_apply_access(a, why);
    arena_leave(a, USE_MOVING);
    return wiped ? SA_WIPED : code;
}
