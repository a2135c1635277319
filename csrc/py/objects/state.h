/* The module's state, one for each interpreter. */
#ifndef SECALLOC_PY_STATE_H
#define SECALLOC_PY_STATE_H

#include "objects/abi.h"

#include <stdatomic.h>
#include <stdbool.h>

/* What answers are made of: classes of secalloc/_values.py, and signal.Signals. */
enum py_answer { PY_PROTECTION, PY_STATUS, PY_HARDENING, PY_SIGNALS, PY_SHELTERED, PY_ANSWERS };

struct py_state {
    PyTypeObject *arena_type;
    PyTypeObject *view_type;
    PyTypeObject *block_type;
    PyTypeObject *pool_type;
    PyTypeObject *listener_type;
    PyTypeObject *waiter_type;
    PyTypeObject *outlet_type;
    PyObject *error;
    PyObject *wiped_error;
    PyObject *sealed_error;
    PyObject *closed_error;
    PyObject *forked_error;
    PyObject *protection_error;
    PyObject *protection_warning;
    PyObject *read_mode; /* "r", which is one object wherever it is written */
    _Atomic(PyObject *) late_warning; /* strong; a str to be given at the first arena, or NULL */
    _Atomic(PyObject *) answers[PY_ANSWERS]; /* strong; NULL until _values is imported */
    _Atomic(PyObject *) import;              /* strong; see imports.c */
    _Atomic bool complete;                   /* the rest of the package is imported */
};

static inline struct py_state *py_state_of_module(PyObject *module)
{
    return PyModule_GetState(module);
}

/* Of an object of ours: the types are final, so the type is the one that the
 * module made. */
static inline struct py_state *py_state_of(PyObject *ours)
{
    return PyType_GetModuleState(Py_TYPE(ours));
}

#endif
