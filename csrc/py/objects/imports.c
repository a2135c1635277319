/* Imports that `import secalloc` leaves for later: classes and modules of the package.
 *
 * A program may come to a place where nothing can be imported: after chroot, as another user, in
 * a child that was forked while another thread was importing. So all of it is imported at the
 * first arena at the latest. The package does it, under a lock that a fork waits for. An import
 * from here would take the interpreter's locks alone, which a child never gets where another
 * thread held them. */
#include "objects/imports.h"

/* Call what __init__.py gave, to import one module, or with NULL all of them. */
int py_import_one(struct py_state *state, const char *name)
{
    PyObject *import = atomic_load(&state->import);
    if (!import) /* the interpreter ends */
        return 0;
    Py_INCREF(import);
    PyObject *done = PyObject_CallFunction(import, "z", name);
    Py_DECREF(import);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

PyObject *py_answer(struct py_state *state, enum py_answer which)
{
    PyObject *answer = atomic_load(&state->answers[which]);
    if (answer)
        return answer;
    if (py_import_one(state, "_values") < 0)
        return NULL;
    if (!(answer = atomic_load(&state->answers[which])))
        PyErr_SetString(PyExc_RuntimeError, "secalloc is being unloaded, or not loaded yet");
    return answer;
}

int py_import_rest(struct py_state *state)
{
    if (atomic_load_explicit(&state->complete, memory_order_acquire))
        return 0;
    if (py_import_one(state, NULL) < 0)
        return -1;
    atomic_store(&state->complete, true);
    return 0;
}

PyObject *py_call_late(struct py_state *state, const char *module, const char *function,
                       PyObject *args)
{
    PyObject *name = args && py_import_one(state, module) == 0
                         ? PyUnicode_FromFormat("secalloc.%s", module)
                         : NULL;
    PyObject *imported = name ? PyImport_GetModule(name) : NULL;
    if (name && !imported && !PyErr_Occurred())
        PyErr_SetString(PyExc_RuntimeError, "secalloc is being unloaded, or not loaded yet");
    PyObject *called = imported ? PyObject_GetAttrString(imported, function) : NULL;
    PyObject *result = called ? PyObject_CallObject(called, args) : NULL;
    Py_XDECREF(called);
    Py_XDECREF(imported);
    Py_XDECREF(name);
    Py_XDECREF(args);
    return result;
}
