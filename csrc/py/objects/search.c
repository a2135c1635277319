/* Finding and stripping of Arena and ArenaView, as bytes do it: what is left is a view. */
#include "objects/search.h"

#include "objects/query.h"

/* ---- stripping -------------------------------------------------------------------------- */

static PyObject *strip(PyObject *self, PyObject *args, const char *format, bool left, bool right)
{
    PyObject *set = Py_None;
    struct py_span text, what;
    struct py_query q = {.question = STRIP, .left = left, .right = right};
    if (!PyArg_ParseTuple(args, format, &set))
        return NULL;
    if (Py_IsNone(set))
        py_span_of_blanks(&what);
    else if (py_span_open(set, false, &what) < 0)
        return NULL;
    (void)py_span_ours(self, &text);
    int result = py_ask(&text, &what, &q);
    py_span_close(&what);
    return result < 0 ? NULL : py_view_of_part(self, &text, q.part.start, q.part.end);
}

PyObject *py_strip(PyObject *self, PyObject *args)
{
    return strip(self, args, "|O:strip", true, true);
}
PyObject *py_lstrip(PyObject *self, PyObject *args)
{
    return strip(self, args, "|O:lstrip", true, false);
}
PyObject *py_rstrip(PyObject *self, PyObject *args)
{
    return strip(self, args, "|O:rstrip", false, true);
}

static PyObject *without(PyObject *self, PyObject *edge, enum py_question question)
{
    struct py_span text, what;
    struct py_query q = {.question = question};
    if (py_span_open(edge, false, &what) < 0)
        return NULL;
    (void)py_span_ours(self, &text);
    int result = py_ask(&text, &what, &q);
    size_t less = result == 0 && q.answer ? what.size : 0;
    py_span_close(&what);
    if (result < 0)
        return NULL;
    return question == STARTS ? py_view_of_part(self, &text, less, text.size)
                              : py_view_of_part(self, &text, 0, text.size - less);
}

PyObject *py_removeprefix(PyObject *self, PyObject *prefix)
{
    return without(self, prefix, STARTS);
}
PyObject *py_removesuffix(PyObject *self, PyObject *suffix) { return without(self, suffix, ENDS); }

/* ---- finding ---------------------------------------------------------------------------- */

/* One end of a range, as slices have it. -1 with an exception. Runs foreign code. */
static int edge_of(PyObject *edge, Py_ssize_t *out)
{
    if (Py_IsNone(edge))
        return 0;
    if (!PyIndex_Check(edge)) {
        PyErr_SetString(PyExc_TypeError, "start and end are integers or None");
        return -1;
    }
    *out = PyNumber_AsSsize_t(edge, NULL); /* one that is too large is at the end */
    return *out == -1 && PyErr_Occurred() ? -1 : 0;
}

/* Narrow the text to a range. False: nothing is found there, not even nothing. */
static bool narrow(struct py_span *text, Py_ssize_t start, Py_ssize_t end)
{
    Py_ssize_t size = (Py_ssize_t)text->size;
    start = start < 0 ? start + size : start;
    end = end > size ? size : end < 0 ? end + size : end;
    start = start < 0 ? 0 : start;
    end = end < 0 ? 0 : end;
    if (start > end)
        return false;
    text->start += (size_t)start;
    text->size = (size_t)(end - start);
    return true;
}

/* What is looked for: bytes-like, or an int for a byte, which lies in *byte. -1 with an
 * exception. Runs foreign code. */
static int open_pattern(PyObject *object, uint8_t *byte, struct py_span *what)
{
    if (PyObject_CheckBuffer(object) || !PyIndex_Check(object))
        return py_span_open(object, false, what);
    Py_ssize_t number = PyNumber_AsSsize_t(object, NULL);
    if (number == -1 && PyErr_Occurred())
        return -1;
    if (number < 0 || number > 255) {
        PyErr_SetString(PyExc_ValueError, "a byte is in range(256)");
        return -1;
    }
    *byte = (uint8_t)number;
    py_span_of_raw(byte, 1, what);
    return 0;
}

/* The answer in q->answer; SEARCH_NONE: there is none. -1 with an exception. */
static int look(PyObject *self, PyObject *args, const char *format, struct py_query *q)
{
    PyObject *pattern, *first = Py_None, *last = Py_None;
    Py_ssize_t start = 0, end = PY_SSIZE_T_MAX;
    struct py_span text, what;
    uint8_t byte;
    if (!PyArg_ParseTuple(args, format, &pattern, &first, &last) || edge_of(first, &start) < 0 ||
        edge_of(last, &end) < 0 || open_pattern(pattern, &byte, &what) < 0)
        return -1;
    (void)py_span_ours(self, &text);
    size_t before = text.start;
    bool there = narrow(&text, start, end);
    if (!there)
        text.size = 0; /* it is asked all the same, for its errors */
    int result = py_ask(&text, &what, q);
    py_span_close(&what);
    if (!there)
        q->answer = q->question == COUNT ? 0 : SEARCH_NONE;
    else if (result == 0 && q->question != COUNT && q->answer != SEARCH_NONE)
        q->answer += text.start - before;
    return result;
}

static PyObject *find(PyObject *self, PyObject *args, const char *format, enum py_question question,
                      bool must)
{
    struct py_query q = {.question = question};
    if (look(self, args, format, &q) < 0)
        return NULL;
    if (q.answer != SEARCH_NONE)
        return PyLong_FromSize_t(q.answer);
    if (!must)
        return PyLong_FromLong(-1);
    PyErr_SetString(PyExc_ValueError, "what is looked for is not there");
    return NULL;
}

