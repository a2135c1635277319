/* Splitting of Arena and ArenaView, as bytes do it: the parts are views. */
#include "objects/query.h"
#include "objects/search.h"

/* Parts that there is room for at first. */
enum { FEW = 16 };

/* Ask until there is room for all parts. The caller frees q->parts. -1 with an exception. */
static int ask_for_parts(struct py_span *text, struct py_span *what, struct py_query *q)
{
    q->answer = FEW;
    do { /* again where another thread put more separators there meanwhile */
        PyMem_Free(q->parts);
        q->room = q->answer;
        if (!(q->parts = PyMem_Calloc(q->room, sizeof *q->parts))) {
            PyErr_NoMemory();
            return -1;
        }
        if (py_ask(text, what, q) < 0)
            return -1;
    } while (q->answer > q->room);
    return 0;
}

static PyObject *list_of_parts(PyObject *self, const struct py_span *text, const struct py_query *q)
{
    PyObject *list = PyList_New((Py_ssize_t)q->answer);
    for (size_t i = 0; list && i < q->answer; i++) {
        struct search_part part = q->parts[q->backwards ? q->answer - 1 - i : i];
        PyObject *view = py_view_of_part(self, text, part.start, part.end);
        if (!view || PyList_SetItem(list, (Py_ssize_t)i, view) < 0) /* which takes the view */
            Py_CLEAR(list);
    }
    return list;
}

static int refuse_empty(const struct py_span *separator)
{
    if (separator->size)
        return 0;
    PyErr_SetString(PyExc_ValueError, "the separator is empty");
    return -1;
}

static PyObject *split(PyObject *self, PyObject *args, PyObject *kwargs, const char *format,
                       bool backwards)
{
    static char *names[] = {"sep", "maxsplit", NULL};
    PyObject *separator = Py_None, *list = NULL;
    Py_ssize_t most = -1;
    struct py_span text, what;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, names, &separator, &most))
        return NULL;
    struct py_query q = {.question = SPLIT, .backwards = backwards};
    q.most = most < 0 ? SIZE_MAX : (size_t)most;
    if (Py_IsNone(separator)) {
        q.question = SPLIT_BLANKS;
        py_span_of_blanks(&what);
    } else if (py_span_open(separator, false, &what) < 0) {
        return NULL;
    }
    (void)py_span_ours(self, &text);
    if (refuse_empty(&what) == 0 && ask_for_parts(&text, &what, &q) == 0)
        list = list_of_parts(self, &text, &q);
    PyMem_Free(q.parts);
    py_span_close(&what);
    return list;
}

PyObject *py_split(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return split(self, args, kwargs, "|On:split", false);
}
PyObject *py_rsplit(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return split(self, args, kwargs, "|On:rsplit", true);
}

/* Three views: before the separator, itself, behind it. Where it is not there all is in the first,
 * or with `backwards` in the last. */
static PyObject *partition(PyObject *self, PyObject *separator, bool backwards)
{
    struct py_span text, what;
    struct py_query q = {.question = backwards ? LAST : FIRST};
    if (py_span_open(separator, false, &what) < 0)
        return NULL;
    (void)py_span_ours(self, &text);
    int result = refuse_empty(&what) < 0 ? -1 : py_ask(&text, &what, &q);
    size_t start = q.answer, end = start + what.size;
    py_span_close(&what);
    if (result < 0)
        return NULL;
    if (q.answer == SEARCH_NONE)
        start = end = backwards ? 0 : text.size;
    PyObject *before = py_view_of_part(self, &text, 0, start);
    PyObject *found = py_view_of_part(self, &text, start, end);
    PyObject *behind = py_view_of_part(self, &text, end, text.size);
    PyObject *three = before && found && behind ? PyTuple_Pack(3, before, found, behind) : NULL;
    Py_XDECREF(behind);
    Py_XDECREF(found);
    Py_XDECREF(before);
    return three;
}

PyObject *py_partition(PyObject *self, PyObject *separator)
{
    return partition(self, separator, false);
}
PyObject *py_rpartition(PyObject *self, PyObject *separator)
{
    return partition(self, separator, true);
}

/* ---- docstrings ------------------------------------------------------------------------- */

#define SPLITS \
    "\n\nsep is a bytes-like object, or None for runs of ASCII white space; at most maxsplit " \
    "times,\n" \
    "-1: as often as it is there. No copy is made; the time depends on where it is. ValueError:\n" \
    "an empty sep. TypeError: no bytes-like object. Other errors as for reading."

const char py_split_doc[] = "split($self, /, sep=None, maxsplit=-1)\n--\n\n"
                            "A list of views, of what is between the separators, as\n"
                            "bytes.split." SPLITS;
const char py_rsplit_doc[] = "rsplit($self, /, sep=None, maxsplit=-1)\n--\n\n"
                             "A list of views, of what is between the separators, counted from\n"
                             "the end, as bytes.rsplit." SPLITS;

#define PARTS \
    "\n\nNo copy is made; the time depends on where it is. ValueError: an empty separator.\n" \
    "TypeError: no bytes-like object."

const char py_partition_doc[] =
    "partition($self, sep, /)\n--\n\n"
    "Three views: of what is before the separator, of it, and of what is behind it, as\n"
    "bytes.partition. Where it is not there the first is of all." PARTS;
const char py_rpartition_doc[] =
    "rpartition($self, sep, /)\n--\n\n"
    "Three views: of what is before the last separator, of it, and of what is behind it, as\n"
    "bytes.rpartition. Where it is not there the last is of all." PARTS;
