/* Functions by which the package tells the extension what it needs of Python. */
#include "functions/functions.h"
#include "objects/errors.h"

/* Keep the object, unless one is kept already: that may be borrowed still. */
static void keep(_Atomic(PyObject *) *place, PyObject *object)
{
    PyObject *none = NULL;
    if (!atomic_compare_exchange_strong(place, &none, Py_NewRef(object)))
        Py_DECREF(object);
}

static PyObject *answer_with(PyObject *module, PyObject *args)
{
    struct py_state *state = py_state_of_module(module);
    if (PyTuple_Size(args) != PY_ANSWERS) {
        PyErr_SetString(PyExc_TypeError, "five classes are needed");
        return NULL;
    }
    for (int i = 0; i < PY_ANSWERS; i++)
        keep(&state->answers[i], PyTuple_GetItem(args, i));
    Py_RETURN_NONE;
}

static PyObject *import_with(PyObject *module, PyObject *function)
{
    keep(&py_state_of_module(module)->import, function);
    Py_RETURN_NONE;
}

/* Keep a text to be warned of at the first arena, beside one that is kept already. */
static PyObject *warn_later(PyObject *module, PyObject *text)
{
    struct py_state *state = py_state_of_module(module);
    if (!PyUnicode_Check(text)) {
        PyErr_SetString(PyExc_TypeError, "a str is needed");
        return NULL;
    }
    PyObject *kept = atomic_exchange(&state->late_warning, NULL);
    PyObject *both = kept ? PyUnicode_FromFormat("%U\n%U", kept, text) : Py_NewRef(text);
    Py_XDECREF(kept);
    if (!both)
        return NULL;
    Py_XDECREF(atomic_exchange(&state->late_warning, both));
    Py_RETURN_NONE;
}

static PyObject *warn_in_child(PyObject *module, PyObject *Py_UNUSED(none))
{
    if (py_warn_in_child(py_state_of_module(module)) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyMethodDef py_package_functions[] = {
    {"_answer_with", answer_with, METH_VARARGS, NULL},
    {"_import_with", import_with, METH_O, NULL},
    {"_warn_later", warn_later, METH_O,
     PyDoc_STR("Keep a text to be warned of, as a ProtectionWarning, at the first arena.")},
    {"_warn_in_child", warn_in_child, METH_NOARGS,
     PyDoc_STR("In a forked child: warn if its copy of sheltered objects could not be locked.")},
    {NULL, NULL, 0, NULL},
};
