/* The C environment, the terminal's echo, and bytes objects that only we still hold: what
 * secalloc/sources.py and _terminal.py cannot reach from Python. */
#include "glue.h"

#include "wipe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The value of a variable in the C environment, as it lies there; NULL: not set. */
static char *value_of(PyObject *name)
{
    const char *text = PyBytes_AsString(name); /* an exception: not bytes */
    return text ? getenv(text) : NULL;
}

PyObject *py_environ_copy(PyObject *module, PyObject *name)
{
    const char *value = value_of(name);
    if (!value) {
        if (PyErr_Occurred())
            return NULL;
        Py_RETURN_NONE;
    }
    struct py_state *state = py_state_of_module(module);
    PyObject *self = py_arena_begin(state, strlen(value), py_own_pages);
    if (!self)
        return NULL;
    value = value_of(name); /* a warning's own code may have changed it */
    size_t n = value ? strlen(value) : 0;
    struct sa_arena *core = py_core_of(self);
    return py_arena_end(state, self, n == core->size ? sa_store(core, 0, value, n) : SA_WIPED);
}

/* In place: the block that the kernel shows as /proc/self/environ is just that memory. */
PyObject *py_environ_wipe(PyObject *Py_UNUSED(module), PyObject *name)
{
    char *value = value_of(name);
    if (value)
        wipe_scratch(value, strlen(value));
    else if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

/* Remove mapping[key] and zero it, bytes, where nobody else holds it: with the mapping's
 * reference gone ours is the only one then. (One that is counted in Python code does not
 * tell: from 3.14 on a variable's may be lent instead.) Shorter ones are the interpreter's.
 * Whether it was zeroed. */
PyObject *py_scrub(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *mapping, *key;
    if (!PyArg_ParseTuple(args, "OO:_scrub", &mapping, &key))
        return NULL;
    PyObject *bytes = PyObject_GetItem(mapping, key);
    if (!bytes)
        return NULL;
    if (PyObject_DelItem(mapping, key) < 0) {
        Py_DECREF(bytes);
        return NULL;
    }
    bool ours = PyBytes_CheckExact(bytes) && PyBytes_Size(bytes) >= 2 && Py_REFCNT(bytes) == 1;
    if (ours)
        wipe_scratch(PyBytes_AsString(bytes), (size_t)PyBytes_Size(bytes));
    Py_DECREF(bytes);
    return PyBool_FromLong(ours);
}

PyObject *py_echo_off(PyObject *module, PyObject *fd)
{
    long number = PyLong_AsLong(fd);
    if (number == -1 && PyErr_Occurred())
        return NULL;
    struct sa_why why = {0};
    enum sa_code code = sa_echo_off((int)number, &why);
    if (code != SA_OK)
        return py_fail(py_state_of_module(module), code, &why);
    Py_RETURN_NONE;
}

PyObject *py_echo_back(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(none))
{
    sa_echo_back();
    Py_RETURN_NONE;
}
