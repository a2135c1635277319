/* The type of a block: what Arena.open() and Pool.open() return. */
#include "objects/errors.h"
#include "objects/move.h"
#include "objects/objects.h"
#include "types/types.h"

/* The mode that a text names. -1 with an exception. */
static int mode_of(PyObject *text, enum block_mode *mode)
{
    if (!PyUnicode_Check(text)) {
        PyErr_Format(PyExc_TypeError, "mode is a str, not %R", (PyObject *)Py_TYPE(text));
        return -1;
    }
    Py_UCS4 letter = PyUnicode_GetLength(text) == 1 ? PyUnicode_ReadChar(text, 0) : 0;
    if (letter == 'r')
        *mode = MODE_READ;
    else if (letter == 'w')
        *mode = MODE_FILL;
    else if (PyUnicode_CompareWithASCIIString(text, "rw") == 0)
        *mode = MODE_CHANGE;
    else {
        PyErr_Format(PyExc_ValueError, "mode is 'r', 'rw' or 'w', not %R", text);
        return -1;
    }
    return 0;
}

PyObject *py_block_new(struct py_state *state, PyObject *target, bool of_arena, PyObject *mode,
                       double timeout_ms)
{
    enum block_mode chosen = MODE_READ;
    if (mode != state->read_mode && mode_of(mode, &chosen) < 0)
        return NULL;
    if (timeout_ms > 0.0 && chosen != MODE_FILL) {
        PyErr_SetString(PyExc_ValueError, "a timeout is for 'w': 'r' and 'rw' wait for nobody");
        return NULL;
    }
    PyObject *self = PyObject_New(PyObject, state->block_type);
    if (!self)
        return NULL;
    struct block_data *block = block_data(self);
    block->state = state;
    block->target = Py_NewRef(target);
    block->of_arena = of_arena;
    block->mode = chosen;
    block->timeout_ms = timeout_ms;
    atomic_init(&block->phase, BLOCK_NEW);
    return self;
}

/* Only one thread passes from one phase to the next: with a GIL nobody comes in between. */
static bool advance(PyObject *self, int from, int to)
{
    _Atomic int *phase = &block_data(self)->phase;
    if (PY_NO_GIL)
        return atomic_compare_exchange_strong(phase, &from, to);
    bool is_next = atomic_load_explicit(phase, memory_order_relaxed) == from;
    if (is_next)
        atomic_store_explicit(phase, to, memory_order_relaxed);
    return is_next;
}

/* Begin the block; *code says whether that was possible. -1 with an exception of a signal's
 * handler. */
static int begin(struct block_data *block, enum sa_code *code, struct sa_why *why)
{
    bool change = block->mode != MODE_READ;
    if (!block->of_arena) { /* all that a pool's pages can be is writable */
        *code = sa_pool_open(pool_data(block->target)->core, change, &block->generation, why);
        return 0;
    }
    struct sa_arena *core = py_core_of(block->target);
    if (py_stand_by(core) < 0)
        return -1;
    if (block->mode == MODE_FILL)
        return py_move(&(struct py_move){.what = MOVE_FILL, .arena = core}, block->timeout_ms, code,
                       why);
    *code = sa_open(core, change, &block->core, why);
    return 0;
}

static inline enum sa_code end(struct block_data *block, bool whole, struct sa_why *why)
{
    bool change = block->mode != MODE_READ;
    if (!block->of_arena)
        return sa_pool_open_end(pool_data(block->target)->core, change, block->generation, why);
    if (block->mode == MODE_FILL)
        return sa_fill_end(py_core_of(block->target), whole);
    return sa_open_end(&block->core, why);
}

/* A block that nobody is to leave. */
SA_COLD static void give_up(struct block_data *block)
{
    struct sa_why unused;
    atomic_store(&block->phase, BLOCK_ENDED);
    if (end(block, false, &unused)) {
        /* there is nobody to be told */
    }
}

static void block_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    struct block_data *block = block_data(self);
    if (atomic_load(&block->phase) == BLOCK_OPEN)
        give_up(block);
    Py_DECREF(block->target);
    PyObject_Free(self);
    Py_DECREF(type);
}

