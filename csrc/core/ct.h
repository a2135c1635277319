/* Comparing in time that depends on the lengths alone. */
#ifndef SECALLOC_CT_H
#define SECALLOC_CT_H

#include <stdbool.h>
#include <stddef.h>

/* Whether the `an` bytes at `a` equal the `bn` bytes at `b`. [signal] */
bool ct_equal(const void *a, size_t an, const void *b, size_t bn);

/* Below 0, 0 or above 0 as `a` sorts before, with or after `b`, bytes unsigned,
 * a prefix first, as Python orders bytes. [signal] */
int ct_order(const void *a, size_t an, const void *b, size_t bn);

#endif
