/* Slots that Arena and ArenaView have alike: comparison, +, and what a secret refuses. */
#ifndef SECALLOC_PY_OPERATORS_H
#define SECALLOC_PY_OPERATORS_H

#include "objects/span.h"

PyObject *py_richcompare(PyObject *self, PyObject *other, int op);
PyObject *py_add(PyObject *left, PyObject *right);

/* Below, equal or above 0 in *order; for equality only whether it is 0. Takes the locks. */
SA_MUST_USE enum sa_code py_compare(struct py_span *a, struct py_span *b, bool equality,
                                    int *order);

PyObject *py_refuse_text(PyObject *self);
PyObject *py_refuse_number(PyObject *self);
int py_refuse_contains(PyObject *self, PyObject *item);
#define PY_REFUSED_METHODS \
    {"__format__", py_refuse_format, METH_O, NULL}, \
        {"__copy__", py_refuse_copy, METH_NOARGS, NULL}, \
        {"__deepcopy__", py_refuse_copy, METH_O, NULL}, \
        {"__reduce__", py_refuse_pickle, METH_NOARGS, NULL}, \
    { \
        "__reduce_ex__", py_refuse_pickle, METH_O, NULL \
    }
PyObject *py_refuse_format(PyObject *self, PyObject *spec);
PyObject *py_refuse_copy(PyObject *self, PyObject *memo);
PyObject *py_refuse_pickle(PyObject *self, PyObject *protocol);

#endif
