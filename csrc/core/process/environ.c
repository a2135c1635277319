/* The process's environment: what others can read of it, after the program took it. */
#include "os/os.h"
#include "secalloc.h"
#include "base/wipe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

extern char **environ; /* which no header declares under every C library */

/* By the kernel first, to which memory that cannot be written, as of a literal that was given
 * to putenv, is an error. */
static void wipe_value(char *value, size_t n)
{
    if (n && os_entropy(value, n) != EFAULT)
        wipe_scratch(value, n);
}

/* The value in an entry of up to `n` bytes; NULL: it is another's. */
static char *value_in(char *entry, size_t n, const char *name, size_t length)
{
    bool is = n > length && memcmp(entry, name, length) == 0 && entry[length] == '=';
    return is ? entry + length + 1 : NULL;
}

/* The kernel shows this memory, which the program may have changed, or left behind when it
 * set the variable anew. */
static void wipe_first(const char *name, size_t length)
{
    char *at, *end;
    if (!os_environ(&at, &end))
        return;
    size_t page = os_page_size();
    for (uintptr_t p = (uintptr_t)at / page * page; p < (uintptr_t)end; p += page)
        if (!os_may_read((const void *)(p < (uintptr_t)at ? (uintptr_t)at : p)))
            end = (char *)p; /* a part of it was unmapped */
    while (at < end) {
        size_t n = strnlen(at, (size_t)(end - at));
        char *value = value_in(at, n, name, length);
        if (value)
            wipe_value(value, n - length - 1);
        at += n + 1;
    }
}

void sa_environ_wipe(const char *name)
{
    size_t length = strlen(name);
    for (char **entry = environ; entry && *entry; entry++) {
        char *value = value_in(*entry, strlen(*entry), name, length);
        if (value)
            wipe_value(value, strlen(value));
    }
    wipe_first(name, length);
}

bool sa_is_raised(void) { return os_is_raised(); }
