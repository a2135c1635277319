/* What secalloc/doctor.py, map.py and run.py ask of the process, and harden(). */
#include "glue.h"

PyObject *py_dumpable(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(none))
{
    int dumpable = sa_dumpable();
    if (dumpable < 0)
        Py_RETURN_NONE;
    return PyBool_FromLong(dumpable);
}

/* A tuple of what was refused; NULL with an exception. */
static PyObject *refusals(const struct sa_hardening *done)
{
    PyObject *texts = PyTuple_New((Py_ssize_t)done->refusals);
    for (unsigned i = 0; texts && i < done->refusals; i++) {
        PyObject *text = py_reason(&done->refused[i], NULL);
        if (!text || PyTuple_SetItem(texts, (Py_ssize_t)i, text) < 0)
            Py_CLEAR(texts);
    }
    return texts;
}

PyObject *py_harden(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(none))
{
    PyObject *values = PyImport_ImportModule("secalloc._values");
    if (!values) /* first: nothing was changed */
        return NULL;
    struct sa_hardening done;
    sa_harden(&done);
    PyObject *texts = refusals(&done);
    PyObject *result = NULL;
    if (texts)
        result = PyObject_CallMethod(values, "Hardening", "OOOO",
                                     done.no_core_files ? Py_True : Py_False,
                                     done.not_dumpable ? Py_True : Py_False,
                                     done.no_debugger ? Py_True : Py_False, texts);
    Py_XDECREF(texts);
    Py_DECREF(values);
    return result;
}
