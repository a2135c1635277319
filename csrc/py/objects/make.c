/* Arenas made of a size, of content, of random bytes, or of a buffer that is cleared. */
#include "objects/make.h"

#include "objects/errors.h"
#include "objects/imports.h"
#include "objects/pool_refs.h"
#include "objects/protection.h"
#include "objects/span.h"

#include <string.h>

/* Filling that many bytes takes long enough to let other threads run. */
#define RANDOM_WITHOUT_GIL ((size_t)1 << 16)

const struct py_home py_own_pages = {.align = 1};

/* ---- require and name ------------------------------------------------------------ */

/* Of a str, and no subclass of it, which would be asked. */
static int copy_name(PyObject *name, char out[SA_NAME_ROOM])
{
    PyObject *printable = PyObject_CallMethod(name, "isprintable", NULL);
    if (!printable)
        return -1;
    bool fine = Py_IsTrue(printable) && PyUnicode_GetLength(name) > 0;
    Py_DECREF(printable);
    if (!fine) {
        PyErr_SetString(PyExc_ValueError, "a name is of printable characters, one or more; None "
                                          "is for no name");
        return -1;
    }
    Py_ssize_t n;
    const char *text = PyUnicode_AsUTF8AndSize(name, &n); /* a name is no secret */
    if (!text)
        return -1;
    if (n >= SA_NAME_ROOM) {
        PyErr_Format(PyExc_ValueError, "a name is short: at most %d bytes of UTF-8, not %zd",
                     SA_NAME_ROOM - 1, n);
        return -1;
    }
    memcpy(out, text, (size_t)n + 1);
    return 0;
}

int py_name_of(PyObject *name, char out[SA_NAME_ROOM])
{
    out[0] = 0;
    if (!name || Py_IsNone(name))
        return 0;
    if (!PyUnicode_Check(name)) {
        PyErr_Format(PyExc_TypeError, "a name is a str or None, not %R", (PyObject *)Py_TYPE(name));
        return -1;
    }
    PyObject *exact = PyUnicode_FromObject(name);
    int result = exact ? copy_name(exact, out) : -1;
    Py_XDECREF(exact);
    return result;
}

int py_home_set(struct py_home *home, PyObject *require, PyObject *name)
{
    if (require && !Py_IsNone(require) && py_protection_of(require, &home->required) < 0)
        return -1;
    return py_name_of(name, home->name);
}

int py_home_of_keywords(struct py_home *home, const char *call, Py_ssize_t takes,
                        PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    if (takes >= 0 && count != takes) {
        PyErr_Format(PyExc_TypeError, "%s() takes %zd argument%s (%zd given)", call, takes,
                     takes == 1 ? "" : "s", count);
        return -1;
    }
    PyObject *require = NULL, *name = NULL;
    Py_ssize_t more = keywords ? PyTuple_Size(keywords) : 0;
    for (Py_ssize_t i = 0; i < more; i++) {
        PyObject *key = PyTuple_GetItem(keywords, i);
        if (PyUnicode_CompareWithASCIIString(key, "require") == 0) {
            require = args[count + i];
        } else if (PyUnicode_CompareWithASCIIString(key, "name") == 0) {
            name = args[count + i];
        } else {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument %R", call, key);
            return -1;
        }
    }
    return py_home_set(home, require, name);
}

PyObject *py_arena_named(struct py_state *state, PyObject *self, const struct py_home *home)
{
    if ((!*home->name || py_arena_rename(state, self, home->name) == 0) &&
        py_warn_shortfall(state, home->name) == 0)
        return self;
    Py_DECREF(self);
    return NULL;
}

int py_arena_rename(struct py_state *state, PyObject *self, const char *name)
{
    struct sa_why why = {0};
    enum sa_code code = sa_set_name(py_core_of(self), *name ? name : NULL, strlen(name), &why);
    if (code == SA_OK)
        return 0;
    py_fail(state, code, &why);
    return -1;
}

