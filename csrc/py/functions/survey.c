/* Functions that ask about the process, for status(), the commands and secalloc/map.py; and
 * harden(). */
#include "functions/functions.h"
#include "objects/errors.h"
#include "objects/imports.h"

#include <string.h>

static PyObject *handlers_of(const struct sa_status *status, PyObject *signals)
{
    static const char *const names[] = {
        [SA_HANDLER_OFF] = "off",
        [SA_HANDLER_ARMED] = "armed",
        [SA_HANDLER_SHADOWED] = "shadowed",
    };
    PyObject *handlers = PyDict_New();
    bool ok = handlers != NULL;
    for (size_t i = 0; ok && i < status->signal_count; i++) {
        PyObject *key = PyObject_CallFunction(signals, "i", status->signals[i]);
        if (!key && PyErr_ExceptionMatches(PyExc_ValueError)) {
            PyErr_Clear(); /* a real-time one between the two that have names */
            key = PyLong_FromLong(status->signals[i]);
        }
        PyObject *value = key ? PyUnicode_FromString(names[status->handlers[i]]) : NULL;
        ok = value && PyDict_SetItem(handlers, key, value) == 0;
        Py_XDECREF(value);
        Py_XDECREF(key);
    }
    if (!ok)
        Py_CLEAR(handlers);
    return handlers;
}

static PyObject *limit_of(size_t bytes)
{
    return bytes == SIZE_MAX ? Py_NewRef(Py_None) : PyLong_FromSize_t(bytes);
}

static PyObject *count_sheltered(struct py_state *state)
{
    size_t blocks, bytes;
    PyObject *type = py_answer(state, PY_SHELTERED);
    sa_shelter_count(&blocks, &bytes);
    return type ? PyObject_CallFunction(type, "nn", (Py_ssize_t)blocks, (Py_ssize_t)bytes) : NULL;
}

static PyObject *status_of(struct py_state *state, PyObject *type, PyObject *signals)
{
    static const char *const stacks[] = {
        [SA_STACK_NONE] = "none",
        [SA_STACK_OURS] = "ours",
        [SA_STACK_FOREIGN] = "foreign",
        [SA_STACK_SMALL] = "small",
    };
    struct sa_status status;
    sa_status(&status);
    const char *backend = !status.started ? "none" : status.secretmem ? "secretmem" : "anonymous";
    PyObject *limit = NULL, *secretmem_limit = NULL, *fd = NULL, *sheltered = NULL, *result = NULL;
    PyObject *handlers = handlers_of(&status, signals); /* the first that fails is the last asked */
    if (handlers && (limit = limit_of(status.lock_limit)) &&
        (secretmem_limit = limit_of(status.secretmem_limit)) &&
        (fd = status.lockdown_fd < 0 ? Py_NewRef(Py_None) : PyLong_FromLong(status.lockdown_fd)) &&
        (sheltered = count_sheltered(state)))
        result = PyObject_CallFunction(
            type, "KKKOsOOKKsKOOO", (unsigned long long)status.arenas,
            (unsigned long long)status.bytes, (unsigned long long)status.locked_bytes, limit,
            backend, handlers, fd, (unsigned long long)status.rekeys,
            (unsigned long long)status.lockdowns, stacks[status.alt_stack],
            (unsigned long long)status.secretmem_bytes, secretmem_limit,
            status.charges_users ? Py_True : Py_False, sheltered);
    Py_XDECREF(sheltered);
    Py_XDECREF(fd);
    Py_XDECREF(secretmem_limit);
    Py_XDECREF(limit);
    Py_XDECREF(handlers);
    return result;
}

static PyObject *status(PyObject *module, PyObject *Py_UNUSED(none))
{
    struct py_state *state = py_state_of_module(module);
    PyObject *type = py_answer(state, PY_STATUS);
    PyObject *signals = type ? py_answer(state, PY_SIGNALS) : NULL;
    return signals ? status_of(state, type, signals) : NULL;
}

static PyObject *entry(const struct sa_live *e)
{
    return Py_BuildValue("KKKKKKIOOOOOz", (unsigned long long)e->pages, (unsigned long long)e->data,
                         (unsigned long long)e->address, (unsigned long long)e->size,
                         (unsigned long long)e->arenas, (unsigned long long)e->exports,
                         e->protection, e->pooled ? Py_True : Py_False,
                         e->wiped ? Py_True : Py_False, e->sealed ? Py_True : Py_False,
                         e->may_read ? Py_True : Py_False, e->may_write ? Py_True : Py_False,
                         *e->name ? e->name : NULL);
}

static PyObject *census(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(none))
{
    size_t room = 0, n = sa_census(NULL, 0);
    struct sa_live *entries = NULL;
    while (n > room || !entries) { /* more came meanwhile */
        PyMem_Free(entries);
        room = n + 64;
        if (!(entries = PyMem_Calloc(room, sizeof *entries)))
            return PyErr_NoMemory();
        n = sa_census(entries, room);
    }
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < n; i++) {
        PyObject *one = entry(&entries[i]);
        if (!one || PyList_Append(list, one) < 0)
            Py_CLEAR(list);
        Py_XDECREF(one);
    }
    PyMem_Free(entries);
    return list;
}

