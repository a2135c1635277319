/* Sealing an arena that has pages of its own. */
#include "arena/cipher.h"
#include "arena/use.h"

/* With the arena moving, and nobody using it. */
static enum sa_code seal(struct sa_arena *a, bool encrypt, struct sa_why *why)
{
    bool before = atomic_exchange(&a->encrypts, encrypt);
    uint64_t was = atomic_fetch_or(&a->use, USE_SEALED) & USE_SEALED;
    enum sa_code code = arena_apply_access(a, why);
    if (code) {
        struct sa_why unused;
        atomic_store(&a->encrypts, before);
        atomic_fetch_and(&a->use, ~USE_SEALED | was);
        if (arena_apply_access(a, &unused)) {
            /* refused: a little more open than it was */
        }
    }
    return code;
}

enum sa_code sa_seal_as(struct sa_arena *a, enum sa_encryption how, struct sa_why *why)
{
    bool encrypt = how == SA_SEAL_ENCRYPTED || (how == SA_SEAL_BY_DEFAULT && sa_encrypts());
    enum sa_code code = arena_alive(a);
    if (code)
        return code;
    uint64_t u = atomic_load(&a->use);
    if (arena_shares(a))
        return u & USE_CLOSED ? SA_CLOSED : SA_POOLED;
    if (encrypt && a->size > SA_ENCRYPTED_MOST && !(u & USE_CLOSED))
        return SA_TOO_LARGE;
    if ((code = arena_begin_moving(a, USE_EXPORTS | USE_FILL | USE_BLOCKS)))
        return code;
    if (how != SA_SEAL_BY_DEFAULT || !(atomic_load(&a->use) & USE_SEALED))
        code = seal(a, encrypt, why);
    arena_leave(a, USE_MOVING);
    return code;
}

enum sa_code sa_seal(struct sa_arena *a, struct sa_why *why)
{
    return sa_seal_as(a, SA_SEAL_BY_DEFAULT, why);
}

bool sa_is_encrypted(struct sa_arena *a)
{
    if (arena_alive(a) || arena_shares(a) || arena_enter(a, USE_READER, NEED_PAGES))
        return false;
    bool encrypted = atomic_load(&slot_cipher(arena_slot(a))->nonce) && arena_whole(a);
    arena_leave(a, USE_READER);
    return encrypted;
}
