/* The way from a child's marker to its event, without an interpreted step: whoever waits
 * wakes with cold caches, where each of those costs about a microsecond. */
#include "glue.h"

#include <errno.h>

enum { SET, MS, ACQUIRE, RELEASE, WAITERS, FALLS, MEMBERS, SAID, ARGUMENTS };

/* What was prepared for a child's fall, unless the caller kept an object that the event
 * must name; taken off, as further markers say nothing new. NULL without an exception:
 * nothing. */
static PyObject *fall_of(PyObject *falls, PyObject *key)
{
    PyObject *fall = PyDict_GetItemWithError(falls, key); /* borrowed, and ours to take off */
    PyObject *event = fall ? PyTuple_GetItem(fall, 0) : NULL;
    PyObject *handle = event ? PyTuple_GetItem(fall, 1) : NULL;
    PyObject *kept = handle ? PyObject_CallNoArgs(handle) : NULL;
    bool nobody = kept && Py_IsNone(kept);
    Py_XDECREF(kept);
    if (!nobody)
        return NULL;
    Py_INCREF(event);
    if (PyDict_DelItem(falls, key) < 0)
        Py_CLEAR(event);
    return event;
}

/* With the channel's lock held: what a readable descriptor has to say. */
static PyObject *hear(PyObject *const *args, int fd)
{
    PyObject *key = PyLong_FromLong(fd), *event = NULL;
    int member = key ? PyDict_Contains(args[MEMBERS], key) : -1;
    char byte = 0;
    bool end = false;
    int error = member > 0 ? sa_hear(fd, &byte, &end) : 0;
    if (member == 0 || error == EAGAIN) { /* dropped meanwhile, or another was faster */
        event = Py_NewRef(Py_None);
    } else if (error) {
        errno = error;
        PyErr_SetFromErrno(PyExc_OSError);
    } else if (member > 0) {
        if (byte == 'F' && !end)
            event = fall_of(args[FALLS], key);
        if (!event && !PyErr_Occurred())
            event = PyObject_CallFunction(args[SAID], "Oy#", key, &byte, (Py_ssize_t)!end);
    }
    Py_XDECREF(key);
    return event;
}

/* Call, whatever exception is under way. */
static void call_through(PyObject *function)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *result = PyObject_CallNoArgs(function);
    if (!result)
        PyErr_WriteUnraisable(function);
    Py_XDECREF(result);
    PyErr_Restore(type, value, traceback);
}

/* _listen(set, ms, acquire, release, waiters, falls, members, said): wait, and say what
 * came with the lock held; None: nothing. Whatever comes, one of `waiters` is taken off. */
PyObject *py_listen(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != ARGUMENTS || !PyList_Check(args[WAITERS]) || !PyDict_Check(args[FALLS]) ||
        !PyDict_Check(args[MEMBERS])) {
        PyErr_SetString(PyExc_TypeError, "_listen() is for LockdownChannel alone");
        return NULL;
    }
    long set = PyLong_AsLong(args[SET]), ms = PyLong_AsLong(args[MS]);
    int fd = -1, error = 0;
    if (!PyErr_Occurred()) {
        Py_BEGIN_ALLOW_THREADS
        error = sa_listen((int)set, (int)ms, &fd);
        Py_END_ALLOW_THREADS
    }
    if (error && error != EINTR) {
        errno = error;
        PyErr_SetFromErrno(PyExc_OSError);
    }
    if (error == EINTR)
        (void)PyErr_CheckSignals(); /* an exception is seen below */
    PyObject *event = NULL;
    bool well = !PyErr_Occurred();
    PyObject *locked = well ? PyObject_CallNoArgs(args[ACQUIRE]) : NULL;
    if (locked)
        event = fd < 0 ? Py_NewRef(Py_None) : hear(args, fd);
    Py_ssize_t waiting = PyList_Size(args[WAITERS]);
    if (waiting > 0 && PyList_SetSlice(args[WAITERS], waiting - 1, waiting, NULL) < 0)
        Py_CLEAR(event);
    if (locked)
        call_through(args[RELEASE]);
    Py_XDECREF(locked);
    return event;
}
