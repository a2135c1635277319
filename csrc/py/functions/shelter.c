/* shelter(): a call whose memory comes from the vault. */
#include "functions/functions.h"
#include "objects/errors.h"
#include "objects/imports.h"

#include <signal.h>

#if !defined(Py_GIL_DISABLED) && !defined(PY_ABI3T)

static PyObject *unavailable(void)
{
    PyErr_SetString(PyExc_NotImplementedError,
                    "sheltered calls need Python's allocators, which this build does not let be "
                    "reached; use python -m secalloc run, or a worker process and "
                    "secalloc.LockdownChannel");
    return NULL;
}

/* A frame that is suspended would go on later without the shelter: it is closed. */
static bool is_suspended(PyObject *object)
{
    static const char *const kinds[] = {"generator", "coroutine", "async_generator"};
    static const char *const tells[] = {"gi_running", "cr_running", "ag_running"};
    PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(object), "__name__");
    bool is = false;
    for (size_t i = 0; name && i < sizeof kinds / sizeof kinds[0]; i++)
        is = is || (PyUnicode_CompareWithASCIIString(name, kinds[i]) == 0 &&
                    PyObject_HasAttrString(object, tells[i])); /* Cython's, too */
    if (!name)
        PyErr_Clear();
    Py_XDECREF(name);
    return is;
}

static PyObject *refuse_suspended(PyObject *result)
{
    PyObject *closed = PyObject_CallMethod(result, "close", NULL);
    if (!closed)
        PyErr_Clear(); /* an async generator was never begun: dropping it is all */
    else if (PyObject_HasAttrString(closed, "close"))
        Py_XDECREF(PyObject_CallMethod(closed, "close", NULL));
    PyErr_Clear();
    Py_XDECREF(closed);
    PyErr_Format(PyExc_TypeError,
                 "a sheltered call ends when it returns: %R would go on outside of it; shelter "
                 "what consumes it instead",
                 (PyObject *)Py_TYPE(result));
    Py_DECREF(result);
    return NULL;
}

/* ---- what lies on top of ours --------------------------------------------------------- */

/* tracemalloc puts back what it found when it is stopped: ours go below it. */
static enum sa_code begin_below_tracemalloc(struct sa_why *why)
{
    PyObject *module = PyImport_ImportModule("_tracemalloc");
    PyObject *tracing = module ? PyObject_CallMethod(module, "is_tracing", NULL) : NULL;
    PyObject *limit = NULL;
    if (tracing && Py_IsTrue(tracing) &&
        (limit = PyObject_CallMethod(module, "get_traceback_limit", NULL)))
        Py_XDECREF(PyObject_CallMethod(module, "stop", NULL));
    enum sa_code code = sa_shelter_begin(why);
    if (limit)
        Py_XDECREF(PyObject_CallMethod(module, "start", "O", limit));
    PyErr_Clear(); /* built without it, or told to trace by nobody */
    Py_XDECREF(limit);
    Py_XDECREF(tracing);
    Py_XDECREF(module);
    return code;
}

/* What signal.signal() put there first lies below faulthandler's handler, which does not say so. */
static void tell_of_handlers(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP};
    PyObject *module = PyImport_ImportModule("_signal");
    for (size_t i = 0; module && i < sizeof signals / sizeof signals[0]; i++) {
        PyObject *handler = PyObject_CallMethod(module, "getsignal", "i", signals[i]);
        if (handler && PyCallable_Check(handler))
            sa_shelter_lives_on(signals[i]);
        Py_XDECREF(handler);
    }
    PyErr_Clear();
    Py_XDECREF(module);
}

static enum sa_code begin(struct sa_why *why)
{
    static _Atomic bool begun;
    if (atomic_load(&begun))
        return sa_shelter_begin(why);
    tell_of_handlers();
    enum sa_code code = begin_below_tracemalloc(why);
    if (code == SA_OK)
        atomic_store(&begun, true);
    return code;
}

/* Whether what Python takes now comes from the shelter. */
static bool takes_effect(void)
{
    void *object = PyObject_Malloc(1), *memory = PyMem_Malloc(1);
    bool does = sa_is_sheltered(object) && sa_is_sheltered(memory), had = object && memory;
    PyObject_Free(object);
    PyMem_Free(memory);
    return does || !had;
}

/* ---- floats that Python keeps for reuse ------------------------------------------------- */

/* Those made inside would else lie outside; and of those dropped inside the values would stay. */
enum { FLOATS = 128 };

static size_t hold_floats(PyObject **held, bool sheltered)
{
    bool failed = PyErr_Occurred() != NULL; /* the call's own: it stays */
    size_t count = 0;
    while (count < FLOATS && (held[count] = PyFloat_FromDouble(0.0)))
        if (sa_is_sheltered(held[count++]) == sheltered)
            break;
    if (!failed)
        PyErr_Clear(); /* no memory: there is none to be kept either */
    return count;
}

static void drop_floats(PyObject **held, size_t count)
{
    while (count)
        Py_DECREF(held[--count]);
}

/* ---- the call --------------------------------------------------------------------------- */

