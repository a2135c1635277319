/* Arenas made of a size, of content, of random bytes, or of a buffer that is cleared. */
#ifndef SECALLOC_PY_MAKE_H
#define SECALLOC_PY_MAKE_H

#include "objects/objects.h"

/* Where a new arena is to lie. */
struct py_home {
    PyObject *pool; /* the Pool, borrowed; NULL: on pages of its own, */
    size_t align;   /* its start aligned to this */
    unsigned required; /* protections it must have, beyond sa_required() */
};

extern const struct py_home py_own_pages;

/* A new Arena inside its first fill: store to it, then py_arena_end, which ends the fill
 * and returns `self`, or drops it and raises `code`. */
PyObject *py_arena_begin(struct py_state *state, size_t size, struct py_home home);
PyObject *py_arena_end(struct py_state *state, PyObject *self, enum sa_code code);

/* A new Arena: of a size or bytes-like object, as Arena(source) takes it; of that many
 * random bytes; of a writable buffer's content, which is cleared. */
PyObject *py_arena_of(struct py_state *state, PyObject *source, struct py_home home);
PyObject *py_arena_of_random(struct py_state *state, PyObject *number, struct py_home home);
PyObject *py_arena_of_taken(struct py_state *state, PyObject *source, struct py_home home);

/* A new Arena of `count` arguments' bytes, one after the other. */
PyObject *py_arena_of_arguments(struct py_state *state, PyObject *const *args, size_t count);

/* The size that an argument is, called `what` in errors: no int or a bool (TypeError), negative
 * (ValueError), too large (OverflowError). -1 with an exception. Runs foreign code. */
int py_size_of(PyObject *number, const char *what, size_t *size);

#endif
