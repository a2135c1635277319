/* Where the kernel keeps the environment that a process began with, on Linux. */
#include "os/os.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

extern char **environ;

/* env_start and env_end, the 50th and 51st field since 3.5. The second, in parentheses, may
 * hold anything. */
static bool by_stat(uintptr_t *start, uintptr_t *end)
{
    char text[2048];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = 0;
    const char *at = strrchr(text, ')');
    for (int field = 2; at && field < 50; field++)
        if ((at = strchr(at, ' ')))
            at++;
    if (!at)
        return false;
    char *rest;
    *start = strtoull(at, &rest, 10);
    *end = strtoull(rest, NULL, 10);
    return *start != 0 && *start < *end; /* emulated: zeros */
}

/* The program's path lies right behind it, and sixteen random bytes somewhere before. The
 * arguments between are not ours to change, so that it begins with the first entry that the
 * program left where it was. */
static bool by_entries(uintptr_t *start, uintptr_t *end)
{
    uintptr_t low = getauxval(AT_RANDOM);
    *end = *start = getauxval(AT_EXECFN);
    for (char **entry = environ; low && entry && *entry; entry++)
        if ((uintptr_t)*entry > low && (uintptr_t)*entry < *start)
            *start = (uintptr_t)*entry;
    return *start < *end;
}

bool os_environ(char **start, char **end)
{
    uintptr_t from, to;
    if (!by_stat(&from, &to) && !by_entries(&from, &to))
        return false;
    *start = (char *)from;
    *end = (char *)to;
    return true;
}

bool os_is_raised(void) { return getauxval(AT_SECURE) != 0; }
