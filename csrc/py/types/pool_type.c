/* The Pool type: many small arenas on shared pages. It knows nothing of its arenas;
 * each of them holds the pool, so that the core's is freed after the last. */
#include "objects/errors.h"
#include "objects/make.h"
#include "objects/move.h"
#include "objects/objects.h"
#include "objects/pool_refs.h"
#include "types/types.h"

/* ---- life ---------------------------------------------------------------------- */

static PyObject *pool_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, ":Pool", names))
        return NULL;
    PyObject *module = PyType_GetModule(type);
    PyObject *self = module ? PyType_GenericAlloc(type, 0) : NULL;
    if (!self)
        return NULL;
    struct sa_why why = {0};
    pool_data(self)->module = Py_NewRef(module);
    pool_data(self)->state = py_state_of_module(module);
    pool_data(self)->maker = PyThread_get_thread_ident();
    enum sa_code code = sa_pool_make(&pool_data(self)->core, &why);
    if (code == SA_OK)
        return self;
    Py_DECREF(self);
    return py_fail(py_state_of_module(module), code, &why);
}

static void pool_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    py_clear_weakrefs(self, &pool_data(self)->weakrefs);
    if (pool_data(self)->core)
        sa_pool_free(pool_data(self)->core);
    PyObject *module = pool_data(self)->module;
    PyObject_GC_Del(self);
    Py_XDECREF(module);
    Py_DECREF(type);
}

static int pool_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(pool_data(self)->module);
    return py_pool_visit_idle(self, visit, arg);
}

/* The core walks the arenas, and an arena that is deallocated just now waits for that, with the
 * GIL where there is one. So this keeps the GIL too. */
static PyObject *pool_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    atomic_store(&pool_data(self)->closed, true);
    sa_pool_close(pool_data(self)->core);
    (void)py_pool_drop_idle(self); /* it always returns 0 */
    Py_RETURN_NONE;
}

static PyObject *pool_seal(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"encrypt", NULL};
    PyObject *encrypt = Py_None;
    enum sa_encryption how;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$O:seal", names, &encrypt) ||
        py_encryption_of(encrypt, &how) < 0)
        return NULL;
    struct sa_pool_status now;
    sa_pool_status(pool_data(self)->core, &now);
    if (!now.closed && (how == SA_SEAL_ENCRYPTED || (how == SA_SEAL_BY_DEFAULT && sa_encrypts()))) {
        PyErr_SetString(PyExc_ValueError, "arenas of a pool share pages, which are not encrypted: "
                                          "seal(encrypt=False), or make Arena()s");
        return NULL;
    }
    struct sa_why why = {0};
    enum sa_code code = sa_pool_seal(pool_data(self)->core, &why);
    if (code != SA_OK)
        return py_pool_fail(py_state_of(self), code, &why, NULL);
    Py_RETURN_NONE;
}

static PyObject *pool_open(PyObject *self, PyObject *mode)
{
    struct sa_pool_status now;
    sa_pool_status(pool_data(self)->core, &now);
    bool ours = atomic_load(&pool_data(self)->closed);
    if (now.closed && PyUnicode_Check(mode))
        return py_pool_fail(py_state_of(self), ours ? SA_CLOSED : SA_FORKED, NULL, NULL);
    return py_block_new(pool_data(self)->state, self, false, mode, 0.0);
}

static PyObject *pool_enter(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct sa_pool_status now;
    sa_pool_status(pool_data(self)->core, &now);
    if (!now.closed)
        return Py_NewRef(self);
    bool ours = atomic_load(&pool_data(self)->closed);
    return py_pool_fail(py_state_of(self), ours ? SA_CLOSED : SA_FORKED, NULL, NULL);
}

static PyObject *pool_exit(PyObject *self, PyObject *const *Py_UNUSED(args),
                           Py_ssize_t Py_UNUSED(count))
{
    return pool_close(self, NULL);
}

/* ---- making arenas --------------------------------------------------------------- */

static PyObject *pool_alloc(PyObject *self, PyObject *const *args, Py_ssize_t count,
                            PyObject *names)
{
    struct py_home home = {.pool = self};
    if (py_home_of_call(&home, "alloc", 1, args, count, names) < 0)
        return NULL;
    return py_arena_of(pool_data(self)->state, args[0], &home);
}

static PyObject *pool_random(PyObject *self, PyObject *const *args, Py_ssize_t count,
                             PyObject *names)
{
    struct py_home home = {.pool = self};
    if (py_home_of_call(&home, "random", 1, args, count, names) < 0)
        return NULL;
    return py_arena_of_random(pool_data(self)->state, args[0], &home);
}

static PyObject *pool_take(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    struct py_home home = {.pool = self};
    if (py_home_of_call(&home, "take", 1, args, count, names) < 0)
        return NULL;
    return py_arena_of_taken(pool_data(self)->state, args[0], &home);
}

/* ---- what it is -------------------------------------------------------------------- */

static PyObject *pool_closed(PyObject *self, void *Py_UNUSED(closure))
{
    struct sa_pool_status now;
    sa_pool_status(pool_data(self)->core, &now);
    return PyBool_FromLong(now.closed);
}

static PyObject *pool_repr(PyObject *self)
{
    struct sa_pool_status now;
    sa_pool_status(pool_data(self)->core, &now);
    bool ours = atomic_load(&pool_data(self)->closed);
    const char *state = !now.closed ? (now.sealed ? "sealed" : "open") : ours ? "closed" : "forked";
    return PyUnicode_FromFormat("<secalloc.Pool %s arenas=%zu bytes=%zu mapped=%zu>", state,
                                now.arenas, now.bytes, now.mapped);
}

