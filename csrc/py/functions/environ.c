/* Functions that reach what secalloc/sources.py cannot: the C environment, and objects that
 * nobody else holds. */
#include "functions/functions.h"
#include "objects/errors.h"
#include "objects/make.h"

#include "base/wipe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The value of a variable in the C environment, as it lies there; NULL: not set. */
static char *value_of(PyObject *name)
{
    const char *text = PyBytes_AsString(name); /* an exception: not bytes */
    return text ? getenv(text) : NULL;
}

static PyObject *environ_copy(PyObject *module, PyObject *const *args, Py_ssize_t count,
                              PyObject *names)
{
    struct py_home home = py_own_pages;
    if (py_home_of_call(&home, "_environ_copy", 1, args, count, names) < 0)
        return NULL;
    PyObject *name = args[0];
    const char *value = value_of(name);
    if (!value) {
        if (PyErr_Occurred())
            return NULL;
        Py_RETURN_NONE;
    }
    struct py_state *state = py_state_of_module(module);
    PyObject *self = py_arena_begin(state, strlen(value), &home);
    if (!self)
        return NULL;
    value = value_of(name); /* a warning's own code may have changed it */
    size_t n = value ? strlen(value) : 0;
    struct sa_arena *core = py_core_of(self);
    return py_arena_end(state, self, n == core->size ? sa_store(core, 0, value, n) : SA_WIPED);
}

static PyObject *environ_wipe(PyObject *Py_UNUSED(module), PyObject *name)
{
    const char *text = PyBytes_AsString(name);
    if (!text)
        return NULL;
    sa_environ_wipe(text);
    Py_RETURN_NONE;
}

/* The memory of a bytes object, or of a str that is ASCII, whose UTF-8 is its own memory. NULL
 * where that is not to be had, or where the interpreter shares the object. */
static void *bytes_of(PyObject *object, size_t *n)
{
    Py_ssize_t size = 0;
    const char *at = NULL;
    if (PyBytes_CheckExact(object)) {
        size = PyBytes_Size(object);
        at = PyBytes_AsString(object);
    } else if (PyUnicode_CheckExact(object)) {
        size = PyUnicode_GetLength(object);
        for (Py_ssize_t i = 0; i < size; i++)
            if (PyUnicode_ReadChar(object, i) > 0x7F)
                return NULL;
        at = PyUnicode_AsUTF8AndSize(object, &size);
    }
    *n = (size_t)size;
    return size >= 2 ? (void *)(uintptr_t)at : NULL;
}

/* Remove mapping[key], and zero it where nobody else holds it; whether it was zeroed. With the
 * mapping's reference gone, ours is the only one then. (A count taken by Python code does not
 * tell: from 3.14 on a variable's reference may be lent.) Objects of a byte or none are the
 * interpreter's. */
static PyObject *scrub(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *mapping, *key;
    if (!PyArg_ParseTuple(args, "OO:_scrub", &mapping, &key))
        return NULL;
    PyObject *object = PyObject_GetItem(mapping, key);
    if (!object)
        return NULL;
    if (PyObject_DelItem(mapping, key) < 0) {
        Py_DECREF(object);
        return NULL;
    }
    size_t n = 0;
    void *at = Py_REFCNT(object) == 1 ? bytes_of(object, &n) : NULL;
    if (at)
        wipe_scratch(at, n);
    Py_DECREF(object);
    return PyBool_FromLong(at != NULL);
}

static PyObject *is_raised(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(none))
{
    return PyBool_FromLong(sa_is_raised());
}

PyMethodDef py_environ_functions[] = {
    {"_environ_copy", PY_FASTCALL(environ_copy), NULL},
    {"_environ_wipe", environ_wipe, METH_O, NULL},
    {"_is_raised", is_raised, METH_NOARGS, NULL},
    {"_scrub", scrub, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
