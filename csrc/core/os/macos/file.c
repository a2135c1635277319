/* Pipes that other programs read, on macOS. That has no file in memory that read() works on:
 * objects of shm_open can only be mapped. */
#include "os/os.h"

#include <errno.h>
#include <unistd.h>

int os_pipe_raw(int ends[2]) { return pipe(ends) ? errno : 0; }

int os_map_file(size_t size, size_t bytes, unsigned least, struct os_pages *out, int *fd)
{
    (void)size;
    (void)bytes;
    (void)least;
    *out = (struct os_pages){.why = {.call = "memfd_create", .error = ENOTSUP}};
    *fd = -1;
    return ENOTSUP;
}
