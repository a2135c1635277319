/* Which thread it is, and where its stack lies, on macOS. */
#include "os/os.h"

#include <pthread.h>

uintptr_t os_thread(void) { return (uintptr_t)pthread_self(); }

void os_learn_stack(void) {} /* nothing is asked of a file */

bool os_stack_bounds(uintptr_t *low, uintptr_t *high)
{
    const uintptr_t word = sizeof(uint64_t);
    pthread_t self = pthread_self();
    size_t bytes = pthread_get_stacksize_np(self);
    *high = (uintptr_t)pthread_get_stackaddr_np(self); /* where it begins: it grows down */
    if (bytes >= *high)
        return false;
    *low = (*high - bytes + word - 1) / word * word;
    return *low < *high;
}
