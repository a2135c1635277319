/* Length, items, slices and the buffer protocol, alike for Arena and ArenaView. */
#include "objects/items.h"

#include "objects/errors.h"
#include "objects/move.h"
#include "objects/span.h"
#include "base/wipe.h"

Py_ssize_t py_arena_length(PyObject *self) { return (Py_ssize_t)py_core_of(self)->size; }
Py_ssize_t py_view_length(PyObject *self) { return (Py_ssize_t)view_data(self)->size; }

static int bad_key(PyObject *key)
{
    PyErr_Format(PyExc_TypeError, "indices are integers or slices, not %R",
                 (PyObject *)Py_TYPE(key));
    return -1;
}

/* The slice as a range of `span`, which is narrowed to it. Runs foreign code. */
static int narrow(struct py_span *span, PyObject *slice)
{
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(slice, &start, &stop, &step) < 0)
        return -1;
    if (step != 1) {
        PyErr_SetString(PyExc_ValueError, "slices of secrets have a step of 1");
        return -1;
    }
    span->size = (size_t)PySlice_AdjustIndices((Py_ssize_t)span->size, &start, &stop, step);
    span->start += (size_t)start;
    span->whole = false;
    return 0;
}

/* The same for an index: one byte. Runs foreign code. */
static int narrow_to_item(struct py_span *span, PyObject *key)
{
    Py_ssize_t i = PyNumber_AsSsize_t(key, PyExc_IndexError);
    if (i == -1 && PyErr_Occurred())
        return -1;
    enum sa_code code = py_span_reachable(span);
    if (code != SA_OK) {
        py_fail_of(span->arena, code, NULL);
        return -1;
    }
    if (i < 0)
        i += (Py_ssize_t)span->size;
    if (i < 0 || (size_t)i >= span->size) {
        PyErr_SetString(PyExc_IndexError, "index out of range");
        return -1;
    }
    span->start += (size_t)i;
    span->size = 1;
    span->whole = false;
    return 0;
}

PyObject *py_subscript(PyObject *self, PyObject *key)
{
    struct py_state *state = py_state_of(self);
    struct py_span span;
    (void)py_span_ours(self, &span);
    if (PyIndex_Check(key)) {
        if (narrow_to_item(&span, key) < 0)
            return NULL;
        uint8_t byte = 0;
        enum sa_code code = py_span_lend(&span);
        if (code == SA_OK) {
            byte = span.bytes[0];
            code = py_span_return(&span);
        }
        PyObject *item = code == SA_OK ? PyLong_FromLong(byte) : py_fail_of(span.arena, code, NULL);
        wipe_scratch(&byte, sizeof byte);
        return item;
    }
    if (PySlice_Check(key)) {
        if (narrow(&span, key) < 0)
            return NULL;
        enum sa_code code = py_span_reachable(&span);
        if (code != SA_OK)
            return py_fail_of(span.arena, code, NULL);
        return py_view_new(state, span.arena, span.block, span.start, span.size);
    }
    bad_key(key);
    return NULL;
}

static int byte_of(PyObject *value, uint8_t *byte)
{
    PyObject *number = PyNumber_Index(value); /* TypeError for anything but an int */
    if (!number)
        return -1;
    int overflow = 0;
    long n = PyLong_AsLongAndOverflow(number, &overflow);
    Py_DECREF(number);
    if (overflow || n < 0 || n > 255) {
        PyErr_SetString(PyExc_ValueError, "a byte is in range(256)");
        return -1;
    }
    *byte = (uint8_t)n;
    return 0;
}

