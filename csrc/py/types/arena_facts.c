/* What an Arena tells of itself: its properties and its repr. */
#include "types/arena_facts.h"

#include "objects/errors.h"
#include "objects/imports.h"
#include "objects/protection.h"
#include "objects/reveal.h"
#include "objects/span.h"

static PyObject *arena_size(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(py_core_of(self)->size);
}

static PyObject *arena_closed(PyObject *self, void *Py_UNUSED(closure))
{
    enum sa_state state = sa_state_of(py_core_of(self));
    return PyBool_FromLong(state == SA_IS_CLOSED || state == SA_IS_FORKED);
}

/* Nothing of the content is left in a closed arena, or in a child process. */
static PyObject *arena_wiped(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(sa_is_wiped(py_core_of(self)));
}

static PyObject *arena_sealed(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(sa_state_of(py_core_of(self)) == SA_IS_SEALED);
}

static PyObject *arena_encrypted(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(sa_is_encrypted(py_core_of(self)));
}

static PyObject *arena_protection(PyObject *self, void *Py_UNUSED(closure))
{
    enum sa_code code = sa_reachable(py_core_of(self));
    if (code != SA_OK)
        return py_fail_of(self, code, NULL);
    unsigned bits = sa_protection_of(py_core_of(self));
    PyObject *flags = py_answer(py_state_of(self), PY_PROTECTION);
    return flags ? PyObject_CallFunction(flags, "I", bits) : NULL;
}

static PyObject *arena_address(PyObject *self, void *Py_UNUSED(closure))
{
    enum sa_code code = sa_reachable(py_core_of(self));
    if (code != SA_OK)
        return py_fail_of(self, code, NULL);
    return PyLong_FromSize_t((size_t)sa_address_of(py_core_of(self)));
}

static PyObject *arena_pool(PyObject *self, void *Py_UNUSED(closure))
{
    enum sa_code code = sa_reachable(py_core_of(self));
    if (code != SA_OK)
        return py_fail_of(self, code, NULL);
    PyObject *pool = arena_data(self)->pool;
    return Py_NewRef(pool ? pool : Py_None);
}

PyObject *py_arena_repr(PyObject *self)
{
    static const char *const words[] = {
        [SA_USABLE] = "usable",    [SA_IS_WIPED] = "wiped",   [SA_IS_SEALED] = "sealed",
        [SA_IS_CLOSED] = "closed", [SA_IS_FORKED] = "forked",
    };
    struct sa_arena *core = py_core_of(self);
    enum sa_state now = sa_state_of(core); /* once, so that all of the text is of one moment */
    const char *state = words[now];
    bool gone = now == SA_IS_CLOSED || now == SA_IS_FORKED;
    PyObject *name = py_arena_name(self, NULL);
    PyObject *called = !name             ? NULL
                       : Py_IsNone(name) ? PyUnicode_FromString("")
                                         : PyUnicode_FromFormat(" name=%R", name);
    PyObject *names = py_protection_names(sa_protection_of(core));
    PyObject *text = !called || !names ? NULL
                     : gone ? PyUnicode_FromFormat("<secalloc.Arena%U size=%zu %s>", called,
                                                   core->size, state)
                            : PyUnicode_FromFormat("<secalloc.Arena%U size=%zu %s protection=%U>",
                                                   called, core->size, state, names);
    Py_XDECREF(names);
    Py_XDECREF(called);
    Py_XDECREF(name);
    return text;
}

PyGetSetDef py_arena_properties[] = {
    {"size", arena_size, NULL, PyDoc_STR("Number of bytes."), NULL},
    {"wiped", arena_wiped, NULL,
     PyDoc_STR("Whether the content is gone: cleared, locked down, being written, or closed."),
     NULL},
    {"sealed", arena_sealed, NULL,
     PyDoc_STR("Whether the pages are inaccessible: sealed, and not inside a block."), NULL},
    {"encrypted", arena_encrypted, NULL,
     PyDoc_STR("Whether the content is ciphertext: sealed so, and not inside a block."), NULL},
    {"closed", arena_closed, NULL,
     PyDoc_STR("Whether it was closed, or belongs to the parent process."), NULL},
    {"protection", arena_protection, NULL,
     PyDoc_STR("What the kernel granted this arena's pages, as a Protection flag set."), NULL},
    {"address", arena_address, NULL,
     PyDoc_STR("Where the first byte lies now, for tests and tools, an int; rotate() changes it."),
     NULL},
    {"name", py_arena_name, py_arena_set_name,
     PyDoc_STR("What it is called in repr(), maps, warnings and errors: a short str, or None."),
     NULL},
    {"pool", arena_pool, NULL, PyDoc_STR("The Pool it lies in; None: it has pages of its own."),
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
