/* The heap's classes of cells: by sixteens up to FINE, as most objects are small, then by eighths up
 * to LARGEST. What is larger has a span to itself. */
#ifndef SECALLOC_CLASSES_H
#define SECALLOC_CLASSES_H

#include <stddef.h>
#include <stdint.h>

enum { STEP = 16, FINE = 512, LARGEST = 2048, KINDS = 40 };

/* The class of so many bytes, LARGEST at most. [any] */
static inline unsigned class_of(size_t bytes)
{
    if (bytes <= FINE)
        return (unsigned)((bytes + (bytes == 0) - 1) / STEP);
    if (bytes <= 1024)
        return FINE / STEP + (unsigned)((bytes - FINE - 1) / 128);
    return FINE / STEP + 4 + (unsigned)((bytes - 1024 - 1) / 256);
}

/* The bytes of its cells. [any] */
static inline uint32_t cell_of(unsigned class)
{
    if (class < FINE / STEP)
        return (class + 1) * STEP;
    class -= FINE / STEP;
    return class < 4 ? FINE + 128 * (class + 1) : 1024 + 256 * (class - 4 + 1);
}

#endif