/* ---- its first fill -------------------------------------------------------------- */

/* Of no content it is an arena inside its first fill. */
static PyObject *make(struct py_state *state, size_t size, struct sa_content content,
                      const struct py_home *home)
{
    if (py_import_rest(state) < 0)
        return NULL;
    PyObject *self = py_arena_new(state);
    if (!self)
        return NULL;
    struct sa_why why = {0};
    enum sa_code code;
    if (home->pool) {
        arena_data(self)->pool = py_pool_hold(home->pool);
        code = sa_pool_alloc_of(pool_data(home->pool)->core, py_core_of(self), size, content,
                                home->required, &why);
        if (code != SA_OK)
            py_pool_fail(state, code, &why, home->name);
    } else {
        code = sa_arena_make_of(py_core_of(self), size, home->align, content, home->required, &why);
        if (code != SA_OK)
            py_fail_named(state, code, &why, home->name);
    }
    if (code != SA_OK) {
        Py_DECREF(self);
        return NULL;
    }
    return py_arena_named(state, self, home);
}

PyObject *py_arena_begin(struct py_state *state, size_t size, const struct py_home *home)
{
    return make(state, size, (struct sa_content){.from = NULL}, home);
}

PyObject *py_arena_end(struct py_state *state, PyObject *self, enum sa_code code)
{
    if (code == SA_OK)
        code = sa_fill_end(py_core_of(self), true);
    if (code == SA_OK)
        return self;
    Py_DECREF(self);
    return py_fail(state, code, NULL);
}

int py_size_of(PyObject *number, const char *what, size_t *size)
{
    if (PyBool_Check(number)) {
        PyErr_Format(PyExc_TypeError, "%s is an int, not a bool", what);
        return -1;
    }
    PyObject *index = PyNumber_Index(number);
    if (!index)
        return -1;
    int overflow = 0;
    long long n = PyLong_AsLongLongAndOverflow(index, &overflow);
    Py_DECREF(index);
    if (overflow < 0 || (!overflow && n < 0)) {
        PyErr_Format(PyExc_ValueError, "%s is not negative", what);
        return -1;
    }
    if (overflow || n > PY_SSIZE_T_MAX) {
        PyErr_Format(PyExc_OverflowError, "%s is at most sys.maxsize", what);
        return -1;
    }
    *size = (size_t)n;
    return 0;
}

/* Whether the source is an int, as bytearray tells one: by __index__. An object whose __index__
 * refuses but that has a buffer, as an array of numbers, is none. -1 with an exception. Runs
 * foreign code. */
static int is_size(PyObject *source, size_t *size)
{
    if (PyBool_Check(source)) {
        PyErr_SetString(PyExc_TypeError, "the source is an int or bytes-like, not a bool");
        return -1;
    }
    if (!PyIndex_Check(source))
        return 0;
    if (py_size_of(source, "the size", size) == 0)
        return 1;
    if (!PyErr_ExceptionMatches(PyExc_TypeError) || !PyObject_CheckBuffer(source))
        return -1;
    PyErr_Clear();
    return 0;
}

/* A new Arena of all parts, one after the other. */
static PyObject *of_parts(struct py_state *state, struct py_span *parts, size_t count,
                          const struct py_home *home)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++)
        if (__builtin_add_overflow(total, parts[i].size, &total) ||
            total > (size_t)PY_SSIZE_T_MAX) {
            PyErr_SetString(PyExc_OverflowError, "the parts together are too large");
            return NULL;
        }
    PyObject *self = py_arena_begin(state, total, home);
    if (!self)
        return NULL;
    enum sa_code code = SA_OK;
    size_t at = 0;
    for (size_t i = 0; i < count && code == SA_OK; i++) {
        PY_LOCK(parts[i].lock ? parts[i].lock : self);
        code = py_span_store(py_core_of(self), at, &parts[i]);
        PY_UNLOCK();
        at += parts[i].size;
    }
    return py_arena_end(state, self, code);
}

