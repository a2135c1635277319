/* Functions that turn text into the bytes it stands for, and back, within arenas. */
#include "functions/functions.h"
#include "objects/errors.h"
#include "objects/make.h"
#include "objects/span.h"

#include "base/codec.h"

/* ---- decoding ---------------------------------------------------------------- */

/* Each character of a str becomes a byte. One past ASCII becomes a byte that no codec knows.
 * They are read one by one: a call that gives all at once would leave a copy inside the str. */
static void put_ascii(PyObject *text, size_t n, uint8_t *to)
{
    for (size_t i = 0; i < n; i++) {
        Py_UCS4 c = PyUnicode_ReadChar(text, (Py_ssize_t)i);
        to[i] = (uint8_t)(c | (0u - (Py_UCS4)(c >> 7 != 0)));
    }
}

/* A new Arena inside its fill, which holds the text, and *bytes, exported. */
static PyObject *stage(struct py_state *state, PyObject *text, const struct py_home *home,
                       uint8_t **bytes, size_t *n)
{
    bool is_str = PyUnicode_Check(text);
    struct py_span span;
    if (is_str)
        *n = (size_t)PyUnicode_GetLength(text);
    else if (py_span_open(text, false, &span) < 0)
        return NULL;
    else
        *n = span.size;
    PyObject *self = py_arena_begin(state, *n, home);
    enum sa_code code = SA_OK;
    if (self && !is_str) {
        PY_LOCK(span.lock ? span.lock : self);
        code = py_span_store(py_core_of(self), 0, &span);
        PY_UNLOCK();
    }
    if (self && code == SA_OK) {
        code = sa_export(py_core_of(self), true, bytes);
        if (code == SA_OK && is_str)
            put_ascii(text, *n, *bytes);
    }
    if (!is_str)
        py_span_close(&span);
    if (code == SA_OK)
        return self;
    Py_DECREF(self);
    return py_fail(state, code, NULL);
}

/* The arena that `decode` makes of the text. */
static PyObject *decoded(struct py_state *state, PyObject *text, const struct py_home *home,
                         const char *what, size_t (*decode)(uint8_t *, size_t, size_t *))
{
    uint8_t *bytes = NULL;
    size_t n = 0, size = 0;
    PyObject *staged = stage(state, text, home, &bytes, &n);
    if (!staged)
        return NULL;
    size_t bad = decode(bytes, n, &size);
    PyObject *self = NULL;
    enum sa_code code = SA_OK;
    if (bad == SIZE_MAX) {
        self = py_arena_begin(state, size, home);
        if (self)
            code = sa_store(py_core_of(self), 0, bytes, size);
    }
    sa_unexport(py_core_of(staged));
    /* A wipe meanwhile left noise, which must not pass for a secret, nor for bad text. */
    enum sa_code end = sa_fill_end(py_core_of(staged), true);
    Py_DECREF(staged);
    if (end != SA_OK || (self && code != SA_OK)) {
        Py_XDECREF(self);
        return self || bad != SIZE_MAX ? py_fail(state, end != SA_OK ? end : code, NULL) : NULL;
    }
    if (bad == SIZE_MAX)
        return self ? py_arena_end(state, self, SA_OK) : NULL;
    if (bad == n)
        PyErr_Format(PyExc_ValueError, "%s text ends too early, after %zu characters", what, n);
    else
        PyErr_Format(PyExc_ValueError,
                     "not %s text: a character that does not belong at "
                     "position %zu",
                     what, bad);
    return NULL;
}

static size_t plain_base64(uint8_t *text, size_t n, size_t *size)
{
    return codec_base64_decode(text, n, false, size);
}

static size_t url_base64(uint8_t *text, size_t n, size_t *size)
{
    return codec_base64_decode(text, n, true, size);
}

static PyObject *fromhex(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    struct py_home home = py_own_pages;
    if (py_home_of_call(&home, "fromhex", 1, args, count, names) < 0)
        return NULL;
    return decoded(py_state_of_module(module), args[0], &home, "hexadecimal", codec_hex_decode);
}

static PyObject *b64decode(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "urlsafe", "require", "name", NULL};
    PyObject *text, *require = NULL, *name = NULL;
    struct py_home home = py_own_pages;
    int url = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$pOO:b64decode", names, &text, &url, &require,
                                     &name) ||
        py_home_set(&home, require, name) < 0)
        return NULL;
    return decoded(py_state_of_module(module), text, &home, "base64",
                   url ? url_base64 : plain_base64);
}

/* ---- encoding ---------------------------------------------------------------- */

enum coding { HEX, BASE64, BASE64_URL };

/* The source is stored at the end of the arena, and becomes text where it lies. No wipe can
 * fall behind that. */
static PyObject *encoded(struct py_state *state, PyObject *source, const struct py_home *home,
                         enum coding coding)
{
    struct py_span span;
    if (py_span_open(source, false, &span) < 0)
        return NULL;
    size_t n = span.size, size = 0;
    bool fits = coding == HEX ? codec_hex_size(n, &size) : codec_base64_size(n, &size);
    PyObject *self = NULL;
    if (!fits || size > (size_t)PY_SSIZE_T_MAX)
        PyErr_SetString(PyExc_OverflowError, "the text would be too large");
    else
        self = py_arena_begin(state, size, home);
    enum sa_code code = SA_OK;
    if (self) {
        PY_LOCK(span.lock ? span.lock : self);
        code = py_span_store(py_core_of(self), size - n, &span);
        PY_UNLOCK();
    }
    py_span_close(&span);
    if (!self)
        return NULL;
    uint8_t *bytes;
    if (code == SA_OK)
        code = sa_export(py_core_of(self), true, &bytes);
    if (code == SA_OK) {
        if (coding == HEX)
            codec_hex_encode(bytes, size, n);
        else
            codec_base64_encode(bytes, size, n, coding == BASE64_URL);
        sa_unexport(py_core_of(self));
    }
    return py_arena_end(state, self, code);
}