SA_COLD static void *fail(PyObject *self, enum sa_code code, const struct sa_why *why)
{
    PyObject *target = block_data(self)->target;
    return block_data(self)->of_arena ? py_fail_of(target, code, why)
                                      : py_pool_fail(py_state_of(self), code, why, NULL);
}

SA_COLD static void *complain(PyObject *self, PyObject *exception, const char *message)
{
    PyObject *target = block_data(self)->target;
    if (block_data(self)->of_arena)
        return py_complain_of(target, exception, message);
    PyErr_SetString(exception, message);
    return NULL;
}

/* What was encrypted may be without a lock from here on. -1: the warning is an exception. */
static int warn_unlocked(const struct block_data *block)
{
    return block->of_arena ? py_warn_shortfall_of(block->state, block->target)
                           : py_warn_shortfall(block->state, NULL);
}

static PyObject *block_enter(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct block_data *block = block_data(self);
    PyObject *target = block->target;
    PyObject *inside = block->of_arena
                           ? py_view_new(block->state, target, self, 0, py_core_of(target)->size)
                           : Py_NewRef(target);
    if (!inside)
        return NULL;
    if (!advance(self, BLOCK_NEW, BLOCK_ENTERING)) {
        Py_DECREF(inside);
        PyErr_SetString(PyExc_ValueError, "a block is entered once: call open() again");
        return NULL;
    }
    struct sa_why why = {0};
    enum sa_code code = SA_OK;
    int raised = begin(block, &code, &why);
    bool open = raised == 0 && code == SA_OK;
    atomic_store_explicit(&block->phase, open ? BLOCK_OPEN : BLOCK_ENDED, memory_order_release);
    if (open && warn_unlocked(block) == 0)
        return inside;
    if (open) {
        raised = -1;
        give_up(block);
    }
    Py_DECREF(inside);
    return raised < 0 ? NULL : fail(self, code, &why);
}

static PyObject *block_exit(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    bool failed = count > 0 && !Py_IsNone(args[0]);
    if (!advance(self, BLOCK_OPEN, BLOCK_ENDED)) {
        if (failed)
            Py_RETURN_FALSE;
        PyErr_SetString(PyExc_ValueError, "the block was not entered, or has ended");
        return NULL;
    }
    struct sa_why why = {0};
    enum sa_code code = end(block_data(self), !failed, &why);
    /* An exception in flight is never replaced. A parent's arena says so by itself when it is
     * used again, and so does one that was closed while it was written. */
    bool writes = block_data(self)->of_arena && block_data(self)->mode == MODE_FILL;
    if (failed || code == SA_OK || code == SA_FORKED || (writes && code == SA_CLOSED))
        Py_RETURN_FALSE;
    if (code == SA_WIPED || code == SA_CLOSED)
        return complain(self, py_state_of(self)->wiped_error,
                        "the content was wiped while the block was open: what was computed "
                        "inside may have been computed from noise");
    if (code != SA_BUSY)
        return fail(self, code, &why);
    return complain(self, PyExc_BufferError,
                    "the pages stay open until the last exported buffer is released: before the "
                    "block ends release memoryviews, and drop what keeps one, as ciphers do");
}

static PyMethodDef methods[] = {
    {"__enter__", block_enter, METH_NOARGS,
     PyDoc_STR("__enter__($self, /)\n--\n\nThe view, or the pool.")},
    {"__exit__", (PyCFunction)(void (*)(void))block_exit, METH_FASTCALL,
     PyDoc_STR("__exit__($self, /, *args)\n--\n\n"
               "Restore the access before the block. After 'w' make the arena usable, or leave\n"
               "noise if an exception is in flight.\n\n"
               "WipedError: it was wiped while the block was open, so that what was computed\n"
               "inside may have been computed from noise. BufferError: exported buffers keep the\n"
               "pages open until they are released. Never instead of another exception.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("One block of open(), to be entered once with 'with'.")},
    {Py_tp_dealloc, (void *)block_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

PyType_Spec py_block_spec = {
    .name = "secalloc._core._OpenBlock",
    .basicsize = PY_BASICSIZE(block),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};
