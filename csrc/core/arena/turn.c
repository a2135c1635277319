/* Turns: while a thread waits to move an arena or to write it anew, newcomers stand by.
 *
 * The word's WAITING flag says that there is a turn; a table has its thread and its end. A turn
 * lapses by itself, as the thread that waits may end without a word. */
#include "arena/use.h"
#include "vault/locks.h"

enum { TURNS = 64, LAPSE_MS = 1000 };
static struct {
    _Atomic(struct sa_arena *) arena;
    _Atomic int64_t until;
    _Atomic uintptr_t thread;
    _Atomic uint32_t epoch; /* in a child, its parent's are none */
} turns[TURNS];
static brief_lock taking; /* while a place is taken */

static bool is_running(unsigned i, int64_t now)
{
    return atomic_load(&turns[i].until) > now && atomic_load(&turns[i].epoch) == vault_epoch();
}

/* The running turn of an arena; TURNS: there is none. */
static unsigned turn_of(struct sa_arena *a, int64_t now)
{
    unsigned i = 0;
    while (i < TURNS && !(atomic_load(&turns[i].arena) == a && is_running(i, now)))
        i++;
    return i;
}

/* Take a place that is free or whose turn has lapsed. Where there is none, no thread is held off. */
static void take_turn(struct sa_arena *a, struct sa_turn *turn, int64_t now)
{
    brief_take(&taking, vault_epoch());
    unsigned i = 0;
    while (i < TURNS && atomic_load(&turns[i].arena) && is_running(i, now))
        i++;
    if (i < TURNS && turn_of(a, now) == TURNS) {
        atomic_store(&turns[i].thread, os_thread());
        atomic_store(&turns[i].epoch, vault_epoch());
        atomic_store(&turns[i].until, now + LAPSE_MS);
        atomic_store(&turns[i].arena, a);
        turn->place = i + 1;
    }
    brief_give(&taking);
}

/* Whether the turn is still this thread's: it may have lapsed, and its place be another's. */
static bool still_mine(struct sa_arena *a, const struct sa_turn *turn)
{
    return turn->place && atomic_load(&turns[turn->place - 1].arena) == a &&
           atomic_load(&turns[turn->place - 1].epoch) == vault_epoch() &&
           atomic_load(&turns[turn->place - 1].thread) == os_thread();
}

void sa_turn_wait(struct sa_arena *a, struct sa_turn *turn, bool blocks, uint32_t ms)
{
    const uint64_t against = USE_EXPORTS | USE_FILL | (blocks ? USE_BLOCKS : 0);
    int64_t now = os_now_ms(), end = now + ms;
    for (unsigned round = 0; arena_alive(a) == SA_OK; os_wait(round++), now = os_now_ms()) {
        uint64_t u = atomic_load(&a->use);
        if (u & USE_CLOSED)
            return;
        if (still_mine(a, turn))
            atomic_store(&turns[turn->place - 1].until, now + LAPSE_MS);
        else
            take_turn(a, turn, now);
        if (turn->place && !(u & USE_WAITING))
            atomic_fetch_or(&a->use, USE_WAITING);
        if (!(u & against) || now >= end)
            return;
    }
}

void sa_turn_end(struct sa_arena *a, struct sa_turn *turn)
{
    if (still_mine(a, turn)) {
        atomic_fetch_and(&a->use, ~USE_WAITING);
        atomic_store(&turns[turn->place - 1].arena, NULL);
    }
    turn->place = 0;
}

SA_COLD static bool is_held_off(struct sa_arena *a)
{
    unsigned i = turn_of(a, os_now_ms());
    return i < TURNS && atomic_load(&turns[i].thread) != os_thread() && !block_is_open_here(a);
}

bool sa_held_off(struct sa_arena *a)
{
    return atomic_load_explicit(&a->use, memory_order_relaxed) & USE_WAITING && is_held_off(a);
}

void sa_stand_by(struct sa_arena *a, uint32_t ms)
{
    int64_t end = os_now_ms() + ms;
    for (unsigned round = 0; sa_held_off(a) && os_now_ms() < end;)
        os_wait(round++);
}