static PyObject *pool_sealed(PyObject *self, void *Py_UNUSED(closure))
{
    struct sa_pool_status now;
    sa_pool_status(pool_data(self)->core, &now);
    return PyBool_FromLong(!now.closed && now.sealed);
}

static PyObject *refuse_copy(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(memo))
{
    PyErr_SetString(PyExc_TypeError, "a pool is not copied or pickled: make another with Pool()");
    return NULL;
}

static PyMethodDef methods[] = {
    {"alloc", PY_FASTCALL(pool_alloc),
     PyDoc_STR(
         "alloc($self, source, /, *, require=None, name=None)\n--\n\n"
         "A new Arena in the pool: so many zero bytes, or a copy of a bytes-like object.\n\n"
         "As Arena(source), which names the errors, but without align. An arena of up to 2,040\n"
         "bytes starts at a multiple of 16. A larger one has pages of its own and ends at their\n"
         "guard. ValueError: the pool is closed. ForkedError: it is the parent's. MemoryError or\n"
         "OSError: it cannot grow; its other arenas are as they were.")},
    {"random", PY_FASTCALL(pool_random),
     PyDoc_STR("random($self, size, /, *, require=None, name=None)\n--\n\n"
               "A new Arena in the pool, of size random bytes, as secalloc.random() gives.\n\n"
               "The errors are those of alloc().")},
    {"take", PY_FASTCALL(pool_take),
     PyDoc_STR("take($self, buffer, /, *, require=None, name=None)\n--\n\n"
               "A new Arena in the pool with a writable buffer's content, which is cleared.\n\n"
               "As secalloc.take(), with the errors of alloc(). When it fails the source still\n"
               "has its content.")},
    {"close", pool_close, METH_NOARGS,
     PyDoc_STR("close($self, /)\n--\n\n"
               "Close every arena of the pool, and the pool to new ones.\n\n"
               "Repeating it does no harm, and it never fails. Buffers that are still exported\n"
               "keep their pages mapped, holding noise, until they are released. Afterwards\n"
               "closed and repr() answer; anything else is a ValueError.")},
    {"seal", (PyCFunction)(void (*)(void))pool_seal, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("seal($self, /, *, encrypt=None)\n--\n\n"
               "Make the pages of all arenas inaccessible until open() opens them for a block.\n\n"
               "As Arena.seal() for each; making arenas is a SealedError too. BufferError: an\n"
               "arena is exported, or inside an open() block.")},
    {"open", pool_open, METH_O,
     PyDoc_STR(
         "open($self, mode, /)\n--\n\n"
         "A context manager that opens all arenas, and yields the pool.\n\n"
         "'r' reads, 'rw' and 'w' read, write, make and fill arenas; the pages are read-only or\n"
         "writable. The end restores the state before. Blocks nest, and those of all threads are\n"
         "counted. If an arena is still exported or being filled, its pages follow when that\n"
         "ends, and the end of the block raises BufferError, unless another exception is in\n"
         "flight. WipedError at the end: results of the block may come from noise, because a\n"
         "lockdown came while it was open, or an arena was cleared or closed whose buffer was\n"
         "exported.")},
    {"__enter__", pool_enter, METH_NOARGS, PyDoc_STR("__enter__($self, /)\n--\n\nThe pool.")},
    {"__exit__", (PyCFunction)(void (*)(void))pool_exit, METH_FASTCALL,
     PyDoc_STR("__exit__($self, /, *args)\n--\n\nClose the pool.")},
    {"__copy__", refuse_copy, METH_NOARGS, NULL},
    {"__deepcopy__", refuse_copy, METH_O, NULL},
    {"__reduce__", refuse_copy, METH_NOARGS, NULL},
    {"__reduce_ex__", refuse_copy, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef members[] = {
    PY_WEAKREFS(pool),
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef properties[] = {
    {"sealed", pool_sealed, NULL,
     PyDoc_STR("Whether the pages are inaccessible: sealed, and not inside a block."), NULL},
    {"closed", pool_closed, NULL,
     PyDoc_STR("Whether it was closed, or belongs to the parent process."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(
    doc, "Pool()\n--\n\n"
         "Many small secrets on few locked pages.\n\n"
         "alloc(), random() and take() give Arenas that behave as any other, but share pages.\n"
         "The guard pages lie around the shared pages, not around each arena. The pages are\n"
         "locked, kept out of core files and child processes, and wiped together when the\n"
         "process dies of a fatal signal. Behind each arena lies a canary of at least 8 bytes.\n"
         "It tells of writes past the end when the arena is closed, rotated or checked. A\n"
         "32-byte secret takes 48 bytes of locked memory, where an Arena of its own takes a\n"
         "page.\n\n"
         "The pool grows as needed. It gives empty pages back, except for a few that it keeps\n"
         "for the next arena. Each arena keeps its pool alive. Without a GIL, a pool that\n"
         "several threads used, and nobody closed, goes with the next cyclic collection. The\n"
         "bytes of a closed arena hold noise until another arena of the pool takes them. A stale\n"
         "pointer to them faults only after the page was given back.\n\n"
         "A context manager: leaving it closes the pool and all its arenas. Copying and\n"
         "pickling are TypeErrors. Raises MemoryError or OSError where the library cannot\n"
         "start: no memory, or no entropy.");

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)doc},
    {Py_tp_new, (void *)pool_new},
    {Py_tp_dealloc, (void *)pool_dealloc},
    {Py_tp_traverse, (void *)pool_traverse},
    {Py_tp_clear, (void *)py_pool_drop_idle},
    {Py_tp_repr, (void *)pool_repr},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {Py_tp_getset, properties},
    {0, NULL},
};

PyType_Spec py_pool_spec = {
    .name = "secalloc.Pool",
    .basicsize = PY_BASICSIZE(pool),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};
