/* Pages by which a secret comes in where the kernel cannot store into secretmem. They are
 * mapped when wanted first, locked, kept from core files and children, and stay. */
#ifndef SECALLOC_SCRATCH_H
#define SECALLOC_SCRATCH_H

#include <stdint.h>

/* Overwrite all of them. [signal] */
void scratch_wipe(void);

/* In a child: they are its parent's. */
void scratch_forked(void);

/* Have one to oneself; waits about a second where all are in use, each by a thread that
 * reads, perhaps from what never answers. -1: none came free. [any] */
int scratch_take(void);
void scratch_give(int which);

/* Its page, NULL: none yet, and the page that it is to have from now on. Taken. [any] */
uint8_t *scratch_page(int which);
void scratch_set_page(int which, uint8_t *page);

#endif
