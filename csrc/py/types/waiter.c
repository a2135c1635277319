/* The wait() of a channel, which takes no interpreted step from a marker to its event. */
#include "secalloc.h"
#include "types/listen.h"
#include "types/types.h"

/* Borrowed. NULL, with an exception: other arguments than one timeout. */
static PyObject *timeout_of(PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    Py_ssize_t named = names ? PyTuple_Size(names) : 0;
    if (count + named == 0)
        return Py_None;
    bool well = count + named == 1;
    if (well && named)
        well = PyUnicode_CompareWithASCIIString(PyTuple_GetItem(names, 0), "timeout") == 0;
    if (well)
        return args[0];
    PyErr_SetString(PyExc_TypeError, "wait() takes one argument, timeout");
    return NULL;
}

/* All that can be done before the wait is done before it, or after a wait that heard nothing. */
SA_HOT static PyObject *waiter_wait(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                    PyObject *names)
{
    PyObject *timeout = timeout_of(args, count, names);
    PyObject *prepared = timeout ? PyObject_CallMethod(self, "_prepare", "(O)", timeout) : NULL;
    PyObject *listener, *end;
    int set, ms;
    if (!prepared || !PyArg_ParseTuple(prepared, "OiiO", &listener, &set, &ms, &end) ||
        !py_is_listener(listener)) {
        Py_XDECREF(prepared);
        return NULL;
    }
    Py_INCREF(listener);
    Py_INCREF(end);
    Py_DECREF(prepared);
    PyObject *event = py_listen_for(listener, self, set, ms);
    if (event && Py_IsNone(event)) {
        Py_DECREF(event);
        event = PyObject_CallMethod(self, "_go_on", "(O)", end);
    }
    Py_DECREF(listener);
    Py_DECREF(end);
    return event;
}

static PyMethodDef methods[] = {
    {"wait", (PyCFunction)(void (*)(void))waiter_wait, METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("wait($self, /, timeout=None)\n--\n\n"
               "The next event; None when `timeout` seconds have passed. None waits for ever.\n\n"
               "Closes the parent's copies of ends that this thread made: their children are\n"
               "started. ValueError: closed, also meanwhile.")},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS,
     PyDoc_STR("For types: what the events are.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("What a LockdownChannel has from the extension.")},
    {Py_tp_methods, methods},
    {0, NULL},
};

PyType_Spec py_waiter_spec = {
    .name = "secalloc._core._Waiter",
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = slots,
};
