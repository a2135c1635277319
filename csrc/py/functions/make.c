/* Functions that make an arena of something: random, take, concat. */
#include "functions/functions.h"
#include "objects/make.h"

static PyObject *make_random(PyObject *module, PyObject *const *args, Py_ssize_t count,
                             PyObject *names)
{
    struct py_home home = py_own_pages;
    if (py_home_of_call(&home, "random", 1, args, count, names) < 0)
        return NULL;
    return py_arena_of_random(py_state_of_module(module), args[0], &home);
}

static PyObject *take(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    struct py_home home = py_own_pages;
    if (py_home_of_call(&home, "take", 1, args, count, names) < 0)
        return NULL;
    return py_arena_of_taken(py_state_of_module(module), args[0], &home);
}

static PyObject *concat(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    struct py_home home = py_own_pages;
    if (py_home_of_call(&home, "concat", -1, args, count, names) < 0)
        return NULL;
    return py_arena_of_arguments(py_state_of_module(module), args, (size_t)count, &home);
}

PyMethodDef py_make_functions[] = {
    {"random", PY_FASTCALL(make_random),
     PyDoc_STR("random(size, /, *, require=None, name=None)\n--\n\n"
               "A new Arena of size random bytes, as secrets.token_bytes gives.\n\n"
               "The kernel writes them straight into the arena. TypeError, ValueError,\n"
               "OverflowError, MemoryError and OSError as for Arena(size), and require and name.")},
    {"take", PY_FASTCALL(take),
     PyDoc_STR("take(buffer, /, *, require=None, name=None)\n--\n\n"
               "A new Arena with the content of a writable contiguous buffer, which is cleared.\n\n"
               "A whole Arena as the source becomes wiped; anything else is overwritten with\n"
               "noise. BufferError: read-only, or not contiguous; TypeError, MemoryError, OSError\n"
               "as for Arena(buffer). When it fails the source still has its content.")},
    {"concat", PY_FASTCALL(concat),
     PyDoc_STR("concat(*parts, require=None, name=None)\n--\n\n"
               "A new Arena of all parts, bytes-like objects, one after the other.\n\n"
               "Copied straight into the arena; without parts it is empty. As b''.join, whose\n"
               "result would be bytes. Errors as for Arena(part); nothing is made then.")},
    {NULL, NULL, 0, NULL},
};
