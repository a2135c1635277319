/* Spans: the bytes that an argument names, and what is done with them.
 *
 * Pages are "lent" between py_span_lend and py_span_return. Meanwhile no Python API is called:
 * it could run foreign code, give up the GIL or wait, while the core counts on a short look.
 * So all of an argument's own code (__index__, its getbuffer) runs before, and errors are
 * raised after.
 */
#ifndef SECALLOC_PY_SPAN_H
#define SECALLOC_PY_SPAN_H

#include "objects/objects.h"

/* The bytes that an argument names. Those of an arena are reached through the core, any others
 * are held as a Py_buffer. The caller keeps the argument alive. */
struct py_span {
    PyObject *arena;      /* the Arena concerned, borrowed; NULL: not ours */
    PyObject *block;      /* the open() block a view belongs to, or NULL */
    bool whole;           /* the Arena itself rather than a view of it */
    size_t start;         /* first byte within the arena */
    size_t size;
    const uint8_t *bytes; /* ours: only while lent */
    PyObject *lock;       /* the object that guards the content, borrowed; NULL: none has to */
    bool held;            /* foreign is to be released */
    Py_buffer foreign;
};

/* Name the range of an Arena, the range of an ArenaView, or bytes that the glue has itself.
 * span->foreign is left as it is: it is large, and is read only where `held` says so. */
static inline void py_span_of_arena(PyObject *arena, struct py_span *span)
{
    span->arena = arena;
    span->block = NULL;
    span->whole = true;
    span->start = 0;
    span->size = py_core_of(arena)->size;
    span->bytes = NULL;
    span->lock = arena;
    span->held = false;
}

static inline void py_span_of_view(PyObject *object, struct py_span *span)
{
    const struct view_data *view = view_data(object);
    span->arena = view->arena;
    span->block = view->block;
    span->whole = false;
    span->start = view->start;
    span->size = view->size;
    span->bytes = NULL;
    span->lock = view->arena;
    span->held = false;
}

static inline void py_span_of_raw(const uint8_t *bytes, size_t size, struct py_span *span)
{
    span->arena = NULL;
    span->block = NULL;
    span->whole = false;
    span->start = 0;
    span->size = size;
    span->bytes = bytes;
    span->lock = NULL;
    span->held = false;
}

/* Name the range of an Arena or ArenaView. False: the object is neither. */
bool py_span_ours(PyObject *object, struct py_span *span);

/* The same for any object with contiguous bytes, with `writable` such that may be written. -1
 * with an exception: it has none. Runs foreign code. py_span_close lets the bytes go. */
int py_span_open(PyObject *object, bool writable, struct py_span *span);
void py_span_close(struct py_span *span);

/* Whether the span is of a block that fills the arena; of a block that only reads. */
static inline bool py_span_fills(const struct py_span *span)
{
    return span->block && block_data(span->block)->mode == MODE_FILL;
}
static inline bool py_span_reads(const struct py_span *span)
{
    return span->block && block_data(span->block)->mode == MODE_READ;
}

/* Between these two calls span->bytes may be read, and nothing of Python may be called. The
 * second one tells whether the bytes were whole all the while. */
SA_MUST_USE enum sa_code py_span_lend(struct py_span *span);
SA_MUST_USE enum sa_code py_span_return(struct py_span *span);

/* Copy a span, whose lock is held, into an arena that is usable or being filled.
 * Where the source was wiped meanwhile, the copy is noise that must not pass for a
 * key: the destination is wiped as well. */
SA_MUST_USE enum sa_code py_span_store(struct sa_arena *to, size_t offset, struct py_span *from);

/* SA_OK unless the arena is closed or of another process, or the view's block has ended. Even
 * to name a range of an arena needs that. */
SA_MUST_USE enum sa_code py_span_reachable(const struct py_span *span);

/* Copy `from` over `to`, a range of an arena that is as long. A copy that covers the whole of a
 * wiped arena makes it usable. -1 with an exception. */
int py_span_write(struct py_state *state, struct py_span *to, struct py_span *from);

/* Overwrite the span with noise; a whole arena becomes wiped. -1 with an exception. The second
 * one raises nothing, and is called with the span's lock held. */
int py_span_clear(struct py_state *state, struct py_span *span);
SA_MUST_USE enum sa_code py_span_clear_locked(struct py_span *span, struct sa_why *why);

/* 1 or 0 whether the object's memory lies in a live arena; -1 with an exception. */
int py_is_secure(PyObject *object);

#endif
