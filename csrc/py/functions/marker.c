/* Functions that choose where the marker goes. */
#include "functions/functions.h"
#include "objects/errors.h"

#include <errno.h>
#include <limits.h>

/* The descriptor that an argument is. -1 with an exception: an int that is too large or negative
 * is none. */
static int descriptor_of(PyObject *object)
{
    PyObject *number = NULL;
    if (PyBool_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "a descriptor is an int, not a bool");
        return -1;
    }
    if (PyLong_Check(object)) {
        number = Py_NewRef(object);
    } else {
        number = PyObject_CallMethod(object, "fileno", NULL);
        if (!number && PyErr_ExceptionMatches(PyExc_AttributeError))
            PyErr_Format(PyExc_TypeError,
                         "a descriptor is an int, an object with fileno(), or None, not %R",
                         (PyObject *)Py_TYPE(object));
        if (!number)
            return -1;
        if (!PyLong_Check(number) || PyBool_Check(number)) {
            Py_DECREF(number);
            PyErr_SetString(PyExc_TypeError, "fileno() returned something else than an int");
            return -1;
        }
    }
    int overflow = 0;
    long fd = PyLong_AsLongAndOverflow(number, &overflow);
    Py_DECREF(number);
    if (overflow || fd < 0 || fd > INT_MAX) {
        errno = EBADF;
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return (int)fd;
}

static PyObject *set_lockdown_fd(PyObject *module, PyObject *object)
{
    int fd = -1;
    if (!Py_IsNone(object) && (fd = descriptor_of(object)) < 0)
        return NULL;
    struct sa_why why = {0};
    int previous = -1;
    enum sa_code code = sa_set_lockdown_fd(fd, &previous, &why);
    if (code != SA_OK)
        return py_fail(py_state_of_module(module), code, &why);
    if (previous < 0)
        Py_RETURN_NONE;
    return PyLong_FromLong(previous);
}

static PyObject *take_lockdown_fd(PyObject *module, PyObject *object)
{
    int fd = descriptor_of(object);
    if (fd < 0)
        return NULL;
    struct sa_why why = {0};
    enum sa_code code = sa_take_lockdown_fd(fd, &why);
    if (code != SA_OK)
        return py_fail(py_state_of_module(module), code, &why);
    Py_RETURN_NONE;
}

static PyObject *leave_lockdown_fd(PyObject *Py_UNUSED(module), PyObject *object)
{
    int fd = descriptor_of(object);
    if (fd < 0)
        return NULL;
    sa_leave_lockdown_fd(fd);
    Py_RETURN_NONE;
}

PyMethodDef py_marker_functions[] = {
    {"set_lockdown_fd", set_lockdown_fd, METH_O,
     PyDoc_STR(
         "set_lockdown_fd(fd, /)\n--\n\n"
         "Choose where the marker goes: a descriptor, an object with fileno(), or None for\n"
         "nowhere. Returns the previous one.\n\n"
         "The marker is one byte: 'F' when a fatal signal has wiped all, 'L' from lockdown(). If\n"
         "several threads fault together, there may be more than one 'F'. SIGTERM, SIGHUP and\n"
         "signals that were armed besides the default ones write it only to a descriptor that\n"
         "was set. The default is 2, standard error as it was when the library was imported, or\n"
         "None if that was closed. On a terminal a newline follows.\n\n"
         "The descriptor stays the caller's. The file behind it is remembered: when the\n"
         "number is reused for another, nothing is written. OSError: not an open\n"
         "descriptor; the previous one stays.")},
    {"_take_lockdown_fd", take_lockdown_fd, METH_O,
     PyDoc_STR("As set_lockdown_fd, for what came over a channel: no forked child writes to it.")},
    {"_leave_lockdown_fd", leave_lockdown_fd, METH_O,
     PyDoc_STR("The default again, where the marker still goes to that descriptor.")},
    {NULL, NULL, 0, NULL},
};
