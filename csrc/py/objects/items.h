/* Slots that Arena and ArenaView have alike: length, items, slices, the buffer protocol. */
#ifndef SECALLOC_PY_ITEMS_H
#define SECALLOC_PY_ITEMS_H

#include "objects/abi.h"

Py_ssize_t py_arena_length(PyObject *self);
Py_ssize_t py_view_length(PyObject *self);
PyObject *py_subscript(PyObject *self, PyObject *key);
int py_ass_subscript(PyObject *self, PyObject *key, PyObject *value);
int py_arena_getbuffer(PyObject *self, Py_buffer *buffer, int flags);
int py_view_getbuffer(PyObject *self, Py_buffer *buffer, int flags);
void py_arena_releasebuffer(PyObject *self, Py_buffer *buffer);
void py_view_releasebuffer(PyObject *self, Py_buffer *buffer);

#endif
