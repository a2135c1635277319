/* This file ends ways out of the process. */
#include "outlet/outlet.h"

#include "vault/lent.h"
#include "vault/vault.h"

enum sa_code sa_outlet_close(struct sa_outlet *o, size_t *unread)
{
    enum sa_code code = SA_OK;
    *unread = 0;
    if (!o->live)
        return SA_OK;
    o->live = false;
    vault_notice_fork();
    bool ours = o->epoch == vault_epoch();
    if (ours && o->is_file) {
        code = o->size && sa_is_wiped(&o->copy) ? SA_WIPED : SA_OK;
        sa_close(&o->copy);
    } else if (ours) {
        *unread = pipe_end(o);
    }
    lent_close(&o->out);
    lent_close(&o->keep);
    lent_close(&o->feed);
    if (!ours)
        return SA_FORKED;
    outlet_sweep();
    enum sa_code end = outlet_let_go(o);
    return end ? end : code;
}

void sa_outlets_forked(void) { lents_forked(); }
