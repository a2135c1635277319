/* What Arena and ArenaView give away on purpose: their content, and their name. */
#include "objects/reveal.h"

#include "objects/errors.h"
#include "objects/make.h"
#include "objects/span.h"

#include "base/wipe.h"

#include <string.h>

static PyObject *as_bytes(struct py_span *span)
{
    PyObject *copy = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)span->size);
    if (!copy || !span->size) /* the empty one is the interpreter's */
        return copy;
    char *to = PyBytes_AsString(copy);
    enum sa_code code;
    PY_LOCK(span->lock);
    code = py_span_lend(span);
    if (code == SA_OK) {
        memcpy(to, span->bytes, span->size);
        code = py_span_return(span);
        if (code != SA_OK)
            wipe_scratch(to, span->size);
    }
    PY_UNLOCK();
    if (code == SA_OK)
        return copy;
    Py_DECREF(copy);
    return py_fail_of(span->arena, code, NULL);
}

/* In place of an error that has a copy of the content, which is overwritten where nobody else
 * holds it. */
static void raise_position(void)
{
    PyObject *type, *error, *trace;
    PyErr_Fetch(&type, &error, &trace);
    PyErr_NormalizeException(&type, &error, &trace);
    Py_ssize_t at = -1;
    PyObject *copy = PyUnicodeDecodeError_GetObject(error);
    PyObject *encoding = PyUnicodeDecodeError_GetEncoding(error);
    int told = PyUnicodeDecodeError_GetStart(error, &at);
    if (copy && PyBytes_CheckExact(copy) && PyBytes_Size(copy) >= 2 && Py_REFCNT(copy) == 2)
        wipe_scratch(PyBytes_AsString(copy), (size_t)PyBytes_Size(copy));
    Py_XDECREF(copy);
    Py_XDECREF(trace);
    Py_XDECREF(error);
    Py_XDECREF(type);
    if (encoding && told == 0)
        PyErr_Format(PyExc_ValueError, "not %U text: a byte that does not belong at position %zd",
                     encoding, at);
    Py_XDECREF(encoding);
}

static PyObject *as_text(PyObject *self, const char *encoding)
{
    Py_buffer buffer;
    if (PyObject_GetBuffer(self, &buffer, PyBUF_SIMPLE) < 0)
        return NULL;
    PyObject *text = PyUnicode_Decode(buffer.buf, buffer.len, encoding, "strict");
    PyBuffer_Release(&buffer);
    if (!text && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))
        raise_position();
    return text;
}

PyObject *py_reveal(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"encoding", NULL};
    const char *encoding = NULL;
    struct py_span span;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|z:reveal", names, &encoding))
        return NULL;
    if (encoding)
        return as_text(self, encoding);
    (void)py_span_ours(self, &span);
    return as_bytes(&span);
}

const char py_reveal_doc[] =
    "reveal($self, /, encoding=None)\n--\n\n"
    "The content as bytes, or with an encoding as a str: an ordinary copy, which nothing wipes.\n\n"
    "It does what bytes() and str(arena, encoding) do, under a name that a reviewer can\n"
    "search for. Inside a sheltered call the copy lies in the shelter. ValueError: it is\n"
    "not text of that encoding; the error names the position, never the bytes. LookupError:\n"
    "an unknown encoding. Other errors as for reading.";

/* ---- its name --------------------------------------------------------------------------- */

PyObject *py_arena_name(PyObject *self, void *Py_UNUSED(closure))
{
    char name[SA_NAME_ROOM];
    sa_name(py_core_of(self), name);
    return *name ? PyUnicode_FromString(name) : Py_NewRef(Py_None);
}

int py_arena_set_name(PyObject *self, PyObject *name, void *Py_UNUSED(closure))
{
    char text[SA_NAME_ROOM];
    if (!name) {
        PyErr_SetString(PyExc_AttributeError, "a name is not deleted: set it to None");
        return -1;
    }
    return py_name_of(name, text) < 0 ? -1 : py_arena_rename(py_state_of(self), self, text);
}
