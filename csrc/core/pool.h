/* Cells of a pool, as the arena's files see them. */
#ifndef SECALLOC_POOL_H
#define SECALLOC_POOL_H

#include "slot.h"

/* A place that content can be moved to. */
struct cell {
    struct sa_slab *slab;
    uint32_t index;
    struct slot slot;
    size_t tail; /* from the last byte to the end of the slot's data */
};

/* First byte of an arena's cell, and how long the cell is. [any] */
uint8_t *pool_cell_at(struct sa_slab *slab, uint32_t index, size_t *bytes);

/* The access that the arenas of a slab have. [any] */
enum os_access pool_access(struct sa_slab *slab);

/* Make a slab's pages writable for our own code whatever that says, 0 or an errno; and
 * put it back, once for each time. Meanwhile a cell of it is in use. [any] */
SA_MUST_USE int pool_lift(struct sa_slab *slab);
void pool_unlift(struct sa_slab *slab);

/* Overwrite a cell with noise, sealed or not. [any] */
void pool_wipe_cell(struct sa_slab *slab, uint32_t index);

/* Another cell for the arena's bytes in the same pool, owned by it too; its slab is
 * lifted. [any] */
SA_MUST_USE enum sa_code pool_another_cell(struct sa_arena *a, struct cell *out,
                                           struct sa_why *why);

/* Another owner for a cell, while neither can be closed. [any] */
void pool_set_owner(struct sa_slab *slab, uint32_t index, struct sa_arena *owner);

/* An arena of the same size in the same pool, sealed or not, inside its first fill; its pages
 * are lifted until that ends. [any] */
SA_MUST_USE enum sa_code pool_twin(struct sa_arena *a, struct sa_arena *fresh,
                                   struct sa_why *why);

/* Buffers of one of its arenas outlived usable content: open blocks shall not end well. [any] */
void pool_overtaken(struct sa_slab *slab);

/* Free a cell that holds noise; pages that nobody uses any more go back. [any] */
void pool_give_back(struct sa_slab *slab, uint32_t index, size_t size);

/* The same for the pool, which closes an arena and has the slab locked. [any] */
void pool_cell_is_free(struct sa_slab *slab, uint32_t index, size_t size);

/* Whether [p, p + n) lies inside one live arena's cell of this pooled slot. [any] */
bool pool_holds(struct slot s, const void *p, size_t n);

/* Of all pools of this process: slots they hold, live arenas, their bytes. [any] */
void pool_totals(size_t *slots, size_t *arenas, size_t *bytes);

/* Tell of all pages that pools hold, as sa_census does: entries from number `n` on, as far as
 * there is room. Returns the number after the last. [any] */
size_t pool_census(struct sa_live *out, size_t room, size_t n);

/* Give back the pages of all pools in which no arena lives. [any] */
void pools_trim(void);

#endif
