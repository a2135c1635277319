/* The listener of a channel: its lock, how many wait, and the event of each child. From a
 * child's marker to its event there is no interpreted step, and little else: a thread that wakes
 * up has cold caches, where each call costs about a microsecond. */
#include "types/listen.h"

#include "objects/objects.h"
#include "types/types.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

struct listener_data {
    _Atomic unsigned long holder; /* of the lock: the thread; 0: none */
    unsigned long depth;          /* how often it took it */
    /* With the lock held: */
    bool closed;
    long waiting;                 /* how many wait */
    long places;                  /* of descriptors, by their numbers: */
    PyObject **told;              /* NULL: not heard; the event of its next fatal marker, or
                                     None: that would be nothing new */
};

#ifndef PY_ABI3T
struct listener_object {
    PyObject_HEAD struct listener_data data;
};
#endif

static struct listener_data *listener_data(PyObject *o) { return PY_PAYLOAD(listener, o); }

/* ---- the lock ------------------------------------------------------------------- */

/* Its holder may take it again, as with threading.RLock: handlers of signals and finalizers
 * run while it is held. */
SA_HOT static bool take_lock(struct listener_data *listener, unsigned long me)
{
    unsigned long holder = 0;
    if (!atomic_compare_exchange_strong(&listener->holder, &holder, me) && holder != me)
        return false;
    listener->depth++;
    return true;
}

static void wait_for_lock(unsigned turn)
{
    Py_BEGIN_ALLOW_THREADS sa_pause(turn);
    Py_END_ALLOW_THREADS
}

SA_HOT static void give_lock(struct listener_data *listener)
{
    if (--listener->depth == 0)
        atomic_store(&listener->holder, 0);
}

/* Whether the calling thread holds the lock; else with an exception. */
static bool is_held(struct listener_data *listener)
{
    if (atomic_load(&listener->holder) == PyThread_get_thread_ident())
        return true;
    PyErr_SetString(PyExc_RuntimeError, "the lock is not held");
    return false;
}

/* Take the lock. False, with an exception, and without the lock: a signal's handler raised. */
static bool enter(struct listener_data *listener, unsigned long me)
{
    for (unsigned turn = 0; !take_lock(listener, me); turn++) {
        wait_for_lock(turn);
        if (PyErr_CheckSignals() < 0)
            return false;
    }
    return true;
}

