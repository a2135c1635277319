/* Exceptions and warnings: what the core's codes, and what was not granted, become. */
#include "objects/errors.h"

#include "objects/objects.h"
#include "objects/protection.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum kind { MEMORY, OS, VALUE, INDEX, BUFFER, WIPED, SEALED, FORKED, CLOSED };

/* The message says what happened and what mends it. For MEMORY and OS the core names the call
 * that failed: there it is only what mends it, where the core does not say. */
static const struct {
    enum kind kind;
    const char *message;
} answers[] = {
    [SA_OK] = {VALUE, "nothing failed"},
    [SA_NO_MEMORY] = {MEMORY, "close arenas that are no longer needed, or ask for less"},
    [SA_OS_ERROR] = {OS, NULL},
    [SA_BAD_ALIGN] = {VALUE, "align must be a power of two up to the page size"},
    [SA_BAD_RANGE] = {INDEX, "range outside the arena"},
    [SA_WIPED] = {WIPED, "the content was wiped: write the whole again, with arena[:] = data "
                         "or inside arena.open('w')"},
    [SA_SEALED] = {SEALED, "the arena is sealed, or the block that this view came from has "
                           "ended: open it, and use a view inside its own open() block"},
    [SA_READ_ONLY] = {SEALED, "open for reading alone: write inside open('rw') or open('w')"},
    [SA_TOO_LARGE] = {VALUE, "up to 1 MiB is encrypted: seal(encrypt=False), or keep the key to it "
                             "in an arena"},
    [SA_POOLED] = {VALUE, "an arena of a pool shares its pages: seal the pool"},
    [SA_CLOSED] = {CLOSED, "the arena is closed: make a new one"},
    [SA_FORKED] = {FORKED, "the arena belongs to the parent process: make a new one in this "
                           "process"},
    [SA_BUSY] = {BUFFER, "exported buffers forbid it: release the memoryviews and whatever "
                         "else holds the arena's buffer"},
    [SA_FILLING] = {BUFFER, "inside an open() block, of this thread or another: leave it first"},
    [SA_CROWDED] = {BUFFER, "too many at once: 65535 buffers, and as many open() blocks of "
                            "either kind, are what an arena counts"},
    [SA_BAD_SIGNAL] = {VALUE, "a signal that cannot be armed: its default action does not end "
                              "the process, or nothing can handle it"},
    [SA_UNPROTECTED] = {OS, "a required protection is not to be had"},
    [SA_WRONG_PROCESS] = {FORKED, "this process shares its memory with its parent (vfork): "
                                  "exec first"},
};

static PyObject *exception_of(const struct py_state *state, enum kind kind)
{
    switch (kind) {
    case MEMORY: return PyExc_MemoryError;
    case OS: return PyExc_OSError;
    case VALUE: return PyExc_ValueError;
    case INDEX: return PyExc_IndexError;
    case BUFFER: return PyExc_BufferError;
    case WIPED: return state->wiped_error;
    case SEALED: return state->sealed_error;
    case FORKED: return state->forked_error;
    case CLOSED: return state->closed_error;
    }
    return PyExc_SystemError;
}

/* "mlock2: Cannot allocate memory (RLIMIT_MEMLOCK is 65536 for this process); raise it with
 * ulimit -l" */
PyObject *py_reason(const struct sa_why *why, const char *hint)
{
    static const struct sa_why nothing = {0};
    if (!why)
        why = &nothing;
    if (why->hint)
        hint = why->hint;
    char limit[128] = "";
    if (why->limit && why->allowed != SIZE_MAX)
        snprintf(limit, sizeof limit, " (%s is %zu%s%s)", why->limit, why->allowed,
                 why->whose ? " for " : "", why->whose ? why->whose : "");
    return PyUnicode_FromFormat("%s%s%s%s%s%s", why->call ? why->call : "refused",
                                why->error ? ": " : "", why->error ? strerror(why->error) : "",
                                limit, hint ? "; " : "", hint ? hint : "");
}

/* " for 'db password'", or nothing where there is no name. */
static PyObject *for_name(const char *name, const char *before, const char *after)
{
    PyObject *text = name && *name ? PyUnicode_FromString(name) : NULL;
    PyObject *part = text               ? PyUnicode_FromFormat("%s%R%s", before, text, after)
                     : PyErr_Occurred() ? NULL
                                        : PyUnicode_FromString("");
    Py_XDECREF(text);
    return part;
}

/* OSError picks its subclass by errno when it is called, not when it is raised. */
static void raise_os(PyObject *exception, int error, PyObject *text)
{
    PyObject *made = PyObject_CallFunction(exception, "iO", error, text);
    if (made)
        PyErr_SetObject((PyObject *)Py_TYPE(made), made);
    Py_XDECREF(made);
}

