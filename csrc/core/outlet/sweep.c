/* This file overwrites what libraries that read a secret left in memory that they freed.
 *
 * OpenSSL, libpq and others read files by way of stdio, whose buffers the C library frees as they
 * are. Memory that malloc gives is ours to overwrite, and it gives what was freed last first. So a
 * number of blocks of each usual size are taken, overwritten and freed. That finds what was freed
 * on this thread a moment ago, unless it was used again in part; it promises nothing.
 */
#include "outlet/outlet.h"

#include "base/wipe.h"

#include <stdlib.h>

struct taken {
    struct taken *next;
};

static const struct {
    size_t bytes;
    unsigned count;
} sizes[] = {{8192 - 16, 32}, {4096 - 16, 64}, {1024, 64}, {256, 128}, {64, 128}};

void outlet_sweep(void)
{
    struct taken *all = NULL, *one;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (unsigned n = 0; n < sizes[i].count; n++) {
            if (!(one = malloc(sizes[i].bytes)))
                break;
            wipe_scratch(one, sizes[i].bytes);
            one->next = all;
            all = one;
        }
    while ((one = all)) {
        all = one->next;
        free(one);
    }
}
