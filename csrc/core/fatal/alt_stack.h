/* A signal stack for each thread that touches the library, so that a stack
 * overflow is handled too. */
#ifndef SECALLOC_ALT_STACK_H
#define SECALLOC_ALT_STACK_H

#include "base/thread.h"
#include "os/os.h"
#include "secalloc.h"

/* A signal stack for the calling thread, which has none now; freed when the thread ends. One of
 * ours that another library took away is put back. Where none is to be had the thread goes
 * without. [any] */
SA_COLD void alt_stack_set(void);

/* The same, unless the thread has one. [any] */
extern _Thread_local bool alt_stack_seen THREAD_FEW;
SA_INLINE void alt_stack_make(void)
{
    stack_t now;
    alt_stack_seen = true;
    if (os_alt_stack(&now) && now.ss_flags & SS_DISABLE)
        alt_stack_set();
}

/* The same, once a thread. Never in a handler: the thread-local may be allocated
 * lazily. [any] */
static inline void alt_stack_ensure(void)
{
    if (!alt_stack_seen)
        alt_stack_make();
}

/* What the calling thread has. [any] */
enum sa_alt_stack alt_stack_kind(void);

/* Where the calling thread's own stack lies, [*low, *high), whole words, as it was when its
 * signal stack was made. False: its signal stack is not ours, or nobody knew. [signal] */
bool alt_stack_bounds(uintptr_t *low, uintptr_t *high);

#endif
