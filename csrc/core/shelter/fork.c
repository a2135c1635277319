/* A fork's child gets a copy of every span: without, it crashes at its first collection.
 *
 * The pages themselves cannot be inherited: secretmem is shared, never copied on write, and the
 * vault marks all of its pages DONTFORK. So they are copied before the fork, to pages that the
 * child does inherit, and put in their place there: in secretmem of its own; where that is refused
 * in locked memory; else in memory that is left out of core files alone, which the child then
 * warns of. A fork never fails by it. */
#include "shelter/fork.h"

#include "os/os.h"
#include "shelter/heap.h"
#include "shelter/hooks.h"
#include "vault/budget.h"
#include "vault/mapping.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

static struct os_pages copy;  /* with LOCK held by heap_hold */
static size_t copy_bytes;
static _Atomic uintptr_t forking; /* the thread that forks and has the heap, or 0 */
static unsigned nested;           /* forks of a handler that interrupted it */

static size_t bytes_of_all(void)
{
    size_t bytes = 0;
    for (struct span *s = NULL; (s = spans_next(s));)
        bytes += s->bytes;
    return bytes;
}

/* With as many protections as are to be had. */
static bool map_copy(size_t bytes)
{
    lock_take(LOCK_VAULT);
    bool secretmem = budget_has_secretmem();
    int error = mapping_pages(bytes, secretmem, secretmem ? SA_SECRETMEM : SA_LOCK, &copy);
    if (error && secretmem)
        error = mapping_pages(bytes, false, SA_LOCK, &copy);
    if (error)
        error = mapping_pages(bytes, false, 0, &copy);
    lock_give(LOCK_VAULT);
    return !error;
}

static void drop_copy(void)
{
    if (!copy.at)
        return;
    if (!(copy.granted & SA_SECRETMEM)) /* which the child shares */
        memset(copy.at, 0, copy_bytes);
    (void)os_release(copy.at, copy_bytes); /* it holds nothing any more */
    copy.at = NULL;
}

static bool is_forking(void) { return atomic_load(&forking) == os_thread(); }

static void copy_before_fork(void)
{
    if (is_forking()) {
        nested++;
        return;
    }
    if (!heap_hold())
        return; /* a handler forks that interrupted who has it: that child gets nothing */
    atomic_store(&forking, os_thread());
    copy_bytes = bytes_of_all();
    if (!copy_bytes || !map_copy(copy_bytes)) {
        copy.at = NULL;
        return;
    }
    uint8_t *to = copy.at;
    if (os_protect(to, copy_bytes, OS_WRITE) || os_inherit(to, copy_bytes, true)) {
        (void)os_release(to, copy_bytes); /* nothing is in it yet */
        copy.at = NULL;
        return;
    }
    for (struct span *s = NULL; (s = spans_next(s)); to += s->bytes)
        memcpy(to, atomic_load(&s->at), s->bytes);
}

static void drop_after_fork(void)
{
    if (!is_forking())
        return;
    if (nested) {
        nested--;
        return;
    }
    drop_copy();
    atomic_store(&forking, 0);
    heap_let_go();
}

/* The parent's locks are not inherited; secretmem needs none. */
static void protect_again(struct span *s)
{
    uint8_t *at = atomic_load(&s->at);
    size_t bytes = s->bytes;
    bool secretmem = copy.granted & SA_SECRETMEM;
    (void)os_inherit(at, bytes, false); /* refused: a child of ours is then given it twice */
    int error = secretmem ? 0 : os_lock(at, bytes); /* the parent may have had no room for two */
    struct sa_why why = {.call = "mlock of a copy for a forked child",
                         .error = error,
                         .hint = "raise it with ulimit -l or LimitMEMLOCK=",
                         .limit = "RLIMIT_MEMLOCK",
                         .allowed = os_lock_limit()};
    s->granted = secretmem ? SA_SECRETMEM | SA_LOCK : error ? 0 : SA_LOCK;
    lock_take(LOCK_VAULT);
    budget_count(s->granted, bytes);
    if (error)
        budget_note_shortfall(SA_LOCK, &why);
    lock_give(LOCK_VAULT);
}

/* After the vault has forgotten the parent's slots, and reserved where they were. */
static void place_in_child(void)
{
    bool had = is_forking();
    atomic_store(&forking, 0);
    nested = 0;
    heap_forked();
    spans_forked();
    hooks_forked();
    bool came = had && copy.at;
    uint8_t *from = copy.at;
    size_t bytes;
    for (struct span *s = NULL; (s = spans_next(s)); from = came ? from + bytes : from) {
        uint8_t *at = atomic_load(&s->at);
        bytes = s->bytes;
        s->slot.region = NULL;
        s->granted = 0;
        if (came)
            (void)os_reserve_at(at, bytes); /* EEXIST: it is */
        if (came && os_place_copy(from, bytes, at) == 0)
            protect_again(s);
        else
            s->bytes = 0; /* it has no pages here: a handler is to store nothing there */
    }
    copy.at = NULL;
}

int shelter_watch_forks(void)
{
    static _Atomic bool watching;
    if (atomic_exchange(&watching, true))
        return 0;
    int error = pthread_atfork(copy_before_fork, drop_after_fork, place_in_child);
    if (error)
        atomic_store(&watching, false);
    return error;
}