PyObject *py_find(PyObject *self, PyObject *args)
{
    return find(self, args, "O|OO:find", FIRST, false);
}
PyObject *py_rfind(PyObject *self, PyObject *args)
{
    return find(self, args, "O|OO:rfind", LAST, false);
}
PyObject *py_index(PyObject *self, PyObject *args)
{
    return find(self, args, "O|OO:index", FIRST, true);
}
PyObject *py_rindex(PyObject *self, PyObject *args)
{
    return find(self, args, "O|OO:rindex", LAST, true);
}
PyObject *py_count(PyObject *self, PyObject *args)
{
    return find(self, args, "O|OO:count", COUNT, false);
}

/* 1 or 0; -1 with an exception. */
static int has_edge(PyObject *self, PyObject *edge, Py_ssize_t start, Py_ssize_t end,
                    enum py_question question)
{
    struct py_span text, what;
    struct py_query q = {.question = question};
    if (py_span_open(edge, false, &what) < 0)
        return -1;
    (void)py_span_ours(self, &text);
    bool there = narrow(&text, start, end);
    int result = py_ask(&text, &what, &q);
    py_span_close(&what);
    return result < 0 ? -1 : there && q.answer;
}

static PyObject *edges(PyObject *self, PyObject *args, const char *format,
                       enum py_question question)
{
    PyObject *edge, *first = Py_None, *last = Py_None;
    Py_ssize_t start = 0, end = PY_SSIZE_T_MAX;
    if (!PyArg_ParseTuple(args, format, &edge, &first, &last) || edge_of(first, &start) < 0 ||
        edge_of(last, &end) < 0)
        return NULL;
    if (!PyTuple_Check(edge)) {
        int has = has_edge(self, edge, start, end, question);
        return has < 0 ? NULL : PyBool_FromLong(has);
    }
    for (Py_ssize_t i = 0; i < PyTuple_Size(edge); i++) {
        int has = has_edge(self, PyTuple_GetItem(edge, i), start, end, question);
        if (has)
            return has < 0 ? NULL : PyBool_FromLong(1);
    }
    Py_RETURN_FALSE;
}

PyObject *py_startswith(PyObject *self, PyObject *args)
{
    return edges(self, args, "O|OO:startswith", STARTS);
}
PyObject *py_endswith(PyObject *self, PyObject *args)
{
    return edges(self, args, "O|OO:endswith", ENDS);
}

/* ---- docstrings ------------------------------------------------------------------------- */

#define STRIPS \
    "\n\nWithout an argument, or with None: ASCII white space. No copy is made; the time " \
    "depends\n" \
    "on how much there is. TypeError: no bytes-like object; other errors as for reading."

const char py_strip_doc[] = "strip($self, bytes=None, /)\n--\n\n"
                            "A view without the given bytes at both ends, as bytes.strip." STRIPS;
const char py_lstrip_doc[] =
    "lstrip($self, bytes=None, /)\n--\n\n"
    "A view without the given bytes at the beginning, as bytes.lstrip." STRIPS;
const char py_rstrip_doc[] = "rstrip($self, bytes=None, /)\n--\n\n"
                             "A view without the given bytes at the end, as bytes.rstrip." STRIPS;
const char py_removeprefix_doc[] =
    "removeprefix($self, prefix, /)\n--\n\n"
    "A view without those bytes where it begins with them, else of the whole, as\n"
    "bytes.removeprefix.\n\nNo copy is made. TypeError: no bytes-like object.";
const char py_removesuffix_doc[] =
    "removesuffix($self, suffix, /)\n--\n\n"
    "A view without those bytes where it ends with them, else of the whole, as\n"
    "bytes.removesuffix.\n\nNo copy is made. TypeError: no bytes-like object.";

#define FINDS \
    "\n\nTakes a bytes-like object or an int, for one byte; start and end are as in a slice. " \
    "The\n" \
    "time depends on where it is and how nearly other bytes match. "

const char py_find_doc[] = "find($self, sub, start=None, end=None, /)\n--\n\n"
                           "Where those bytes begin the first time, as bytes.find; -1: they are\n"
                           "not there." FINDS "TypeError: neither.";
const char py_rfind_doc[] = "rfind($self, sub, start=None, end=None, /)\n--\n\n"
                            "Where those bytes begin the last time, as bytes.rfind; -1: they are\n"
                            "not there." FINDS "TypeError: neither.";
const char py_index_doc[] = "index($self, sub, start=None, end=None, /)\n--\n\n"
                            "Where those bytes begin the first time, as bytes.index." FINDS
                            "ValueError: they are\nnot there.";
const char py_rindex_doc[] = "rindex($self, sub, start=None, end=None, /)\n--\n\n"
                             "Where those bytes begin the last time, as bytes.rindex." FINDS
                             "ValueError: they are\nnot there.";
const char py_count_doc[] = "count($self, sub, start=None, end=None, /)\n--\n\n"
                            "How often those bytes are there without an overlap, as\n"
                            "bytes.count." FINDS "TypeError: neither.";

#define EDGES \
    "\n\nTakes a bytes-like object or a tuple of such, of which one will do; start and end are " \
    "as\n" \
    "in a slice. The time depends on the lengths alone. TypeError: something else."

const char py_startswith_doc[] = "startswith($self, prefix, start=None, end=None, /)\n--\n\n"
                                 "Whether it begins with those bytes, as bytes.startswith." EDGES;
const char py_endswith_doc[] = "endswith($self, suffix, start=None, end=None, /)\n--\n\n"
                               "Whether it ends with those bytes, as bytes.endswith." EDGES;
