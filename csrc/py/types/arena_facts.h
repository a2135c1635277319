/* What an Arena tells of itself. */
#ifndef SECALLOC_PY_ARENA_FACTS_H
#define SECALLOC_PY_ARENA_FACTS_H

#include "objects/objects.h"

extern PyGetSetDef py_arena_properties[];

/* Size, state, name and protections, never content. NULL with an exception. */
PyObject *py_arena_repr(PyObject *self);

#endif