static PyObject *census_names(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(none))
{
    size_t room = 0, n = sa_census_names(NULL, 0);
    struct sa_named *named = NULL;
    while (n > room || !named) {
        PyMem_Free(named);
        room = n + 64;
        if (!(named = PyMem_Calloc(room, sizeof *named)))
            return PyErr_NoMemory();
        n = sa_census_names(named, room);
    }
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < n; i++) {
        PyObject *one = Py_BuildValue("Ks", (unsigned long long)named[i].pages, named[i].name);
        if (!one || PyList_Append(list, one) < 0)
            Py_CLEAR(list);
        Py_XDECREF(one);
    }
    PyMem_Free(named);
    return list;
}

static PyObject *dumpable(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(none))
{
    int dumpable = sa_dumpable();
    if (dumpable < 0)
        Py_RETURN_NONE;
    return PyBool_FromLong(dumpable);
}

/* A tuple of what was refused; NULL with an exception. */
static PyObject *refusals(const struct sa_hardening *done)
{
    PyObject *texts = PyTuple_New((Py_ssize_t)done->refusals);
    for (unsigned i = 0; texts && i < done->refusals; i++) {
        PyObject *text = py_reason(&done->refused[i], NULL);
        if (!text || PyTuple_SetItem(texts, (Py_ssize_t)i, text) < 0)
            Py_CLEAR(texts);
    }
    return texts;
}

static PyObject *harden(PyObject *module, PyObject *Py_UNUSED(none))
{
    PyObject *type = py_answer(py_state_of_module(module), PY_HARDENING);
    if (!type) /* before anything is changed */
        return NULL;
    struct sa_hardening done;
    sa_harden(&done);
    PyObject *texts = refusals(&done);
    PyObject *result = NULL;
    if (texts)
        result = PyObject_CallFunction(type, "OOOO", done.no_core_files ? Py_True : Py_False,
                                       done.not_dumpable ? Py_True : Py_False,
                                       done.no_debugger ? Py_True : Py_False, texts);
    Py_XDECREF(texts);
    return result;
}

/* Whether the content of a block of that size is still there once it is freed; -1 with an
 * exception. A heap writes its own links at a block's beginning, which does not count. */
static int outlasts_free(size_t size)
{
    enum { PROBE = 0xa7, HEAD = 64, LEAST = 32 };
    unsigned char seen[512];
    unsigned char *block = PyMem_Malloc(size);
    if (!block) {
        PyErr_NoMemory();
        return -1;
    }
    memset(block, PROBE, size);
    uintptr_t at = (uintptr_t)block;
    PyMem_Free(block);
    size_t part = size - HEAD < sizeof seen ? size - HEAD : sizeof seen, left = 0;
    if (!sa_peek(at + HEAD, seen, part))
        return 0;
    for (size_t i = 0; i < part; i++)
        left += seen[i] == PROBE;
    return left > LEAST;
}

static PyObject *frees_are_overwritten(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(none))
{
    /* Python's own allocator serves up to 512 bytes, the C library's the rest. */
    int small = outlasts_free(300), large = small < 0 ? -1 : outlasts_free(1500);
    if (large < 0)
        return NULL;
    return PyBool_FromLong(!small && !large);
}

PyMethodDef py_survey_functions[] = {
    {"status", status, METH_NOARGS,
     PyDoc_STR(
         "status()\n--\n\n"
         "What holds at this moment, as a Status: a named tuple. Before the first arena, too.")},
    {"harden", harden, METH_NOARGS,
     PyDoc_STR(
         "harden()\n--\n\n"
         "Let this process write no core files and be read by no other; a Hardening.\n\n"
         "Core files are limited to 0, soft and hard, and children inherit that. On Linux the\n"
         "process also becomes undumpable, until it runs another program or changes its user. So\n"
         "call this after the change. A fork stays undumpable. On macOS ptrace may not attach.\n\n"
         "What no longer works: core dumps; gdb -p, strace -p, py-spy and perf by the same\n"
         "user, and reading this process through /proc. On Linux the files of /proc/self\n"
         "belong to root: an ordinary user's process cannot open its own mem, environ, auxv\n"
         "or pagemap any more; maps, status, smaps and fd still work. A process that has\n"
         "CAP_SYS_PTRACE, as root's, can still do all of it, but reads no secretmem.\n\n"
         "It cannot be undone, and may be repeated. A refusal raises nothing: the answer is then\n"
         "false, and tells what was refused.")},
    {"_census", census, METH_NOARGS,
     PyDoc_STR("What lives in the vault, as tuples of the fields of secalloc.map.Pages.")},
    {"_census_names", census_names, METH_NOARGS,
     PyDoc_STR("The names of arenas in pools, each with the first of its pool's pages.")},
    {"_dumpable", dumpable, METH_NOARGS, NULL},
    {"_frees_are_overwritten", frees_are_overwritten, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