static PyObject *listener_enter(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (!enter(listener_data(self), PyThread_get_thread_ident()))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *listener_attempt(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(take_lock(listener_data(self), PyThread_get_thread_ident()));
}

static PyObject *listener_leave(PyObject *self, PyObject *const *Py_UNUSED(args),
                                Py_ssize_t Py_UNUSED(count))
{
    if (!is_held(listener_data(self)))
        return NULL;
    give_lock(listener_data(self));
    Py_RETURN_NONE;
}

/* ---- what is to be told ----------------------------------------------------------- */

/* The descriptor's place, in which NULL means that it is not heard. NULL: it has no place. */
SA_HOT static PyObject **place_of(struct listener_data *listener, long fd)
{
    return fd >= 0 && fd < listener->places ? &listener->told[fd] : NULL;
}

static int make_room(struct listener_data *listener, long fd)
{
    if (fd < 0 || fd > INT_MAX / 2) {
        PyErr_SetString(PyExc_ValueError, "not a descriptor");
        return -1;
    }
    if (fd < listener->places)
        return 0;
    long places = fd < 32 ? 64 : 2 * fd;
    PyObject **told = PyMem_Realloc(listener->told, (size_t)places * sizeof *told);
    if (!told) {
        PyErr_NoMemory();
        return -1;
    }
    memset(told + listener->places, 0, (size_t)(places - listener->places) * sizeof *told);
    listener->told = told;
    listener->places = places;
    return 0;
}

static PyObject *listener_expect(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct listener_data *listener = listener_data(self);
    long fd = count == 2 ? PyLong_AsLong(args[0]) : -1;
    if (PyErr_Occurred() || !is_held(listener))
        return NULL;
    if (listener->closed)
        Py_RETURN_NONE;
    if (make_room(listener, fd) < 0)
        return NULL;
    PyObject *before = listener->told[fd];
    listener->told[fd] = Py_NewRef(args[1]);
    Py_XDECREF(before);
    Py_RETURN_NONE;
}

static PyObject *listener_forget(PyObject *self, PyObject *descriptor)
{
    struct listener_data *listener = listener_data(self);
    long fd = PyLong_AsLong(descriptor);
    if (PyErr_Occurred() || !is_held(listener))
        return NULL;
    PyObject **place = place_of(listener, fd), *before = place ? *place : NULL;
    if (place)
        *place = NULL;
    if (before)
        return before;
    Py_RETURN_NONE;
}

/* ---- waiting ------------------------------------------------------------------------ */

static PyObject *listener_count(PyObject *self, PyObject *by)
{
    struct listener_data *listener = listener_data(self);
    long more = PyLong_AsLong(by);
    if (PyErr_Occurred() || !is_held(listener))
        return NULL;
    listener->waiting += more;
    return PyLong_FromLong(listener->waiting);
}

/* The event that a readable descriptor stands for. The lock is held. */
SA_HOT static PyObject *hear(struct listener_data *listener, int fd, PyObject *channel)
{
    PyObject **place = place_of(listener, fd);
    char byte = 0;
    bool end = false;
    int error = place && *place ? sa_hear(fd, &byte, &end) : EAGAIN;
    if (error == EAGAIN) /* forgotten meanwhile, or another was faster */
        Py_RETURN_NONE;
    if (error) {
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    if (byte != 'F' || end)
        return PyObject_CallMethod(channel, "_said", "(iN)", fd,
                                   PyBytes_FromStringAndSize(&byte, !end));
    PyObject *event = *place; /* ours now; further markers say nothing new */
    *place = Py_NewRef(Py_None);
    return event;
}

/* Let a channel that was closed meanwhile do what it does when nobody waits any more. An
 * exception that is under way stays. */
static void leave_closed(PyObject *channel)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *left = PyObject_CallMethod(channel, "_left", NULL);
    if (!left)
        PyErr_WriteUnraisable(channel);
    Py_XDECREF(left);
    PyErr_Restore(type, value, traceback);
}

/* Nothing of Python runs between the count and the wait, or the count could be left too high. */
SA_HOT PyObject *py_listen_for(PyObject *self, PyObject *channel, int set, int ms)
{
    struct listener_data *listener = listener_data(self);
    unsigned long me = PyThread_get_thread_ident();
    if (!enter(listener, me))
        return NULL;
    bool closed = listener->closed, well = true;
    listener->waiting += !closed;
    give_lock(listener);
    if (closed)
        Py_RETURN_NONE;

    int fd, error;
    Py_BEGIN_ALLOW_THREADS error = sa_listen(set, ms, &fd);
    Py_END_ALLOW_THREADS if (error == EINTR) { well = PyErr_CheckSignals() == 0; }
    else if (error)
    {
        errno = error;
        PyErr_SetFromErrno(PyExc_OSError);
        well = false;
    }

    PyObject *event = NULL;
    for (unsigned turn = 0; !take_lock(listener, me); turn++) {
        wait_for_lock(turn);
        well = well && PyErr_CheckSignals() == 0;
    }
    if (well)
        event = fd < 0 ? Py_NewRef(Py_None) : hear(listener, fd, channel);
    listener->waiting--;
    closed = listener->closed;
    give_lock(listener);
    if (closed)
        leave_closed(channel);
    return event;
}

static PyObject *listener_listen(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "listen() takes three arguments");
        return NULL;
    }
    long set = PyLong_AsLong(args[0]), ms = PyLong_AsLong(args[1]);
    if (PyErr_Occurred())
        return NULL;
    return py_listen_for(self, args[2], (int)set, (int)ms);
}

