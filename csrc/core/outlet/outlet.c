/* This file reaches the arena that goes out, and lets it go. */
#include "outlet/outlet.h"

#include "vault/vault.h"

enum sa_code outlet_reach(struct sa_outlet *o, struct sa_arena *source, size_t start, size_t size,
                          bool lasting, struct sa_why *why)
{
    *o = (struct sa_outlet){
        .out = {.fd = -1},
        .feed = {.fd = -1},
        .keep = {.fd = -1},
        .source = source,
        .start = start,
        .size = size,
    };
    enum sa_code code = vault_enter(why);
    if (code)
        return code;
    o->epoch = vault_epoch();
    const uint8_t *bytes;
    if ((code = sa_borrow(source, &bytes)) == SA_OK)
        code = sa_return(source);
    if (!code && (start > source->size || size > source->size - start))
        return SA_BAD_RANGE;
    if (code != SA_SEALED && (code || !lasting))
        return code;
    code = sa_open(source, false, &o->block, why);
    o->open = code == SA_OK;
    return code;
}

enum sa_code outlet_let_go(struct sa_outlet *o)
{
    struct sa_why unused;
    if (!o->open)
        return SA_OK;
    o->open = false;
    enum sa_code code = sa_open_end(&o->block, &unused);
    return code == SA_WIPED || code == SA_CLOSED ? code
                                                 : SA_OK; /* another's export keeps it open */
}
