/* Spans: the bytes that an argument names, and what is done with them. */
#include "objects/span.h"

#include "objects/errors.h"

bool py_span_ours(PyObject *object, struct py_span *span)
{
    switch (py_kind_of(object)) {
    case PY_ARENA: py_span_of_arena(object, span); return true;
    case PY_VIEW: py_span_of_view(object, span); return true;
    case PY_OTHER: break;
    }
    return false;
}

int py_span_open(PyObject *object, bool writable, struct py_span *span)
{
    if (PyBytes_CheckExact(object) && !writable) { /* which stays as it is without an export */
        py_span_of_raw((const uint8_t *)PyBytes_AsString(object), (size_t)PyBytes_Size(object),
                       span);
        return 0;
    }
    if (py_span_ours(object, span))
        return 0;
    if (PyUnicode_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "a bytes-like object is needed, not a str: "
                                         "secalloc.encode() makes an arena of it");
        return -1;
    }
    py_span_of_raw(NULL, 0, span);
    if (PyObject_GetBuffer(object, &span->foreign, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0)
        return -1;
    span->held = true;
    span->lock = object;
    span->size = (size_t)span->foreign.len;
    span->bytes = span->foreign.buf;
    if (!span->bytes)
        span->bytes = (const uint8_t *)""; /* an empty exporter may have no address */
    return 0;
}

void py_span_close(struct py_span *span)
{
    if (span->held)
        PyBuffer_Release(&span->foreign);
    span->held = false;
}

enum sa_code py_span_reachable(const struct py_span *span)
{
    enum sa_code code = sa_reachable(py_core_of(span->arena));
    return !code && span->block && !py_block_is_open(span->block) ? SA_SEALED : code;
}

enum sa_code py_span_lend(struct py_span *span)
{
    if (!span->arena)
        return SA_OK;
    if (span->block) {
        enum sa_code code = py_span_reachable(span);
        if (code != SA_OK)
            return code;
    }
    enum sa_code code = sa_borrow(py_core_of(span->arena), &span->bytes);
    if (code == SA_OK)
        span->bytes += span->start;
    return code;
}

enum sa_code py_span_return(struct py_span *span)
{
    if (!span->arena)
        return SA_OK;
    span->bytes = NULL;
    return sa_return(py_core_of(span->arena));
}

enum sa_code py_span_store(struct sa_arena *to, size_t offset, struct py_span *from)
{
    enum sa_code code = py_span_lend(from);
    if (code != SA_OK)
        return code;
    code = sa_store(to, offset, from->bytes, from->size);
    enum sa_code back = py_span_return(from);
    if (code != SA_OK || back == SA_OK)
        return code;
    struct sa_why why;
    if (sa_wipe(to, &why) != SA_OK)
        return back; /* closed meanwhile, so nothing is left to pass for anything */
    return back;
}

/* Make a wiped arena usable. The source is looked at first: where it cannot be read no fill is
 * begun, which would spoil another one that is under way. */
static enum sa_code refill(struct sa_arena *to, struct py_span *from)
{
    uintptr_t at = sa_address_of(to);
    if (!from->arena && from->size && (uintptr_t)from->bytes < at + to->size &&
        (uintptr_t)from->bytes + from->size > at)
        return SA_WIPED; /* a memoryview of the arena itself: that is its noise */
    enum sa_code code = py_span_lend(from);
    if (code == SA_OK)
        code = py_span_return(from);
    struct sa_why why;
    if (code == SA_OK)
        code = sa_fill_begin(to, &why);
    if (code != SA_OK)
        return code;
    code = py_span_store(to, 0, from);
    enum sa_code end = sa_fill_end(to, code == SA_OK);
    return code != SA_OK ? code : end;
}

int py_span_write(struct py_state *state, struct py_span *to, struct py_span *from)
{
    struct sa_arena *core = py_core_of(to->arena);
    enum sa_code code;
    PY_LOCK_BOTH(to->arena, from->lock ? from->lock : to->arena);
    code = py_span_reachable(to);
    /* The core would take the bytes inside any open block, but only the block's own views may
     * write there. */
    bool fills = py_span_fills(to);
    if (code == SA_OK && py_span_reads(to))
        code = SA_READ_ONLY;
    if (code == SA_OK && !fills && sa_state_of(core) == SA_IS_WIPED)
        code = sa_may_store(core) ? SA_WIPED : SA_READ_ONLY;
    if (code == SA_OK)
        code = py_span_store(core, to->start, from);
    if (code == SA_WIPED && !fills && to->start == 0 && to->size == core->size)
        code = refill(core, from);
    PY_UNLOCK_BOTH();
    if (code == SA_OK)
        return 0;
    if (from->arena && from->arena != to->arena)
        py_fail(state, code, NULL); /* of either */
    else
        py_fail_of(to->arena, code, NULL);
    return -1;
}

enum sa_code py_span_clear_locked(struct py_span *span, struct sa_why *why)
{
    if (!span->arena)
        return sa_clear(span->foreign.buf, span->size, why);
    struct sa_arena *core = py_core_of(span->arena);
    if (span->whole)
        return sa_wipe(core, why);
    enum sa_code code = py_span_reads(span) ? SA_READ_ONLY : py_span_reachable(span);
    if (code != SA_OK)
        return code;
    if (!py_span_fills(span) && sa_state_of(core) == SA_IS_WIPED)
        return SA_WIPED; /* another block fills it, or none does */
    return sa_store_noise(core, span->start, span->size);
}

int py_span_clear(struct py_state *state, struct py_span *span)
{
    struct sa_why why = {0};
    enum sa_code code;
    PY_LOCK(span->lock);
    code = py_span_clear_locked(span, &why);
    PY_UNLOCK();
    if (code == SA_OK)
        return 0;
    if (span->arena)
        py_fail_of(span->arena, code, &why);
    else
        py_fail(state, code, &why);
    return -1;
}

/* ---- is_secure --------------------------------------------------------------- */

static int is_live(PyObject *arena)
{
    enum sa_state state = sa_state_of(py_core_of(arena));
    return state != SA_IS_CLOSED && state != SA_IS_FORKED;
}

/* From the lowest to the highest byte that any index reaches. */
static bool lies_in_arena(const Py_buffer *buffer)
{
    if (buffer->len == 0)
        return buffer->buf && sa_is_secure(buffer->buf, 0);
    Py_ssize_t low = 0;
    Py_ssize_t high = buffer->strides ? buffer->itemsize : buffer->len;
    for (int i = 0; buffer->strides && i < buffer->ndim; i++) {
        Py_ssize_t reach = (buffer->shape[i] - 1) * buffer->strides[i];
        if (reach < 0)
            low += reach;
        else
            high += reach;
    }
    return sa_is_secure((const char *)buffer->buf + low, (size_t)(high - low));
}

int py_is_secure(PyObject *object)
{
    struct py_span span;
    if (py_span_ours(object, &span))
        return is_live(span.arena);
    if (PyMemoryView_Check(object)) {
        /* The exporter answers, so that an empty memoryview is judged by what it came from
         * rather than by an address next to it. */
        PyObject *exporter = PyObject_GetAttrString(object, "obj");
        if (!exporter)
            return -1;
        int answer = py_span_ours(exporter, &span) ? is_live(span.arena) : -1;
        Py_DECREF(exporter);
        if (answer >= 0)
            return answer;
    }
    Py_buffer buffer;
    if (PyObject_GetBuffer(object, &buffer, PyBUF_STRIDED_RO) < 0)
        return -1;
    bool answer = lies_in_arena(&buffer);
    PyBuffer_Release(&buffer);
    return answer;
}
