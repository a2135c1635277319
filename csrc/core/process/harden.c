/* What a process gives up so that others learn less of it. */
#include "os/os.h"

static void note(struct sa_hardening *out, const struct sa_why *why)
{
    if (why->call)
        out->refused[out->refusals++] = *why;
}

void sa_harden(struct sa_hardening *out)
{
    struct sa_why why = {0};
    *out = (struct sa_hardening){0};
    out->no_core_files = os_forbid_core_files(&why);
    note(out, &why);
    why = (struct sa_why){0};
    out->not_dumpable = os_forbid_dumps(&why);
    note(out, &why);
    why = (struct sa_why){0};
    out->no_debugger = os_forbid_debuggers(&why);
    note(out, &why);
}

int sa_dumpable(void) { return os_dumpable(); }

bool sa_peek(uintptr_t at, void *out, size_t bytes) { return os_peek(at, out, bytes); }
