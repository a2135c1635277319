/* Cells of slabs, as arenas and pools see them: a slab is a slot of the vault, cut into cells
 * of one size, and a set holds the slabs of a pool. An owner of a cell is a mere address here. */
#ifndef SECALLOC_SLAB_H
#define SECALLOC_SLAB_H

#include "vault/slot.h"

struct slab_set;

/* ---- a cell, for the arena that lies there ----------------------------------------- */

struct cell {
    struct sa_slab *slab;
    uint32_t index;
    struct slot slot; /* the slab's */
    size_t tail;      /* from the last byte of the content to the end of the slot's data */
};

/* Take a cell for `size` bytes, on a slab with at least those of LOCK, SECRETMEM and NODUMP that
 * are in `least`; no cell falls short of another while one that does not is free, or to be had.
 * It goes back with slab_give_back. SA_CLOSED: the set is; SA_SEALED, SA_READ_ONLY: its pages
 * are. The owner is known at once: closing the pool may meet it before this returns. [any] */
SA_MUST_USE enum sa_code slab_take(struct slab_set *set, struct sa_arena *owner, size_t size,
                                   unsigned least, struct cell *out, struct sa_why *why);

/* The same in the slab's set, sealed or not, with no less protection than this slab has; the new
 * cell's slab is lifted, for the owner to unlift. [any] */
SA_MUST_USE enum sa_code slab_take_alike(struct sa_slab *slab, struct sa_arena *owner, size_t size,
                                         struct cell *out, struct sa_why *why);

/* Free a cell that holds noise; pages that nobody uses any more go back. [any] */
void slab_give_back(struct sa_slab *slab, uint32_t index, size_t size);

/* Another owner for a cell, while neither can be closed. [any] */
void slab_set_owner(struct sa_slab *slab, uint32_t index, struct sa_arena *owner);

/* First byte of a cell, how far that is before the end of the slot's data, and how long the cell
 * is. [any] */
size_t slab_cell_before_end(struct sa_slab *slab, uint32_t index, size_t *bytes);
uint8_t *slab_cell_at(struct sa_slab *slab, uint32_t index, size_t *bytes);

/* Overwrite a cell with noise: sealed or not, or of a slab that the caller has lifted. [any] */
void slab_wipe_cell(struct sa_slab *slab, uint32_t index);
void slab_wipe_lifted(struct sa_slab *slab, uint32_t index);

/* ---- the access of a slab's pages ---------------------------------------------------- */

/* The access that the owners of its cells have. [any] */
enum os_access slab_access(struct sa_slab *slab);

/* Make the pages writable for our own code, though that forbids it, 0 or an errno; and put it
 * back, once for each time. Meanwhile a cell of it is in use. [any] */
SA_MUST_USE int slab_lift(struct sa_slab *slab);
void slab_unlift(struct sa_slab *slab);

/* Count one lift more, or less again, of pages that stay lifted in any case. [any] */
void slab_lift_more(struct sa_slab *slab);
void slab_lift_less(struct sa_slab *slab);

/* Count for the set that buffers of an arena outlived usable content: open blocks shall not
 * end well. [any] */
void slab_overtaken(struct sa_slab *slab);

/* ---- a slab, for its pool, with the slab's lock held where that is said ---------------- */

void slab_lock(struct sa_slab *slab);
void slab_unlock(struct sa_slab *slab);

/* Lock it for a short wipe of one of its cells: the pages are writable until slab_unlock, as the gate
 * says so and changes under the lock alone. False, and not locked: they have to be lifted, or a cell
 * is so large that nobody shall wait for its wipe. [any] */
SA_MUST_USE bool slab_lock_writable(struct sa_slab *slab);

/* The cells of a slab, 0 while it has no pages, and who owns one, or NULL. Locked. [any] */
uint32_t slab_cells(const struct sa_slab *slab);
struct sa_arena *slab_owner(const struct sa_slab *slab, uint32_t index);

/* Free a cell that holds noise; the pages stay until slab_retain_or_unmap. Locked. [any] */
void slab_free_cell(struct sa_slab *slab, uint32_t index, size_t size);

/* Of a slab whose cells are all free: keep the pages for the next, or give them back. Locked.
 * [any] */
void slab_retain_or_unmap(struct sa_slab *slab);

/* Let the owners have more access, pages first. Returns 0 or an errno. Locked. [any] */
SA_MUST_USE int slab_open_gate(struct sa_slab *slab, enum os_access access);

/* Let the owners have less, the pages staying as they are until slab_lower: in between, every
 * use of the slab is looked at. Both locked. [any] */
void slab_close_gate(struct sa_slab *slab, enum os_access access);
void slab_lower(struct sa_slab *slab);

/* ---- a set, for its pool ------------------------------------------------------------------ */

/* Make a set without slabs, open for writing. It is known to the process, until it is freed with
 * its slabs, whose cells must be free, unless it is a parent's in a forked child. [any] */
SA_MUST_USE enum sa_code slab_set_make(struct slab_set **out, struct sa_why *why);
void slab_set_free(struct slab_set *set);

/* Take no more cells; and whether that was said. [any] */
void slab_set_close(struct slab_set *set);
bool slab_set_is_closed(struct slab_set *set);

/* The access that slabs are born with. [any] */
enum os_access slab_set_access(struct slab_set *set);
void slab_set_put_access(struct slab_set *set, enum os_access access);

/* How often slab_overtaken counted. [any] */
uint64_t slab_set_overtaken(struct slab_set *set);

/* The slab after this one, the first after NULL; NULL: that was the last. Slabs stay as long as
 * the set does; only their pages come and go. The second unlocks the one and locks the other.
 * [any] */
struct sa_slab *slab_walk(struct slab_set *set, struct sa_slab *after);
struct sa_slab *slab_walk_locked(struct slab_set *set, struct sa_slab *after);

/* Sums over slabs that have pages. */
struct slab_totals {
    size_t slots, mapped; /* of the vault, and bytes of their data */
    size_t arenas, bytes; /* cells in use, and the sizes of what lies there */
};

/* [any] */
struct slab_totals slab_set_totals(struct slab_set *set);

/* ---- all sets of this process -------------------------------------------------------------- */

struct slab_totals slabs_totals(void); /* [any] */

/* Whether [p, p + n) lies inside one cell in use of this slot. [any] */
bool slabs_hold(struct slot s, const void *p, size_t n);

/* Tell of all pages of slabs, as sa_census does: entries from number `n` on, while there is
 * room. Returns the number after the last. [any] */
size_t slabs_census(struct sa_live *out, size_t room, size_t n);

/* Each slab of each set, in turn and locked, as are the sets: the first after NULL, and after the
 * last NULL. The caller goes on to the end. [any] */
struct sa_slab *slabs_walk(struct sa_slab *after);

/* Its slot, while it has pages. Locked. [any] */
struct slot slab_slot(const struct sa_slab *slab);

/* Give back the pages of all slabs whose cells are all free. [any] */
void slabs_trim(void);

#endif
