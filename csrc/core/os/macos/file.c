/* macOS: pipes that other programs read. It has no file in memory that read() works on: objects of
 * shm_open can only be mapped. */
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int os_pipe(int ends[2])
{
    int first[2], error = pipe(first) ? errno : 0;
    if (error)
        return error;
    ends[0] = ends[1] = -1;
    if (!(error = os_duplicate(first[0], &ends[0])))
        error = os_duplicate(first[1], &ends[1]);
    (void)close(first[0]); /* nothing is in it */
    (void)close(first[1]);
    if (!error && fcntl(ends[1], F_SETFL, O_NONBLOCK))
        error = errno;
    for (int i = 0; error && i < 2; i++)
        if (ends[i] >= 0)
            (void)close(ends[i]); /* as above */
    return error;
}

int os_map_file(size_t size, size_t bytes, unsigned least, struct os_pages *out, int *fd)
{
    (void)size;
    (void)bytes;
    (void)least;
    *out = (struct os_pages){.why = {.call = "memfd_create", .error = ENOTSUP}};
    *fd = -1;
    return ENOTSUP;
}