static PyObject *call_inside(PyObject *f, PyObject *args, PyObject *kwargs)
{
    PyObject *held[FLOATS];
    size_t count = hold_floats(held, true);
    PyObject *result = PyObject_Call(f, args, kwargs);
    drop_floats(held, count);
    return result;
}

/* What the call gives when the memory that it took fell short: with the warning, or as an exception
 * without a result. A failed call leaves that to the next. */
static PyObject *tell(struct py_state *state, PyObject *result)
{
    if (result && !sa_shelter_inside() && py_warn_shortfall(state, NULL) < 0)
        Py_CLEAR(result);
    return result;
}

static PyObject *shelter(PyObject *module, PyObject *args, PyObject *kwargs)
{
    struct py_state *state = py_state_of_module(module);
    Py_ssize_t size = PyTuple_Size(args);
    PyObject *f = size > 0 ? PyTuple_GetItem(args, 0) : NULL;
    if (!f || !PyCallable_Check(f)) {
        PyErr_Clear();
        PyErr_SetString(PyExc_TypeError, "shelter() needs something to call as its first argument");
        return NULL;
    }
    if (!sa_shelter_possible())
        return unavailable();
    /* What is imported inside would stay in the shelter. */
    if (py_import_rest(state) < 0)
        return NULL;
    PyObject *rest = PyTuple_GetSlice(args, 1, size);
    if (!rest)
        return NULL;
    struct sa_why why = {0};
    enum sa_code code = begin(&why);
    if (code != SA_OK) {
        Py_DECREF(rest);
        return py_fail(state, code, &why);
    }
    PyObject *result = NULL;
    if (takes_effect())
        result = call_inside(f, rest, kwargs);
    else
        PyErr_SetString(PyExc_RuntimeError, "another tool has put its own allocators in the place "
                                            "of ours: start it first");
    sa_shelter_end();
    if (!sa_shelter_inside()) {
        PyObject *held[FLOATS];
        drop_floats(held, hold_floats(held, false));
    }
    Py_DECREF(rest);
    return result && is_suspended(result) ? refuse_suspended(result) : tell(state, result);
}

#else

static PyObject *shelter(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(args),
                         PyObject *Py_UNUSED(kwargs))
{
    PyErr_SetString(PyExc_NotImplementedError,
                    "sheltered calls are not for free-threaded Pythons, whose collector finds "
                    "objects in its own heap alone; use python -m secalloc run, or a worker "
                    "process and secalloc.LockdownChannel");
    return NULL;
}

#endif

/* An object, and what a buffer of it shows. */
static PyObject *is_sheltered(PyObject *Py_UNUSED(module), PyObject *object)
{
    if (!sa_is_sheltered(object))
        Py_RETURN_FALSE;
    Py_buffer buffer;
    bool outside = false;
    if (PyObject_CheckBuffer(object)) {
        if (PyObject_GetBuffer(object, &buffer, PyBUF_FULL_RO) < 0) {
            if (!PyErr_ExceptionMatches(PyExc_Exception))
                return NULL; /* KeyboardInterrupt, in a __buffer__ */
            PyErr_Clear(); /* one that shows nothing now */
        } else {
            outside = buffer.len && !sa_is_sheltered(buffer.buf) && !sa_is_secure(buffer.buf, 0);
            PyBuffer_Release(&buffer);
        }
    }
    return PyBool_FromLong(!outside);
}

static PyObject *forbid_fork(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(none))
{
    sa_shelter_forbid_fork();
    Py_RETURN_NONE;
}

static PyObject *forbids_fork(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(none))
{
    return PyBool_FromLong(sa_shelter_forbids_fork());
}

PyMethodDef py_shelter_functions[] = {
    {"shelter", (PyCFunction)(void (*)(void))shelter, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR(
         "shelter(f, /, *args, **kwargs)\n--\n\n"
         "Call f and return what it returns; all memory that Python takes on this thread\n"
         "meanwhile comes from the vault: guarded, locked, left out of core files.\n\n"
         "An object that is made there stays there until it is freed, wherever that happens, and\n"
         "is overwritten then. The stack below the call and the registers are cleared at its\n"
         "end. Copies that are made later, outside, are ordinary memory. Not covered: threads\n"
         "that f starts, buffers and containers made before, and memory that C libraries take\n"
         "from malloc, except under python -m secalloc run with glibc. Follows Go's\n"
         "runtime/secret.Do.\n\n"
         "TypeError: f cannot be called, or returns a generator or coroutine, which is closed;\n"
         "MemoryError, in f: no locked memory; ProtectionError and OSError as for Arena();\n"
         "NotImplementedError: a free-threaded Python, or one whose allocators cannot be\n"
         "reached; RuntimeError: another tool has taken the allocators over.")},
    {"is_sheltered", is_sheltered, METH_O,
     PyDoc_STR(
         "is_sheltered(object, /)\n--\n\n"
         "Whether an object was made in a sheltered call, with the memory that its buffer\n"
         "shows, if it has one.\n\n"
         "Python reuses some lists, tuples and dicts: one that is made inside may lie outside,\n"
         "while what it refers to lies inside.")},
    {"_forbid_fork", forbid_fork, METH_NOARGS, NULL},
    {"_forbids_fork", forbids_fork, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
