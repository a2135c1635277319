/* Pages by which a secret comes in where the kernel cannot store into secretmem. They are
 * mapped when wanted first, locked, kept from core files and children, and stay. */
#ifndef SECALLOC_SCRATCH_H
#define SECALLOC_SCRATCH_H

/* Overwrite all of them. [signal] */
void scratch_wipe(void);

/* In a child: they are its parent's. */
void scratch_forked(void);

#endif
