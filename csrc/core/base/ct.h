/* Comparing in time that depends on the lengths alone. */
#ifndef SECALLOC_CT_H
#define SECALLOC_CT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Hides a value from the compiler, so that it cannot turn arithmetic on it into a
 * branch or stop a loop early. [signal] */
static inline uint64_t ct_opaque(uint64_t v)
{
    __asm__ __volatile__("" : "+r"(v));
    return v;
}

/* What may be known: marks the places where a result that depends on content is acted
 * on. The check that nothing else is (check-ct) tells valgrind so. [signal] */
#ifdef SECALLOC_CHECK_CT
uint64_t ct_public(uint64_t v);
#else
static inline uint64_t ct_public(uint64_t v) { return v; }
#endif

/* Whether the `an` bytes at `a` equal the `bn` bytes at `b`. [signal] */
bool ct_equal(const void *a, size_t an, const void *b, size_t bn);

/* Below 0, 0 or above 0 as `a` sorts before, with or after `b`, bytes unsigned,
 * a prefix first, as Python orders bytes. [signal] */
int ct_order(const void *a, size_t an, const void *b, size_t bn);

#endif
