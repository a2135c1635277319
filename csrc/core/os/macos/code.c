/* Where the code of a loaded object lies, on macOS. */
#include "os/os.h"

#include <dlfcn.h>
#include <mach-o/getsect.h>
#include <mach-o/loader.h>

bool os_code_around(const void *symbol, uintptr_t *low, uintptr_t *high)
{
    Dl_info object;
    unsigned long bytes;
    if (!dladdr(symbol, &object) || !object.dli_fbase)
        return false;
    const uint8_t *at = getsegmentdata(object.dli_fbase, "__TEXT", &bytes);
    if (!at)
        return false;
    *low = (uintptr_t)at;
    *high = *low + bytes;
    return true;
}
