/* The type of a way out of the process, for secalloc/outlets.py: a descriptor from which others read
 * an arena's content. */
#include "objects/errors.h"
#include "objects/move.h"
#include "objects/span.h"
#include "types/types.h"

static PyObject *outlet_new(PyTypeObject *type, PyObject *args, PyObject *names)
{
    PyObject *source;
    int seekable;
    if (names && PyDict_Size(names) > 0) {
        PyErr_SetString(PyExc_TypeError, "_Outlet() takes no names");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "Op:_Outlet", &source, &seekable))
        return NULL;
    if (py_kind_of(source) == PY_OTHER) {
        PyErr_Format(PyExc_TypeError,
                     "an Arena or ArenaView is needed, not %R: take(buffer) or encode(text) makes "
                     "one",
                     (PyObject *)Py_TYPE(source));
        return NULL;
    }
    PyObject *self = PyType_GenericAlloc(type, 0);
    if (!self)
        return NULL;
    outlet_data(self)->source = Py_NewRef(source);
    outlet_data(self)->seekable = seekable;
    atomic_init(&outlet_data(self)->phase, OUTLET_NEW);
    return self;
}

/* Only one thread passes from one phase to the next, with a GIL or without. */
static bool advance(struct outlet_data *outlet, int from, int to)
{
    return atomic_compare_exchange_strong(&outlet->phase, &from, to);
}

static enum sa_code begin(struct outlet_data *outlet, const struct py_span *span, int *fd,
                          struct sa_why *why)
{
    struct sa_arena *core = py_core_of(span->arena);
    enum sa_code code;
    PY_LOCK(span->arena); /* so that it is of one piece */
    code = py_span_reachable(span);
    if (code == SA_OK)
        code = (outlet->seekable ? sa_file_open : sa_pipe_open)(&outlet->core, core, span->start,
                                                                span->size, fd, why);
    PY_UNLOCK();
    return code;
}

static PyObject *outlet_open(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct outlet_data *outlet = outlet_data(self);
    struct py_state *state = py_state_of(self);
    struct py_span span;
    if (!py_span_ours(outlet->source, &span))
        return NULL; /* it was when it came */
    if (!advance(outlet, OUTLET_NEW, OUTLET_BUSY)) {
        PyErr_SetString(PyExc_ValueError, "a block is entered once: make another");
        return NULL;
    }
    if (py_stand_by(py_core_of(span.arena)) < 0) {
        atomic_store(&outlet->phase, OUTLET_ENDED);
        return NULL;
    }
    int fd = -1;
    struct sa_why why = {0};
    enum sa_code code = begin(outlet, &span, &fd, &why);
    atomic_store(&outlet->phase, code == SA_OK ? OUTLET_OPEN : OUTLET_ENDED);
    if (code != SA_OK)
        return py_fail_of(span.arena, code, &why);
    if (py_warn_shortfall(state, NULL) < 0)
        return NULL; /* the caller drops it, which closes it */
    return PyLong_FromLong(fd);
}

/* Returns how many bytes nobody read; *code: as sa_outlet_close. */
static size_t end(struct outlet_data *outlet, enum sa_code *code)
{
    size_t unread;
    Py_BEGIN_ALLOW_THREADS *code = sa_outlet_close(&outlet->core, &unread);
    Py_END_ALLOW_THREADS return unread;
}

static PyObject *outlet_close(PyObject *self, PyObject *failed)
{
    struct outlet_data *outlet = outlet_data(self);
    int fails = PyObject_IsTrue(failed);
    if (fails < 0)
        return NULL;
    if (!advance(outlet, OUTLET_OPEN, OUTLET_BUSY))
        return PyLong_FromLong(0); /* it was not entered, or is over */
    enum sa_code code;
    size_t unread = end(outlet, &code);
    atomic_store(&outlet->phase, OUTLET_ENDED);
    /* In a child it is the parent's; an exception in flight is never replaced. */
    if (fails || code == SA_OK || code == SA_FORKED)
        return PyLong_FromSize_t(unread);
    PyErr_SetString(py_state_of(self)->wiped_error,
                    "the content was wiped while it was being given out: who read it may have had "
                    "a part of it, or noise");
    return NULL;
}

static void outlet_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    struct outlet_data *outlet = outlet_data(self);
    enum sa_code unused;
    if (atomic_load(&outlet->phase) == OUTLET_OPEN)
        (void)end(outlet, &unused); /* entered and never left: nobody is there to be told */
    Py_XDECREF(outlet->source);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyObject *outlets_forked(PyObject *Py_UNUSED(type), PyObject *Py_UNUSED(ignored))
{
    sa_outlets_forked();
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"open", outlet_open, METH_NOARGS,
     PyDoc_STR("open($self, /)\n--\n\nThe descriptor to read from, close-on-exec.")},
    {"close", outlet_close, METH_O,
     PyDoc_STR("close($self, failed, /)\n--\n\n"
               "End it; how many bytes of a pipe nobody had read. WipedError: a wipe overtook it,\n"
               "unless `failed`, as an exception is in flight.")},
    {"forked", outlets_forked, METH_NOARGS | METH_STATIC,
     PyDoc_STR("forked()\n--\n\nIn a forked child: close the descriptors of all of them.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("A descriptor from which others read an arena's content.")},
    {Py_tp_new, (void *)outlet_new},
    {Py_tp_dealloc, (void *)outlet_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

PyType_Spec py_outlet_spec = {
    .name = "secalloc._core._Outlet",
    .basicsize = PY_BASICSIZE(outlet),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};
