/* This file hands the heap to what `python -m secalloc run` loaded, for the blocks that C code
 * takes. */
#include "shelter/lend.h"

#include "face/lend.h"

#include "os/os.h"
#include "shelter/heap.h"
#include "shelter/hooks.h"

/* Not where the thread is in the heap already: an atfork handler, or a signal's. */
static bool lends_now(void) { return hooks_depth() && !heap_is_held(); }

static bool is_lent(const void *block) { return heap_has(block); }

void lend_heap(void)
{
    static struct lent by = {.inside = lends_now,
                             .take = heap_take_aligned,
                             .resize = heap_resize,
                             .give = heap_give,
                             .has = is_lent,
                             .size = heap_size};
    static _Atomic bool asked;
    if (atomic_load_explicit(&asked, memory_order_relaxed) || atomic_exchange(&asked, true))
        return;
    lend_call *lend = (lend_call *)(uintptr_t)os_symbol(LEND);
    by.threads = hooks_threads();
    if (lend)
        (void)lend(&by); /* refused: C code's blocks are ordinary ones */
}
