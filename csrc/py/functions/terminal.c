/* Functions that turn a terminal's echo off and on, for getpass() of the package. */
#include "functions/functions.h"
#include "objects/errors.h"

#include <errno.h>

static PyObject *echo_off(PyObject *module, PyObject *fd)
{
    long number = PyLong_AsLong(fd);
    if (number == -1 && PyErr_Occurred())
        return NULL;
    struct sa_why why = {0};
    enum sa_code code;
    do {
        Py_BEGIN_ALLOW_THREADS /* output may have to be sent first */
            code = sa_echo_off((int)number, &why);
        Py_END_ALLOW_THREADS if (code == SA_OS_ERROR && why.error == EINTR &&
                                 PyErr_CheckSignals()) return NULL;
    } while (code == SA_OS_ERROR && why.error == EINTR);
    if (code != SA_OK)
        return py_fail(py_state_of_module(module), code, &why);
    Py_RETURN_NONE;
}

static PyObject *echo_back(PyObject *Py_UNUSED(module), PyObject *fd)
{
    long number = PyLong_AsLong(fd);
    if (number == -1 && PyErr_Occurred())
        return NULL;
    Py_BEGIN_ALLOW_THREADS sa_echo_back((int)number);
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}

/* How often the process was continued, then c_iflag, c_lflag and c_cc of before. */
static PyObject *echo_before(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(none))
{
    struct sa_terminal old;
    sa_echo_before(&old);
    return Py_BuildValue("IkkN", old.continued, old.input, old.local,
                         PyBytes_FromStringAndSize((const char *)old.keys, sizeof old.keys));
}

PyMethodDef py_terminal_functions[] = {
    {"_echo_off", echo_off, METH_O, NULL},
    {"_echo_back", echo_back, METH_O, NULL},
    {"_echo_before", echo_before, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