int py_ass_subscript(PyObject *self, PyObject *key, PyObject *value)
{
    struct py_state *state = py_state_of(self);
    struct py_span to;
    (void)py_span_ours(self, &to);
    if (!value) {
        PyErr_SetString(PyExc_TypeError, "bytes of an arena cannot be deleted: its size is "
                                         "fixed, clear() overwrites");
        return -1;
    }
    if (PyIndex_Check(key)) {
        uint8_t byte = 0;
        int result = -1;
        /* The index comes last: it looks at the arena, which the value's own code may close. */
        if (byte_of(value, &byte) == 0 && narrow_to_item(&to, key) == 0) {
            struct py_span from;
            py_span_of_raw(&byte, 1, &from);
            result = py_span_write(state, &to, &from);
        }
        wipe_scratch(&byte, sizeof byte);
        return result;
    }
    if (!PySlice_Check(key))
        return bad_key(key);
    struct py_span from;
    if (narrow(&to, key) < 0 || py_span_open(value, false, &from) < 0)
        return -1;
    int result = -1;
    enum sa_code code = py_span_reachable(&to);
    if (code != SA_OK)
        py_fail_of(to.arena, code, NULL);
    else if (from.size != to.size)
        PyErr_Format(PyExc_ValueError, "the size is fixed: cannot put %zu bytes in place of %zu",
                     from.size, to.size);
    else
        result = py_span_write(state, &to, &from);
    py_span_close(&from);
    return result;
}

/* ---- buffer protocol: each type has slots of its own, as no others are called more ---- */

SA_COLD static int refuse(PyObject *arena, enum sa_code code)
{
    py_fail_of(arena, code, NULL);
    return -1;
}

static bool is_there(Py_buffer *buffer)
{
    if (buffer)
        buffer->obj = NULL;
    else
        PyErr_SetString(PyExc_BufferError, "no Py_buffer to fill in");
    return buffer;
}

/* Of bytes that were exported. The buffer names `self`, which for a view is the view: a consumer that
 * asks the exporter for its release slot must find the one that ends this export. */
static int fill_in(PyObject *self, PyObject *arena, uint8_t *bytes, size_t size, bool readonly,
                   Py_buffer *buffer, int flags)
{
    bool to_write = (flags & PyBUF_WRITABLE) == PyBUF_WRITABLE;
    if (!(readonly && to_write) &&
        PyBuffer_FillInfo(buffer, self, bytes, (Py_ssize_t)size, readonly, flags) == 0)
        return 0;
    sa_unexport(py_core_of(arena));
    return readonly && to_write ? refuse(arena, SA_READ_ONLY) : -1;
}

int py_arena_getbuffer(PyObject *self, Py_buffer *buffer, int flags)
{
    struct sa_arena *core = py_core_of(self);
    uint8_t *bytes = NULL;
    if (!is_there(buffer) || py_stand_by(core) < 0)
        return -1;
    bool to_write;
    enum sa_code code = sa_export_whole(core, &bytes, &to_write);
    if (code != SA_OK)
        return refuse(self, code);
    return fill_in(self, self, bytes, core->size, !to_write, buffer, flags);
}

int py_view_getbuffer(PyObject *self, Py_buffer *buffer, int flags)
{
    struct py_span span;
    py_span_of_view(self, &span);
    struct sa_arena *core = py_core_of(span.arena);
    uint8_t *bytes = NULL;
    if (!is_there(buffer) || (!span.block && py_stand_by(core) < 0))
        return -1;
    enum sa_code code = span.block ? py_span_reachable(&span) : SA_OK;
    if (code == SA_OK)
        code = sa_export(core, py_span_fills(&span), &bytes);
    if (code != SA_OK)
        return refuse(span.arena, code);
    bool readonly = py_span_reads(&span) || !sa_may_store(core);
    return fill_in(self, span.arena, bytes + span.start, span.size, readonly, buffer, flags);
}

void py_arena_releasebuffer(PyObject *self, Py_buffer *Py_UNUSED(buffer))
{
    sa_unexport(py_core_of(self));
}

void py_view_releasebuffer(PyObject *self, Py_buffer *Py_UNUSED(buffer))
{
    sa_unexport(py_core_of(view_data(self)->arena));
}
