/* Work in a process of its own that shares this one's memory: there is none on macOS. */
#include "os/os.h"

#include <errno.h>

int os_run_apart(void *stack, size_t bytes, void (*work)(void *), void *context)
{
    (void)stack, (void)bytes, (void)work, (void)context;
    return ENOTSUP;
}
