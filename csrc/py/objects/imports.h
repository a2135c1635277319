/* What the package is asked to import, at the first arena at the latest. */
#ifndef SECALLOC_PY_IMPORTS_H
#define SECALLOC_PY_IMPORTS_H

#include "objects/state.h"
#include "secalloc.h"

/* The class, borrowed: the state keeps it. NULL with an exception: it is not imported yet,
 * and cannot be. May run foreign code. */
PyObject *py_answer(struct py_state *state, enum py_answer which);

/* Have the package import one of its modules, by its name within the package; NULL: all that waits
 * for the first arena. -1 with an exception. Runs foreign code. */
SA_MUST_USE int py_import_one(struct py_state *state, const char *name);

/* Call a function of a module of the package, which is imported first if need be, with `args`, a
 * tuple that is taken over, or NULL with an exception. NULL with an exception. Runs foreign code. */
PyObject *py_call_late(struct py_state *state, const char *module, const char *function,
                       PyObject *args);

/* Before an interpreter's first arena: import what it may need when files are out of
 * reach. -1 with an exception, such as KeyboardInterrupt; where modules cannot be had it
 * goes without. Runs foreign code, once. */
SA_MUST_USE int py_import_rest(struct py_state *state);

#endif
