/* Files in memory from which others read a copy of a secret. */
#include "outlet/outlet.h"

#include "arena/file.h"
#include "vault/lent.h"

/* What was wiped in the source meanwhile does not pass for content. */
static enum sa_code copy_content(struct sa_outlet *o)
{
    const uint8_t *bytes;
    enum sa_code code = sa_borrow(o->source, &bytes);
    if (code)
        return code;
    code = sa_store(&o->copy, 0, bytes + o->start, o->size);
    enum sa_code back = sa_return(o->source);
    return code ? code : back;
}

enum sa_code sa_file_open(struct sa_outlet *o, struct sa_arena *source, size_t start, size_t size,
                          int *fd, struct sa_why *why)
{
    enum sa_code code = outlet_reach(o, source, start, size, false, why);
    if (code)
        return code;
    code = arena_make_file(&o->copy, size, &o->out, why);
    if (!code && size) {
        code = copy_content(o);
        enum sa_code end = sa_fill_end(&o->copy, !code);
        code = code ? code : end;
    }
    enum sa_code end = outlet_let_go(o);
    code = code ? code : end;
    if (code) {
        if (size)
            sa_close(&o->copy); /* zeroed where none was made */
        lent_close(&o->out);
        return code;
    }
    o->live = o->is_file = true;
    *fd = o->out.fd;
    return SA_OK;
}
