/* References to a Pool. Without a GIL it keeps a few of them for the next arenas. */
#ifndef SECALLOC_PY_POOL_REFS_H
#define SECALLOC_PY_POOL_REFS_H

#include "objects/objects.h"

/* A reference to the pool for an arena that lies in it, and its end. */
PyObject *py_pool_hold(PyObject *pool);
void py_pool_release(PyObject *pool);

/* Give up what lies idle; the caller has a reference of its own. Always 0. */
int py_pool_drop_idle(PyObject *pool);

/* Visit what lies idle, for the cyclic collector. */
int py_pool_visit_idle(PyObject *pool, visitproc visit, void *arg);

#endif
