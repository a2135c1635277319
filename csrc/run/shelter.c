/* This file takes over the heap of sheltered calls, for blocks that C code takes meanwhile.
 *
 * Left out is what the loader and the C library take for themselves: glibc's fork looks through
 * its open files and its threads' values in the child, before any atfork handler has put the heap
 * there again. So are the extension's own blocks, as some are taken under its locks. */
#include "shelter.h"

#include "behind.h"

#include <errno.h>
#include <link.h>
#include <sys/auxv.h>

const struct lent *_Atomic shelter_lent;

/* From here up, and how far. */
struct part {
    uintptr_t low, size;
};

enum { LIBC, LOADER, EXTENSION, PARTS };
static struct part left_out[PARTS];

struct sought {
    uintptr_t at;
    struct part found;
};

/* The loaded file that holds the address. */
static int look(struct dl_phdr_info *file, size_t size, void *given)
{
    struct sought *sought = given;
    uintptr_t low = UINTPTR_MAX, high = 0;
    (void)size;
    for (size_t i = 0; i < file->dlpi_phnum; i++) {
        uintptr_t at = file->dlpi_addr + file->dlpi_phdr[i].p_vaddr;
        if (file->dlpi_phdr[i].p_type != PT_LOAD)
            continue;
        low = at < low ? at : low;
        high = at + file->dlpi_phdr[i].p_memsz > high ? at + file->dlpi_phdr[i].p_memsz : high;
    }
    if (sought->at < low || sought->at >= high)
        return 0;
    sought->found = (struct part){low, high - low};
    return 1;
}

static struct part file_of(uintptr_t at)
{
    struct sought sought = {.at = at};
    (void)dl_iterate_phdr(look, &sought); /* not found: nothing is left out by it */
    return sought.found;
}

bool shelter_leaves_out(const void *code)
{
    for (int i = 0; i < PARTS; i++)
        if ((uintptr_t)code - left_out[i].low < left_out[i].size)
            return true;
    return false;
}

#pragma GCC visibility push(default)
lend_call secalloc_run_lend;
#pragma GCC visibility pop

/* Called by one thread at a time. */
bool secalloc_run_lend(const struct lent *by)
{
    if (!behind_is_glibcs() || atomic_load(&shelter_lent))
        return false;
    left_out[LIBC] = file_of(behind(BEHIND_MALLOC));
    left_out[LOADER] = file_of(getauxval(AT_BASE));
    left_out[EXTENSION] = file_of((uintptr_t)by->take);
    atomic_store(&shelter_lent, by);
    return true;
}
