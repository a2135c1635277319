/* Functions that hand a secret from one process to another, for secalloc/_channel. */
#include "functions/functions.h"
#include "objects/errors.h"
#include "objects/make.h"

static PyObject *hand_over(PyObject *module, PyObject *args)
{
    PyObject *arena;
    int sock;
    unsigned int timeout_ms;
    if (!PyArg_ParseTuple(args, "OiI:_hand_over", &arena, &sock, &timeout_ms))
        return NULL;
    if (!py_is_arena(arena)) {
        PyErr_SetString(PyExc_TypeError, "an Arena is needed");
        return NULL;
    }
    struct sa_why why = {0};
    enum sa_code code;
    Py_BEGIN_ALLOW_THREADS code = sa_hand_over(py_core_of(arena), sock, timeout_ms, &why);
    Py_END_ALLOW_THREADS if (code != SA_OK) return py_fail(py_state_of_module(module), code, &why);
    Py_RETURN_NONE;
}

static PyObject *take_over(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "", "", "require", "name", NULL};
    struct py_state *state = py_state_of_module(module);
    struct py_home home = py_own_pages;
    PyObject *require = NULL, *name = NULL;
    Py_ssize_t size;
    int sock;
    unsigned int timeout_ms;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "niI|$OO:_take_over", names, &size, &sock,
                                     &timeout_ms, &require, &name) ||
        py_home_set(&home, require, name) < 0)
        return NULL;
    PyObject *self = PyType_GenericAlloc(state->arena_type, 0); /* zeroed: a closed arena */
    if (!self)
        return NULL;
    struct sa_why why = {0};
    bool shared;
    enum sa_code code;
    Py_BEGIN_ALLOW_THREADS code = sa_take_over_with(py_core_of(self), (size_t)size, home.required,
                                                    sock, timeout_ms, &shared, &why);
    Py_END_ALLOW_THREADS if (code == SA_OK) return py_arena_named(state, self, &home);
    Py_DECREF(self);
    return py_fail_named(state, code, &why, home.name);
}

PyMethodDef py_handover_functions[] = {
    {"_hand_over", hand_over, METH_VARARGS,
     PyDoc_STR("_hand_over(arena, socket, timeout, /)\n--\n\n"
               "Give a copy to who calls _take_over at the other end; milliseconds.")},
    {"_take_over", (PyCFunction)(void (*)(void))take_over, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("_take_over(size, socket, timeout, /, *, require=None, name=None)\n--\n\n"
               "A new Arena of what the other end hands over; milliseconds.")},
    {NULL, NULL, 0, NULL},
};
