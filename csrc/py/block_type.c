/* What Arena.open() returns: one block during which a view has its access. */
#include "glue.h"

PyObject *py_block_new(struct py_state *state, PyObject *arena)
{
    PyObject *self = PyType_GenericAlloc(state->block_type, 0);
    if (!self)
        return NULL;
    block_data(self)->arena = Py_NewRef(arena);
    atomic_init(&block_data(self)->phase, BLOCK_NEW);
    return self;
}

bool py_block_is_open(PyObject *block)
{
    return atomic_load(&block_data(block)->phase) == BLOCK_OPEN;
}

/* One thread alone passes from one phase to the next, whatever the ABI locks. */
static bool advance(PyObject *self, int from, int to)
{
    return atomic_compare_exchange_strong(&block_data(self)->phase, &from, to);
}

static void block_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    struct block_data *block = block_data(self);
    if (block->arena && atomic_load(&block->phase) == BLOCK_OPEN &&
        sa_fill_end(py_core_of(block->arena), false) != SA_OK) {
        /* entered and never left: noise stays, which is what this code says */
    }
    Py_XDECREF(block->arena);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyObject *block_enter(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct block_data *block = block_data(self);
    struct py_state *state = py_state_of(self);
    struct sa_arena *core = py_core_of(block->arena);
    PyObject *view = py_view_new(state, block->arena, self, 0, core->size);
    if (!view)
        return NULL;
    if (!advance(self, BLOCK_NEW, BLOCK_ENTERING)) {
        Py_DECREF(view);
        PyErr_SetString(PyExc_ValueError, "a block is entered once: call open() again");
        return NULL;
    }
    struct sa_why why = {0};
    enum sa_code code = sa_fill_begin(core, &why);
    atomic_store(&block->phase, code == SA_OK ? BLOCK_OPEN : BLOCK_ENDED);
    if (code != SA_OK) {
        Py_DECREF(view);
        return py_fail(state, code, &why);
    }
    return view;
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
    enum sa_code code = sa_fill_end(py_core_of(block_data(self)->arena), !failed);
    /* an exception in flight is never replaced; a closed or inherited arena says so
     * by itself when it is used again */
    if (failed || code == SA_OK || code == SA_CLOSED || code == SA_FORKED)
        Py_RETURN_FALSE;
    return py_fail(py_state_of(self), code, NULL);
}

static PyMethodDef methods[] = {
    {"__enter__", block_enter, METH_NOARGS,
     PyDoc_STR("__enter__($self, /)\n--\n\nThe view to write to.")},
    {"__exit__", (PyCFunction)(void (*)(void))block_exit, METH_FASTCALL,
     PyDoc_STR("__exit__($self, /, *args)\n--\n\n"
               "Make the arena usable, or leave noise if an exception is in flight.\n\n"
               "WipedError: the arena was wiped during the block.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("One block of Arena.open(), to be entered once with 'with'.")},
    {Py_tp_dealloc, (void *)block_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

PyType_Spec py_block_spec = {
    .name = "secalloc._core._OpenBlock",
    .basicsize = BLOCK_BASICSIZE,
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};