static void fail_protection(struct py_state *state, const struct sa_why *why, const char *name)
{
    PyObject *names = py_protection_names(why->missing);
    PyObject *because = names ? py_reason(why, NULL) : NULL;
    PyObject *whose = because ? for_name(name, " for ", "") : NULL;
    PyObject *text = whose ? PyUnicode_FromFormat("%U is required%U and not to be had: %U", names,
                                                  whose, because)
                           : NULL;
    if (text)
        raise_os(state->protection_error, why->error ? why->error : ENOTSUP, text);
    Py_XDECREF(text);
    Py_XDECREF(whose);
    Py_XDECREF(because);
    Py_XDECREF(names);
}

void *py_fail_named(struct py_state *state, enum sa_code code, const struct sa_why *why,
                    const char *name)
{
    size_t i = (size_t)code;
    if (i >= sizeof answers / sizeof answers[0]) {
        PyErr_Format(PyExc_SystemError, "secalloc: unknown result %d", (int)code);
        return NULL;
    }
    if (code == SA_UNPROTECTED && why) {
        fail_protection(state, why, name);
        return NULL;
    }
    enum kind kind = answers[i].kind;
    PyObject *message = kind == MEMORY || kind == OS ? py_reason(why, answers[i].message)
                                                     : PyUnicode_FromString(answers[i].message);
    PyObject *whose = message ? for_name(name, "", ": ") : NULL;
    PyObject *text = whose ? PyUnicode_FromFormat("%U%U", whose, message) : NULL;
    if (text && kind == OS)
        raise_os(exception_of(state, kind), why && why->error ? why->error : EIO, text);
    else if (text)
        PyErr_SetObject(exception_of(state, kind), text);
    Py_XDECREF(text);
    Py_XDECREF(whose);
    Py_XDECREF(message);
    return NULL;
}

void *py_fail(struct py_state *state, enum sa_code code, const struct sa_why *why)
{
    return py_fail_named(state, code, why, NULL);
}

void *py_fail_of(PyObject *arena, enum sa_code code, const struct sa_why *why)
{
    char name[SA_NAME_ROOM];
    sa_name(py_core_of(arena), name);
    return py_fail_named(py_state_of(arena), code, why, name);
}

void *py_complain_of(PyObject *arena, PyObject *exception, const char *message)
{
    char name[SA_NAME_ROOM];
    sa_name(py_core_of(arena), name);
    PyObject *whose = for_name(name, "", ": ");
    if (whose)
        PyErr_Format(exception, "%U%s", whose, message);
    Py_XDECREF(whose);
    return NULL;
}

void *py_pool_fail(struct py_state *state, enum sa_code code, const struct sa_why *why,
                   const char *name)
{
    if (code == SA_CLOSED)
        PyErr_SetString(state->closed_error, "the pool is closed: make a new one");
    else if (code == SA_FORKED)
        PyErr_SetString(state->forked_error, "the pool belongs to the parent process: make a new "
                                             "one in this process");
    else if (code == SA_SEALED)
        PyErr_SetString(state->sealed_error, "the pool is sealed: make arenas inside open('rw')");
    else
        py_fail_named(state, code, why, name);
    return NULL;
}

/* Whether a frame runs code of the package itself. */
static bool is_ours(PyObject *frame)
{
    PyObject *globals = PyObject_GetAttrString(frame, "f_globals");
    PyObject *name = globals ? PyMapping_GetItemString(globals, "__name__") : NULL;
    const char *text = name && PyUnicode_Check(name) ? PyUnicode_AsUTF8AndSize(name, NULL) : NULL;
    bool ours = text && !strncmp(text, "secalloc", 8) && (text[8] == 0 || text[8] == '.');
    Py_XDECREF(name);
    Py_XDECREF(globals);
    PyErr_Clear(); /* an odd frame is not ours */
    return ours;
}

/* The stack level of the code that called the package. */
static Py_ssize_t callers_level(void)
{
    Py_ssize_t level = 1;
    PyObject *frame = Py_XNewRef((PyObject *)PyEval_GetFrame());
    while (frame && is_ours(frame)) {
        PyObject *back = PyObject_GetAttrString(frame, "f_back");
        Py_DECREF(frame);
        frame = back;
        level++;
    }
    Py_XDECREF(frame);
    PyErr_Clear();
    return level;
}

static int warn_late(struct py_state *state)
{
    PyObject *text = atomic_exchange(&state->late_warning, NULL);
    int result = text ? PyErr_WarnFormat(state->protection_warning, callers_level(), "%U", text)
                      : 0;
    Py_XDECREF(text);
    return result;
}

static int warn(struct py_state *state, unsigned missing, const struct sa_why *why,
                const char *name)
{
    PyObject *names = py_protection_names(missing);
    PyObject *because = names ? py_reason(why, NULL) : NULL;
    PyObject *whose = because ? for_name(name, ", ", " the first of them") : NULL;
    int result = -1;
    if (whose)
        result = PyErr_WarnFormat(state->protection_warning, callers_level(),
                                  "secrets are held without %U%U: %U", names, whose, because);
    Py_XDECREF(whose);
    Py_XDECREF(because);
    Py_XDECREF(names);
    return result;
}

