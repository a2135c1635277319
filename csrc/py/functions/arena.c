/* Functions on one arena, or on any buffer: clear, rotate, comparing, is_secure. */
#include "functions/functions.h"
#include "objects/errors.h"
#include "objects/move.h"
#include "objects/operators.h"
#include "objects/span.h"

static PyObject *clear(PyObject *module, PyObject *target)
{
    struct py_span span;
    if (py_span_open(target, true, &span) < 0)
        return NULL;
    int result = py_span_clear(py_state_of_module(module), &span);
    py_span_close(&span);
    if (result < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *rotate(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "timeout", NULL};
    PyObject *arena;
    PyObject *timeout = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:rotate", names, &arena, &timeout))
        return NULL;
    if (!py_is_arena(arena)) {
        PyErr_Format(PyExc_TypeError, "rotate() takes an Arena, not %R",
                     (PyObject *)Py_TYPE(arena));
        return NULL;
    }
    return py_arena_rotate(arena, timeout);
}

static PyObject *compare_digest(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_Format(PyExc_TypeError, "compare_digest() takes 2 arguments (%zd given)", count);
        return NULL;
    }
    struct py_span a, b;
    if (py_span_open(args[0], false, &a) < 0)
        return NULL;
    PyObject *result = NULL;
    if (py_span_open(args[1], false, &b) == 0) {
        int order = 0;
        enum sa_code code = py_compare(&a, &b, true, &order);
        py_span_close(&b);
        result = code == SA_OK ? PyBool_FromLong(order == 0)
                               : py_fail(py_state_of_module(module), code, NULL);
    }
    py_span_close(&a);
    return result;
}

static PyObject *is_secure(PyObject *Py_UNUSED(module), PyObject *object)
{
    int answer = py_is_secure(object);
    return answer < 0 ? NULL : PyBool_FromLong(answer);
}

static struct sa_arena *core_of_argument(PyObject *object)
{
    if (py_is_arena(object))
        return py_core_of(object);
    PyErr_Format(PyExc_TypeError, "an Arena, not %R", (PyObject *)Py_TYPE(object));
    return NULL;
}

static PyObject *uses(PyObject *Py_UNUSED(module), PyObject *object)
{
    struct sa_uses now;
    struct sa_arena *core = core_of_argument(object);
    if (!core)
        return NULL;
    if (!sa_uses(core, &now))
        Py_RETURN_NONE;
    return Py_BuildValue("OOd", now.lent ? Py_True : Py_False, now.open ? Py_True : Py_False,
                         (double)now.last / 1000.0);
}

static PyObject *watch(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *object;
    int whether;
    if (!PyArg_ParseTuple(args, "Op:_watch", &object, &whether))
        return NULL;
    struct sa_arena *core = core_of_argument(object);
    if (!core)
        return NULL;
    sa_watch(core, whether);
    Py_RETURN_NONE;
}

PyMethodDef py_arena_functions[] = {
    {"_uses", uses, METH_O,
     PyDoc_STR(
         "_uses(arena, /)\n--\n\n"
         "Whether buffers of it are lent, whether a block is open, and when it was used last\n"
         "in seconds of CLOCK_BOOTTIME, where _watch() was told to note it; None: it is\n"
         "closed.")},
    {"_watch", watch, METH_VARARGS,
     PyDoc_STR("_watch(arena, whether, /)\n--\n\n"
               "Note from now on when it is used, or not any more.")},

    {"clear", clear, METH_O,
     PyDoc_STR("clear(buffer, /)\n--\n\n"
               "Overwrite any writable contiguous buffer with the current noise.\n\n"
               "A whole Arena becomes wiped, as by its clear(). Part of one, a view or a\n"
               "memoryview, and any other buffer, is just overwritten, and stays usable.\n"
               "BufferError: read-only, or not contiguous; TypeError: no buffer; nothing was\n"
               "changed.")},
    {"rotate", (PyCFunction)(void (*)(void))rotate, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("rotate(arena, /, timeout=0)\n--\n\n"
               "Move an arena's content to fresh pages, as Arena.rotate(), which says more.")},
    {"compare_digest", (PyCFunction)(void (*)(void))compare_digest, METH_FASTCALL,
     PyDoc_STR("compare_digest(a, b, /)\n--\n\n"
               "Whether two bytes-like objects are equal, in time that depends on the lengths\n"
               "alone, as hmac.compare_digest.\n\n"
               "A str is a TypeError; an arena that cannot be read raises what reading it does.")},
    {"is_secure", is_secure, METH_O,
     PyDoc_STR(
         "is_secure(object, /)\n--\n\n"
         "Whether the memory of a bytes-like object lies in a live arena.\n\n"
         "It is true of arenas that are not closed, of their views, and of objects that share\n"
         "their memory, such as memoryviews and arrays made with frombuffer. TypeError: it has\n"
         "no buffer.")},
    {NULL, NULL, 0, NULL},
};
