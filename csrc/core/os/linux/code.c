/* Where the code of a loaded object lies, on Linux. */
#include "os/os.h"

#include <link.h>

struct search {
    uintptr_t symbol, low, high;
};

static int look(struct dl_phdr_info *object, size_t size, void *with)
{
    struct search *s = with;
    (void)size;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        uintptr_t low = object->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD && s->symbol >= low && s->symbol < low + part->p_memsz) {
            s->low = low;
            s->high = low + part->p_memsz;
            return 1;
        }
    }
    return 0;
}

bool os_code_around(const void *symbol, uintptr_t *low, uintptr_t *high)
{
    struct search s = {.symbol = (uintptr_t)symbol};
    if (!dl_iterate_phdr(look, &s))
        return false;
    *low = s.low;
    *high = s.high;
    return true;
}
