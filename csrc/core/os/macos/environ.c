/* Where the kernel keeps the environment that a process began with, on macOS. */
#include "os/os.h"

#include <crt_externs.h>
#include <string.h>
#include <unistd.h>

/* Behind the last argument, one string after the other up to an empty one; those of the
 * loader that follow are of the same form. Where the program moved its arguments it is not to be
 * told. */
bool os_environ(char **start, char **end)
{
    char **arguments = *_NSGetArgv();
    int count = *_NSGetArgc();
    if (!arguments || count < 1)
        return false;
    for (int i = 1; i < count; i++)
        if (arguments[i] != arguments[i - 1] + strlen(arguments[i - 1]) + 1)
            return false;
    *start = arguments[count - 1] + strlen(arguments[count - 1]) + 1;
    *end = *start;
    size_t page = os_page_size();
    while (os_may_read(*end) && **end) {
        const char *next = (const char *)(((uintptr_t)*end / page + 1) * page);
        while (**end && *end < next)
            ++*end;
        if (*end < next)
            ++*end;
    }
    return *start < *end;
}

bool os_is_raised(void) { return issetugid() != 0; }
