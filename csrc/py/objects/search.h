/* What Arena and ArenaView find, strip and split, as bytes do, with views as results. */
#ifndef SECALLOC_PY_SEARCH_H
#define SECALLOC_PY_SEARCH_H

#include "objects/abi.h"

PyObject *py_strip(PyObject *self, PyObject *args);
PyObject *py_lstrip(PyObject *self, PyObject *args);
PyObject *py_rstrip(PyObject *self, PyObject *args);
PyObject *py_removeprefix(PyObject *self, PyObject *prefix);
PyObject *py_removesuffix(PyObject *self, PyObject *suffix);
PyObject *py_find(PyObject *self, PyObject *args);
PyObject *py_rfind(PyObject *self, PyObject *args);
PyObject *py_index(PyObject *self, PyObject *args);
PyObject *py_rindex(PyObject *self, PyObject *args);
PyObject *py_count(PyObject *self, PyObject *args);
PyObject *py_startswith(PyObject *self, PyObject *args);
PyObject *py_endswith(PyObject *self, PyObject *args);
PyObject *py_split(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *py_rsplit(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *py_partition(PyObject *self, PyObject *separator);
PyObject *py_rpartition(PyObject *self, PyObject *separator);

extern const char py_strip_doc[], py_lstrip_doc[], py_rstrip_doc[], py_removeprefix_doc[],
    py_removesuffix_doc[], py_find_doc[], py_rfind_doc[], py_index_doc[], py_rindex_doc[],
    py_count_doc[], py_startswith_doc[], py_endswith_doc[], py_split_doc[], py_rsplit_doc[],
    py_partition_doc[], py_rpartition_doc[];

#define PY_SEARCHING_METHODS \
    {"strip", py_strip, METH_VARARGS, py_strip_doc}, \
        {"lstrip", py_lstrip, METH_VARARGS, py_lstrip_doc}, \
        {"rstrip", py_rstrip, METH_VARARGS, py_rstrip_doc}, \
        {"removeprefix", py_removeprefix, METH_O, py_removeprefix_doc}, \
        {"removesuffix", py_removesuffix, METH_O, py_removesuffix_doc}, \
        {"find", py_find, METH_VARARGS, py_find_doc}, \
        {"rfind", py_rfind, METH_VARARGS, py_rfind_doc}, \
        {"index", py_index, METH_VARARGS, py_index_doc}, \
        {"rindex", py_rindex, METH_VARARGS, py_rindex_doc}, \
        {"count", py_count, METH_VARARGS, py_count_doc}, \
        {"startswith", py_startswith, METH_VARARGS, py_startswith_doc}, \
        {"endswith", py_endswith, METH_VARARGS, py_endswith_doc}, \
        {"split", (PyCFunction)(void (*)(void))py_split, METH_VARARGS | METH_KEYWORDS, \
         py_split_doc}, \
        {"rsplit", (PyCFunction)(void (*)(void))py_rsplit, METH_VARARGS | METH_KEYWORDS, \
         py_rsplit_doc}, \
        {"partition", py_partition, METH_O, py_partition_doc}, \
    { \
        "rpartition", py_rpartition, METH_O, py_rpartition_doc \
    }

#endif
