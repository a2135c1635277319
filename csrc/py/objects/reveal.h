/* What Arena and ArenaView give away on purpose: their content, and their name. */
#ifndef SECALLOC_PY_REVEAL_H
#define SECALLOC_PY_REVEAL_H

#include "objects/abi.h"

PyObject *py_reveal(PyObject *self, PyObject *args, PyObject *kwargs);
extern const char py_reveal_doc[];
#define PY_REVEALING_METHODS \
    { \
        "reveal", (PyCFunction)(void (*)(void))py_reveal, METH_VARARGS | METH_KEYWORDS, \
            py_reveal_doc \
    }

/* The property `name` of an Arena. */
PyObject *py_arena_name(PyObject *self, void *closure);
int py_arena_set_name(PyObject *self, PyObject *name, void *closure);

#endif