static bool is_all_told(struct py_state *state)
{
    return !atomic_load_explicit(&state->late_warning, memory_order_relaxed) && !sa_falls_short();
}

static int warn_now(struct py_state *state, const char *name)
{
    unsigned missing;
    struct sa_why why;
    return sa_shortfall(&missing, &why) ? warn(state, missing, &why, name) : 0;
}

SA_COLD static int tell(struct py_state *state, const char *name)
{
    return warn_late(state) < 0 ? -1 : warn_now(state, name);
}

int py_warn_shortfall(struct py_state *state, const char *name)
{
    return is_all_told(state) ? 0 : tell(state, name);
}

SA_COLD static int tell_of(PyObject *arena)
{
    char name[SA_NAME_ROOM];
    sa_name(py_core_of(arena), name);
    return tell(py_state_of(arena), name);
}

int py_warn_shortfall_of(struct py_state *state, PyObject *arena)
{
    return is_all_told(state) ? 0 : tell_of(arena);
}

int py_warn_in_child(struct py_state *state) { return warn_now(state, NULL); }

/* A type whose signature can be asked: it is read from the head of the docstring that a type is
 * made with, which help() does not cut off. */
static PyObject *make_exception(const char *full, const char *name, const char *doc,
                                PyObject *bases)
{
    PyObject *text = PyUnicode_FromFormat("%s(*args)\n--\n\n%s", name, doc);
    const char *headed = text ? PyUnicode_AsUTF8AndSize(text, NULL) : NULL;
    PyObject *type = headed ? PyErr_NewExceptionWithDoc(full, headed, bases, NULL) : NULL;
    PyObject *shown = type ? PyUnicode_FromString(doc) : NULL;
    if (!shown || PyObject_SetAttrString(type, "__doc__", shown) < 0)
        Py_CLEAR(type);
    Py_XDECREF(shown);
    Py_XDECREF(text);
    return type;
}

/* Make an exception of `base`, and of `error` where that is not NULL. */
static int add_exception(PyObject *module, PyObject **slot, const char *name, const char *doc,
                         PyObject *error, PyObject *base)
{
    char full[64] = "secalloc.";
    strncat(full, name, sizeof full - strlen(full) - 1);
    PyObject *bases = error ? PyTuple_Pack(2, error, base) : Py_NewRef(base);
    *slot = bases ? make_exception(full, name, doc, bases) : NULL;
    Py_XDECREF(bases);
    return *slot ? PyModule_AddObjectRef(module, name, *slot) : -1;
}

/* What is an Error of ours, and of a built-in kind as well. */
static const struct {
    size_t slot; /* in struct py_state */
    const char *name, *doc;
    enum kind base;
} errors[] = {
    {offsetof(struct py_state, wiped_error), "WipedError",
     "The arena holds noise: it was cleared, or a lockdown passed.\n\n"
     "Writing the whole anew makes it usable: arena[:] = data, or a block of\n"
     "with arena.open('w') as view.",
     VALUE},
    {offsetof(struct py_state, sealed_error), "SealedError",
     "The bytes are out of reach: sealed, read-only, or the view's block has ended.\n\n"
     "Inside a block of open('r'), open('rw') or open('w') they are accessible,\n"
     "and as soon as it ends its views are dead.",
     BUFFER},
    {offsetof(struct py_state, closed_error), "ClosedError",
     "The arena, pool or channel was closed.\n\n"
     "It cannot be opened again: make another one.",
     VALUE},
    {offsetof(struct py_state, forked_error), "ForkedError",
     "The arena belongs to the process that this one was forked from.\n\n"
     "Arenas are not inherited; this process can make its own.",
     VALUE},
    {offsetof(struct py_state, protection_error), "ProtectionError",
     "A protection that is required, or that the old pages have, could not be obtained.\n\n"
     "errno tells why.",
     OS},
};

int py_errors_init(PyObject *module, struct py_state *state)
{
    if (add_exception(
            module, &state->error, "Error",
            "The base of all errors that are the library's own.\n\n"
            "Each is also a built-in error, such as ValueError, so that existing code catches it.",
            NULL, PyExc_Exception) < 0)
        return -1;
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        PyObject **slot = (PyObject **)((char *)state + errors[i].slot);
        PyObject *base = exception_of(state, errors[i].base);
        if (add_exception(module, slot, errors[i].name, errors[i].doc, state->error, base) < 0)
            return -1;
    }
    return add_exception(
        module, &state->protection_warning, "ProtectionWarning",
        "Arenas work, but without a protection that this platform has.\n\n"
        "It is given once in a process for each protection, at the first arena or sheltered call\n"
        "that lacks it, and at the fork where the child's copy of sheltered objects is not "
        "locked.\n"
        "It says which protection is missing, which call refused it, and what mends it.",
        NULL, PyExc_RuntimeWarning);
}
