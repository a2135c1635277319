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

/* The bytes an argument names. Ours are reached through the core, anyone else's
 * are held as a Py_buffer. The caller keeps the argument alive. */
struct py_span {
    PyObject *arena;      /* the Arena concerned, borrowed; NULL: not ours */
    PyObject *block;      /* the open() block a view belongs to, or NULL */
    bool whole;           /* the Arena itself rather than a view of it */
    size_t start;         /* first byte within the arena */
    size_t size;
    const uint8_t *bytes; /* ours: only while lent */
    PyObject *lock;       /* what guards the content, borrowed; NULL: nothing has to */
    bool held;            /* foreign is to be released */
    Py_buffer foreign;
};

/* Name the range of an Arena, of an ArenaView, or bytes of our own making.
 * span->foreign is left as it is: it is large, and read only where it is held. */
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

/* The same for anything with contiguous bytes. -1 with an exception: it has none,
 * or with `writable` none that may be written. Runs foreign code. */
int py_span_open(PyObject *object, bool writable, struct py_span *span);
void py_span_close(struct py_span *span);

/* Whether the span is for the one who fills the arena / may only be read. */
static inline bool py_span_fills(const struct py_span *span)
{
    return span->block && block_data(span->block)->mode == MODE_FILL;
}
static inline bool py_span_reads(const struct py_span *span)
{
    return span->block && block_data(span->block)->mode == MODE_READ;
}

/* Between the two span->bytes may be read, and nothing of Python called. Return
 * tells whether what was read was whole. */
SA_MUST_USE enum sa_code py_span_lend(struct py_span *span);
SA_MUST_USE enum sa_code py_span_return(struct py_span *span);

/* Copy a span, whose lock is held, into an arena that is usable or being filled.
 * Where the source was wiped meanwhile, the copy is noise that must not pass for a
 * key: the destination is wiped as well. */
SA_MUST_USE enum sa_code py_span_store(struct sa_arena *to, size_t offset,
                                       struct py_span *from);

/* SA_OK unless the arena is closed, of another process, or the view's block has
 * ended: what even naming a range of it needs. */
SA_MUST_USE enum sa_code py_span_reachable(const struct py_span *span);

/* Copy `from` over `to`, a range of an arena and as long. Whatever covers the
 * whole arena revives a wiped one. -1 with an exception. */
int py_span_write(struct py_state *state, struct py_span *to, struct py_span *from);

/* Overwrite with noise; a whole arena becomes wiped. The second one, which raises
 * nothing, is called with the span's lock held. -1 with an exception. */
int py_span_clear(struct py_state *state, struct py_span *span);
SA_MUST_USE enum sa_code py_span_clear_locked(struct py_span *span, struct sa_why *why);

/* 1 or 0 whether the object's memory lies in a live arena; -1 with an exception. */
int py_is_secure(PyObject *object);

#endif