static PyObject *hexlify(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    struct py_home home = py_own_pages;
    if (py_home_of_call(&home, "hexlify", 1, args, count, names) < 0)
        return NULL;
    return encoded(py_state_of_module(module), args[0], &home, HEX);
}

static PyObject *b64encode(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "urlsafe", "require", "name", NULL};
    PyObject *source, *require = NULL, *name = NULL;
    struct py_home home = py_own_pages;
    int url = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$pOO:b64encode", names, &source, &url,
                                     &require, &name) ||
        py_home_set(&home, require, name) < 0)
        return NULL;
    return encoded(py_state_of_module(module), source, &home, url ? BASE64_URL : BASE64);
}

/* ---- UTF-8 ------------------------------------------------------------------- */

/* Bytes that a character takes in UTF-8. */
static size_t width_of(Py_UCS4 c) { return (size_t)1 + (c > 0x7f) + (c > 0x7ff) + (c > 0xffff); }

static void put_utf8(PyObject *text, size_t n, uint8_t *to)
{
    for (size_t i = 0; i < n; i++) {
        Py_UCS4 c = PyUnicode_ReadChar(text, (Py_ssize_t)i);
        size_t more = width_of(c) - 1;
        *to++ = (uint8_t)(more ? (0xff00u >> (more + 1) & 0xff) | c >> 6 * more : c);
        while (more--)
            *to++ = (uint8_t)(0x80 | (c >> 6 * more & 0x3f));
    }
}

static PyObject *encode(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    struct py_state *state = py_state_of_module(module);
    struct py_home home = py_own_pages;
    if (py_home_of_call(&home, "encode", 1, args, count, names) < 0)
        return NULL;
    PyObject *text = args[0];
    if (!PyUnicode_Check(text)) {
        PyErr_Format(PyExc_TypeError, "encode() takes a str, not %R", (PyObject *)Py_TYPE(text));
        return NULL;
    }
    size_t n = (size_t)PyUnicode_GetLength(text), size = 0;
    for (size_t i = 0; i < n; i++) {
        Py_UCS4 c = PyUnicode_ReadChar(text, (Py_ssize_t)i);
        if (c >= 0xd800 && c <= 0xdfff) { /* UnicodeEncodeError would carry the text */
            PyErr_Format(PyExc_ValueError, "a lone surrogate at position %zu has no UTF-8", i);
            return NULL;
        }
        if (__builtin_add_overflow(size, width_of(c), &size) || size > (size_t)PY_SSIZE_T_MAX) {
            PyErr_SetString(PyExc_OverflowError, "the text is too large");
            return NULL;
        }
    }
    PyObject *self = py_arena_begin(state, size, &home);
    if (!self)
        return NULL;
    uint8_t *bytes;
    enum sa_code code = sa_export(py_core_of(self), true, &bytes);
    if (code == SA_OK) {
        put_utf8(text, n, bytes);
        sa_unexport(py_core_of(self));
    }
    return py_arena_end(state, self, code);
}

PyMethodDef py_codec_functions[] = {
    {"fromhex", PY_FASTCALL(fromhex),
     PyDoc_STR(
         "fromhex(text, /, *, require=None, name=None)\n--\n\n"
         "A new Arena of the bytes that hexadecimal text stands for, as bytes.fromhex.\n\n"
         "Takes a str or a bytes-like object, which stays as it is. ASCII white space may stand\n"
         "between the bytes. The time depends on the length and on where white space is.\n"
         "ValueError: other text; the error names the position, never the character.")},
    {"b64decode", (PyCFunction)(void (*)(void))b64decode, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR(
         "b64decode(text, /, *, urlsafe=False, require=None, name=None)\n--\n\n"
         "A new Arena of the bytes that base64 text stands for, as base64.b64decode.\n\n"
         "Takes a str or a bytes-like object, which stays as it is. ASCII white space may stand\n"
         "anywhere, as line ends do in files. Exact padding is needed; with urlsafe, - and _\n"
         "stand for + and /, and the padding may be missing, as in tokens (RFC 4648, section 5).\n"
         "The time depends on the length and on where white space and padding are. ValueError:\n"
         "other text; the error names the position, never the character.")},
    {"encode", PY_FASTCALL(encode),
     PyDoc_STR(
         "encode(text, /, *, require=None, name=None)\n--\n\n"
         "A new Arena of a str's UTF-8, as str.encode.\n\n"
         "It is written straight into the arena, and no copy is cached in the str. The str\n"
         "itself is a copy, and stays. The time depends on how many bytes each character takes.\n"
         "ValueError: a lone surrogate; the error names the position alone. TypeError: not a\n"
         "str.")},
    {"hexlify", PY_FASTCALL(hexlify),
     PyDoc_STR(
         "hexlify(data, /, *, require=None, name=None)\n--\n\n"
         "A new Arena of the hexadecimal text of a bytes-like object, as binascii.hexlify.\n\n"
         "Small letters; constant-time. TypeError: a str, or no buffer.")},
    {"b64encode", (PyCFunction)(void (*)(void))b64encode, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("b64encode(data, /, *, urlsafe=False, require=None, name=None)\n--\n\n"
               "A new Arena of the base64 text of a bytes-like object, as base64.b64encode.\n\n"
               "With padding, without line ends; with urlsafe, - and _ stand for + and /.\n"
               "Constant-time. TypeError: a str, or no buffer. RFC 4648.")},
    {NULL, NULL, 0, NULL},
};