/* ---- from a size, content, entropy, a buffer to be cleared ----------------------- */

PyObject *py_arena_of(struct py_state *state, PyObject *source, const struct py_home *home)
{
    if (PyBytes_CheckExact(source)) { /* neither a size nor refused, and it stays as it is */
        char *bytes;
        Py_ssize_t n;
        if (PyBytes_AsStringAndSize(source, &bytes, &n) < 0)
            return NULL;
        return make(state, (size_t)n, (struct sa_content){.from = bytes}, home);
    }
    size_t size = 0;
    int sized = is_size(source, &size);
    if (sized < 0)
        return NULL;
    if (sized) {
        PyObject *self = py_arena_begin(state, size, home);
        return self ? py_arena_end(state, self, SA_OK) : NULL; /* born as zero bytes */
    }
    if (!PyObject_CheckBuffer(source) && !PyUnicode_Check(source)) {
        PyErr_Format(PyExc_TypeError, "the source is an int or bytes-like, not %R",
                     (PyObject *)Py_TYPE(source));
        return NULL;
    }
    struct py_span span;
    if (py_span_open(source, false, &span) < 0)
        return NULL;
    PyObject *self = of_parts(state, &span, 1, home);
    py_span_close(&span);
    return self;
}

static enum sa_code random_without_gil(struct sa_arena *core, struct sa_why *why)
{
    enum sa_code code;
    // clang-format off
    Py_BEGIN_ALLOW_THREADS /* nobody knows of the arena yet but its pool, if that closes */
    code = sa_store_random(core, why);
    Py_END_ALLOW_THREADS
    // clang-format on
        return code;
}

PyObject *py_arena_of_random(struct py_state *state, PyObject *number, const struct py_home *home)
{
    size_t size = 0;
    if (py_size_of(number, "the size", &size) < 0)
        return NULL;
    if (size < RANDOM_WITHOUT_GIL)
        return make(state, size, (struct sa_content){.random = true}, home);
    PyObject *self = py_arena_begin(state, size, home);
    if (!self)
        return NULL;
    struct sa_why why = {0};
    enum sa_code code = random_without_gil(py_core_of(self), &why);
    if (code == SA_OK)
        return py_arena_end(state, self, SA_OK);
    Py_DECREF(self);
    return py_fail(state, code, &why);
}

/* The copy and the clearing are one step: of two threads that take the same, one gets it. */
static enum sa_code take(PyObject *self, struct py_span *from, struct sa_why *why)
{
    enum sa_code code;
    PY_LOCK(from->lock);
    code = py_span_store(py_core_of(self), 0, from);
    if (code == SA_OK)
        code = sa_fill_end(py_core_of(self), true);
    if (code == SA_OK)
        code = py_span_clear_locked(from, why); /* failing, the source still has it all */
    PY_UNLOCK();
    return code;
}

PyObject *py_arena_of_taken(struct py_state *state, PyObject *source, const struct py_home *home)
{
    struct py_span span;
    if (py_span_open(source, true, &span) < 0)
        return NULL;
    PyObject *self = py_arena_begin(state, span.size, home);
    struct sa_why why = {0};
    enum sa_code code = self ? take(self, &span, &why) : SA_OK;
    py_span_close(&span);
    if (code == SA_OK)
        return self;
    Py_DECREF(self);
    return py_fail(state, code, &why);
}

PyObject *py_arena_of_arguments(struct py_state *state, PyObject *const *args, size_t count,
                                const struct py_home *home)
{
    struct py_span *parts = PyMem_Calloc(count ? count : 1, sizeof *parts);
    if (!parts)
        return PyErr_NoMemory();
    size_t opened = 0;
    while (opened < count && py_span_open(args[opened], false, &parts[opened]) == 0)
        opened++;
    PyObject *result = opened == count ? of_parts(state, parts, count, home) : NULL;
    while (opened)
        py_span_close(&parts[--opened]);
    PyMem_Free(parts);
    return result;
}
