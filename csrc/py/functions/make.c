/* Functions that make an arena of something: random, take, concat. */
#include "functions/functions.h"
#include "objects/make.h"

static PyObject *make_random(PyObject *module, PyObject *number)
{
    return py_arena_of_random(py_state_of_module(module), number, py_own_pages);
}

static PyObject *take(PyObject *module, PyObject *source)
{
    return py_arena_of_taken(py_state_of_module(module), source, py_own_pages);
}

static PyObject *concat(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    return py_arena_of_arguments(py_state_of_module(module), args, (size_t)count);
}

PyMethodDef py_make_functions[] = {
    {"random", make_random, METH_O,
     PyDoc_STR("random(size, /)\n--\n\n"
               "A new Arena of size random bytes, as secrets.token_bytes gives.\n\n"
               "The kernel writes them straight into the arena. TypeError, ValueError,\n"
               "OverflowError, MemoryError and OSError as for Arena(size).")},
    {"take", take, METH_O,
     PyDoc_STR("take(buffer, /)\n--\n\n"
               "A new Arena with the content of a writable contiguous buffer, which is cleared.\n\n"
               "A whole Arena as the source becomes wiped; anything else is overwritten with\n"
               "noise. BufferError: read-only, or not contiguous; TypeError, MemoryError, OSError\n"
               "as for Arena(buffer). When it fails the source still has its content.")},
    {"concat", (PyCFunction)(void (*)(void))concat, METH_FASTCALL,
     PyDoc_STR("concat(*parts)\n--\n\n"
               "A new Arena of all parts, bytes-like objects, one after the other.\n\n"
               "Copied straight into the arena; without parts it is empty. As b''.join, of which\n"
               "the result would be bytes. Errors as for Arena(part); nothing is made then.")},
    {NULL, NULL, 0, NULL},
};
