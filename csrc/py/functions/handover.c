/* Functions that hand a secret from one process to another, for secalloc/_channel. */
#include "functions/functions.h"
#include "objects/errors.h"
#include "objects/imports.h"
#include "objects/make.h"

#include <unistd.h>

/* The core of an argument that is an Arena, or NULL for None. -1 with an exception. */
static int key_of(struct py_state *state, PyObject *argument, struct sa_arena **key)
{
    *key = NULL;
    if (!argument || argument == Py_None)
        return 0;
    if (!PyObject_TypeCheck(argument, state->arena_type)) {
        PyErr_SetString(PyExc_TypeError, "a key is an Arena or None");
        return -1;
    }
    *key = py_core_of(argument);
    return 0;
}

/* What `decide` gave: an arena, the words before its content, a descriptor for them, a key. */
static PyObject *answer(struct py_state *state, PyObject *decided, int sock, struct sa_asked *asked,
                        unsigned int timeout_ms)
{
    PyObject *arena, *said_bytes, *with;
    struct sa_arena *key;
    char *words;
    Py_ssize_t n;
    int fd;
    struct sa_why why = {0};
    if (!PyArg_ParseTuple(decided, "O!SiO:_serve_question", state->arena_type, &arena, &said_bytes,
                          &fd, &with) ||
        key_of(state, with, &key) < 0 || PyBytes_AsStringAndSize(said_bytes, &words, &n) < 0) {
        sa_asked_drop(asked);
        return NULL;
    }
    struct sa_said said = {.words = words, .n = (size_t)n, .fd = fd};
    enum sa_code code;
    Py_BEGIN_ALLOW_THREADS code = sa_answer(py_core_of(arena), key, sock, asked, &said, timeout_ms,
                                            &why);
    Py_END_ALLOW_THREADS if (code != SA_OK) return py_fail(state, code, &why);
    Py_RETURN_TRUE;
}

static PyObject *serve_question(PyObject *module, PyObject *args)
{
    struct py_state *state = py_state_of_module(module);
    char words[SA_WORDS];
    PyObject *decide;
    Py_ssize_t n, most;
    int sock;
    unsigned int patience_ms, timeout_ms;
    if (!PyArg_ParseTuple(args, "innIIO:_serve_question", &sock, &n, &most, &patience_ms,
                          &timeout_ms, &decide))
        return NULL;
    struct sa_said question = {.words = words, .n = (size_t)n};
    struct sa_asked asked;
    struct sa_why why = {0};
    enum sa_code code;
    Py_BEGIN_ALLOW_THREADS code = sa_hear_question(sock, &question, (size_t)most, patience_ms,
                                                   &asked, &why);
    Py_END_ALLOW_THREADS if (code != SA_OK) return py_fail(state, code, &why);
    PyObject *decided = PyObject_CallFunction(decide, "Ni", PyBytes_FromStringAndSize(words, n),
                                              (int)question.sender);
    PyObject *given = NULL;
    if (decided && decided != Py_None) {
        given = answer(state, decided, sock, &asked, timeout_ms);
    } else {
        sa_asked_drop(&asked);
        given = decided ? Py_NewRef(Py_False) : NULL;
    }
    Py_XDECREF(decided);
    return given;
}

/* The exception that is set, as an object. */
static PyObject *raised(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

/* The arena, the words, the descriptor, and whether it was shared. */
static PyObject *what_came(PyObject *arena, const struct sa_said *told, const struct sa_came *came)
{
    PyObject *all = NULL;
    if (!arena && came->heard)
        arena = raised();
    if (arena)
        all = Py_BuildValue("NNiN", arena,
                            PyBytes_FromStringAndSize(told->words, (Py_ssize_t)told->n), told->fd,
                            PyBool_FromLong(came->shared));
    if (!all && told->fd >= 0)
        (void)close(told->fd); /* nobody knows of it */
    return all;
}

static PyObject *ask(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "", "", "", "", "key", "require", "name", NULL};
    struct py_state *state = py_state_of_module(module);
    struct py_home home = py_own_pages;
    PyObject *question_bytes, *with = NULL, *require = NULL, *name = NULL;
    struct sa_arena *key;
    char words[SA_WORDS], *question;
    Py_ssize_t size, n, back;
    int sock;
    unsigned int timeout_ms;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "niISn|$OOO:_ask", names, &size, &sock,
                                     &timeout_ms, &question_bytes, &back, &with, &require, &name) ||
        key_of(state, with, &key) < 0 ||
        PyBytes_AsStringAndSize(question_bytes, &question, &n) < 0 ||
        py_home_set(&home, require, name) < 0 || py_import_rest(state) < 0)
        return NULL;
    PyObject *self = py_arena_new(state);
    if (!self)
        return NULL;
    struct sa_said asked = {.words = question, .n = (size_t)n, .fd = -1};
    struct sa_said told = {.words = words, .n = (size_t)back, .fd = -1};
    struct sa_why why = {0};
    struct sa_came came = {0};
    enum sa_code code;
    Py_BEGIN_ALLOW_THREADS code = sa_ask(py_core_of(self), key, (size_t)size, home.required, sock,
                                         &asked, &told, timeout_ms, &came, &why);
    Py_END_ALLOW_THREADS PyObject *arena = NULL;
    if (code == SA_OK && came.given)
        arena = py_arena_named(state, Py_NewRef(self), &home);
    else if (code == SA_OK || (code == SA_WIPED && came.heard && !came.unread))
        arena = Py_NewRef(Py_None);
    else
        (void)py_fail_named(state, code, &why, home.name); /* it is NULL */
    Py_DECREF(self);
    return what_came(arena, &told, &came);
}

PyMethodDef py_handover_functions[] = {
    {"_ask", (PyCFunction)(void (*)(void))ask, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR(
         "_ask(size, socket, timeout, question, answer, /, *, key=None, require=None, name=None)\n"
         "--\n\n"
         "A new Arena of what the other end hands over, None, or an exception after the words\n"
         "of the answer came; these, so many bytes; a descriptor that came with them, or -1;\n"
         "and whether it came by way of secretmem. With a key, of which the other end has a copy,\n"
         "what is small is encrypted on its way. Milliseconds.")},
    {"_serve_question", serve_question, METH_VARARGS,
     PyDoc_STR("_serve_question(socket, size, most, patience, timeout, decide, /)\n--\n\n"
               "Wait for a question of `size` bytes, and call decide(question, sender): it gives\n"
               "an arena of `most` bytes at most, the words before it, a descriptor or -1, which\n"
               "are sent then, and the key that both ends have or None; or None. Whether they\n"
               "were. Milliseconds.")},
    {NULL, NULL, 0, NULL},
};
