/* Waiting for exported buffers and open blocks, by what these forbid. */
#ifndef SECALLOC_PY_MOVE_H
#define SECALLOC_PY_MOVE_H

#include "objects/objects.h"

/* A timeout in seconds. -1 with an exception. */
int py_milliseconds_of(PyObject *seconds, double *ms);

/* What an argument `encrypt` asks for: None, True or False. -1 with an exception. */
int py_encryption_of(PyObject *encrypt, enum sa_encryption *how);

/* Try, and while exports or blocks forbid it wait for them up to `ms`. -1 with an exception:
 * a signal's handler raised it. Lets the GIL go, and runs foreign code, only with ms > 0. */
struct py_move {
    enum { MOVE_ROTATE, MOVE_SEAL, MOVE_FILL, MOVE_REPLACE } what;
    struct sa_arena *arena, *fresh;
    enum sa_encryption how; /* to seal it */
};
int py_move(const struct py_move *move, double ms, enum sa_code *code, struct sa_why *why);

/* The same for a method of the arena `self`: `timeout` in seconds, NULL: none; what came of it
 * is raised too. -1 with an exception. */
int py_arena_move(PyObject *self, const struct py_move *move, PyObject *timeout);

/* rotate(timeout) of method and function alike. */
PyObject *py_arena_rotate(PyObject *self, PyObject *timeout);

/* Before an export or a block begins: let those who wait go first. -1 with an exception.
 * Lets the GIL go where somebody waits, and runs foreign code then. */
int py_stand_by(struct sa_arena *core);

#endif
