/* The types that the module has. */
#ifndef SECALLOC_PY_TYPES_H
#define SECALLOC_PY_TYPES_H

#include "objects/state.h"

extern PyType_Spec py_arena_spec;
extern PyType_Spec py_view_spec;
extern PyType_Spec py_block_spec;
extern PyType_Spec py_pool_spec;
extern PyType_Spec py_listener_spec;
extern PyType_Spec py_waiter_spec;
extern PyType_Spec py_outlet_spec;

/* One open(mode) of an Arena or a Pool, not entered yet. NULL with an exception. */
PyObject *py_block_new(struct py_state *state, PyObject *target, bool of_arena, PyObject *mode,
                       double timeout_ms);

#endif