static int listener_clear(PyObject *self)
{
    struct listener_data *listener = listener_data(self);
    PyObject **told = listener->told;
    long places = listener->places;
    listener->told = NULL;
    listener->places = 0;
    for (long i = 0; i < places; i++)
        Py_XDECREF(told[i]);
    PyMem_Free(told);
    return 0;
}

static PyObject *listener_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (!is_held(listener_data(self)))
        return NULL;
    listener_data(self)->closed = true;
    (void)listener_clear(self); /* it always returns 0 */
    Py_RETURN_NONE;
}

/* In a child no other thread exists. What one of them had in hand may be torn, and is left. */
static PyObject *listener_forked(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct listener_data *listener = listener_data(self);
    unsigned long holder = atomic_load(&listener->holder);
    listener->closed = true;
    if (holder && holder != PyThread_get_thread_ident()) {
        listener->told = NULL;
        listener->places = 0;
        listener->depth = 0;
        atomic_store(&listener->holder, 0);
    }
    (void)listener_clear(self);
    Py_RETURN_NONE;
}

static void listener_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)listener_clear(self); /* it always returns 0 */
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

bool py_is_listener(PyObject *object)
{
    if (PyType_GetSlot(Py_TYPE(object), Py_tp_dealloc) == (void *)listener_dealloc)
        return true;
    PyErr_SetString(PyExc_TypeError, "not a _Listener");
    return false;
}

/* ---- the listener's type ----------------------------------------------------------------- */

static int listener_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    for (long i = 0; i < listener_data(self)->places; i++)
        Py_VISIT(listener_data(self)->told[i]);
    return 0;
}

static PyMethodDef methods[] = {
    {"__enter__", listener_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))listener_leave, METH_FASTCALL, NULL},
    {"attempt", listener_attempt, METH_NOARGS,
     PyDoc_STR("attempt($self, /)\n--\n\n"
               "Take the lock, unless another thread has it; whether it was taken.")},
    {"close", listener_close, METH_NOARGS,
     PyDoc_STR("close($self, /)\n--\n\nWith the lock held: hear nothing more.")},
    {"count", listener_count, METH_O,
     PyDoc_STR("count($self, more, /)\n--\n\n"
               "With the lock held: so many more wait, elsewhere; returns how many in all.")},
    {"expect", (PyCFunction)(void (*)(void))listener_expect, METH_FASTCALL,
     PyDoc_STR("expect($self, fd, event, /)\n--\n\n"
               "With the lock held: hear a descriptor, and give that of its next fatal marker.")},
    {"forget", listener_forget, METH_O,
     PyDoc_STR("forget($self, fd, /)\n--\n\n"
               "With the lock held: hear it no more; returns what was to be given, or None.")},
    {"forked", listener_forked, METH_NOARGS,
     PyDoc_STR("forked($self, /)\n--\n\nIn a forked child: hear nothing more, though another "
               "thread held the lock.")},
    {"listen", (PyCFunction)(void (*)(void))listener_listen, METH_FASTCALL,
     PyDoc_STR("listen($self, epoll, ms, channel, /)\n--\n\n"
               "Wait, counted among those who do, and return what is to be given; None: nothing,\n"
               "or closed. Of another byte than a fatal marker, or of the end, b\"\",\n"
               "channel._said(fd, byte) tells. Who was closed meanwhile calls channel._left().")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("A channel's lock, and what it is to tell of its children.")},
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_dealloc, (void *)listener_dealloc},
    {Py_tp_traverse, (void *)listener_traverse},
    {Py_tp_clear, (void *)listener_clear},
    {Py_tp_methods, methods},
    {0, NULL},
};

PyType_Spec py_listener_spec = {
    .name = "secalloc._core._Listener",
    .basicsize = PY_BASICSIZE(listener),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};
