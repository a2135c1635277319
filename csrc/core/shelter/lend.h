/* The heap of sheltered calls for C code's blocks, too. */
#ifndef SECALLOC_SHELTER_LEND_H
#define SECALLOC_SHELTER_LEND_H

/* Hand the heap to the library that `run` loads, once, if the process was started so. With the
 * hooks in place. [any] */
void lend_heap(void);

#endif
