/* The list of descriptors that are lent out. LOCK_VAULT guards it, and fork waits for that lock,
 * so that a child finds the list whole. */
#include "vault/lent.h"

#include "os/os.h"

#include <sys/stat.h>

static struct sa_lent *lents;

/* A second time where it is refused once: what is not known is neither closed nor kept by mistake. */
static bool look_twice(int fd, struct stat *file)
{
    return os_look_at(fd, file) == 0 || os_look_at(fd, file) == 0;
}

void lent_add(struct sa_lent *lent, int fd)
{
    struct stat file;
    bool known = look_twice(fd, &file);
    *lent = (struct sa_lent){.fd = fd, .next = lents, .from = &lents};
    if (known) {
        lent->device = (uint64_t)file.st_dev;
        lent->file = (uint64_t)file.st_ino;
    }
    if (lents)
        lents->from = &lent->next;
    lents = lent;
}

static void close_if_ours(struct sa_lent *lent)
{
    struct stat file;
    bool never_known = !lent->device && !lent->file; /* a sandbox may refuse to say */
    if (never_known || (look_twice(lent->fd, &file) && (uint64_t)file.st_dev == lent->device &&
                        (uint64_t)file.st_ino == lent->file))
        os_close(lent->fd);
    lent->fd = -1;
}

void lent_close(struct sa_lent *lent)
{
    lock_take(LOCK_VAULT);
    if (lent->fd >= 0) {
        close_if_ours(lent);
        *lent->from = lent->next;
        if (lent->next)
            lent->next->from = lent->from;
    }
    lock_give(LOCK_VAULT);
}

void lents_forked(void)
{
    for (; lents; lents = lents->next)
        if (lents->fd >= 0)
            close_if_ours(lents);
}
