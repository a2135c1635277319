/* Arenas made of a size, of content, of random bytes, or of a buffer that is cleared. */
#ifndef SECALLOC_PY_MAKE_H
#define SECALLOC_PY_MAKE_H

#include "objects/objects.h"

/* Where a new arena is to lie, and what it is to be called. */
struct py_home {
    PyObject *pool; /* the Pool, borrowed; NULL: on pages of its own, */
    size_t align;   /* its start aligned to this */
    unsigned required; /* protections it must have, beyond sa_required() */
    char name[SA_NAME_ROOM]; /* empty: none */
};

extern const struct py_home py_own_pages;

/* Read the arguments `require` and `name`, which every call that makes an arena takes; NULL and
 * None are none. -1 with an exception. */
int py_home_set(struct py_home *home, PyObject *require, PyObject *name);

/* The same for what a METH_FASTCALL | METH_KEYWORDS function was given beside `count` arguments.
 * It takes `takes` of them, any number with -1. `call` is its name. */
int py_home_of_keywords(struct py_home *home, const char *call, Py_ssize_t takes,
                        PyObject *const *args, Py_ssize_t count, PyObject *keywords);
static inline int py_home_of_call(struct py_home *home, const char *call, Py_ssize_t takes,
                                  PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    if (count == takes && !keywords) /* as nearly all are */
        return 0;
    return py_home_of_keywords(home, call, takes, args, count, keywords);
}

/* A name as messages and maps show it: NULL and None are none, which is empty. -1 with an
 * exception: another type (TypeError), or a name too long or not printable (ValueError). */
int py_name_of(PyObject *name, char out[SA_NAME_ROOM]);

/* A new Arena inside its first fill, with its name: store to it, then py_arena_end, which ends the fill
 * and returns `self`, or drops it and raises `code`. */
PyObject *py_arena_begin(struct py_state *state, size_t size, const struct py_home *home);
PyObject *py_arena_end(struct py_state *state, PyObject *self, enum sa_code code);

/* Give an arena that was just made its name, and warn of what it lacks. Returns it, or drops it:
 * NULL with an exception. Runs foreign code. */
PyObject *py_arena_named(struct py_state *state, PyObject *self, const struct py_home *home);

/* Another name, or none where it is empty. -1 with an exception. */
int py_arena_rename(struct py_state *state, PyObject *self, const char *name);

/* A new Arena: of a size or bytes-like object, as Arena(source) takes it; of that many
 * random bytes; of a writable buffer's content, which is cleared. */
PyObject *py_arena_of(struct py_state *state, PyObject *source, const struct py_home *home);
PyObject *py_arena_of_random(struct py_state *state, PyObject *number, const struct py_home *home);
PyObject *py_arena_of_taken(struct py_state *state, PyObject *source, const struct py_home *home);

/* A new Arena of `count` arguments' bytes, one after the other. */
PyObject *py_arena_of_arguments(struct py_state *state, PyObject *const *args, size_t count,
                                const struct py_home *home);

/* The size that an argument is, called `what` in errors: no int or a bool (TypeError), negative
 * (ValueError), too large (OverflowError). -1 with an exception. Runs foreign code. */
int py_size_of(PyObject *number, const char *what, size_t *size);

#endif
