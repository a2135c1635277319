/* The least that an object can do from Python: what the system calls and the interpreter leave of
 * a bar. There is no registry, no lock, no noise, and one page that is all objects'. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PIECES = 64, SIZE = 32 };
static char *page; /* in a mapping of PIECES, as slots and guards are */
static size_t page_size;
static PyTypeObject *block_type;

struct object {
    PyObject_HEAD bool careful;
};

static int protect(int access) { return mprotect(page, page_size, access); }

/* As a seal has to: no handler may run while the access changes. */
static int protect_masked(int access)
{
    uint64_t all = UINT64_MAX, before;
    syscall(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, &all, &before, sizeof before);
    int result = protect(access);
    syscall(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &before, NULL, sizeof before);
    return result;
}

static PyObject *done(int failed)
{
    if (failed)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

/* ---- of no object ------------------------------------------------------------------ */

static PyObject *pairs(PyObject *self, PyObject *count)
{
    (void)self;
    int failed = 0;
    for (long n = PyLong_AsLong(count); n > 0; n--)
        failed |= protect(PROT_READ | PROT_WRITE) | protect(PROT_NONE);
    return done(failed);
}

static PyObject *masked_pairs(PyObject *self, PyObject *count)
{
    (void)self;
    int failed = 0;
    for (long n = PyLong_AsLong(count); n > 0; n--)
        failed |= protect_masked(PROT_READ) | protect_masked(PROT_NONE);
    return done(failed);
}

/* ---- an object that opens the page, copies, and closes it ------------------------------ */

/* A careful one looks at the signal stack first, and checks the page and wipes its bytes before
 * it closes it, as an arena has to. */

static PyObject *make(PyTypeObject *type, PyObject *args, bool careful)
{
    PyObject *source = PyTuple_Size(args) == 1 ? PyTuple_GetItem(args, 0) : NULL;
    if (!source || !PyBytes_CheckExact(source) || PyBytes_Size(source) != SIZE) {
        PyErr_SetString(PyExc_TypeError, "32 bytes are needed");
        return NULL;
    }
    struct object *self = (struct object *)PyType_GenericAlloc(type, 0);
    stack_t now;
    if (!self)
        return NULL;
    if ((careful && sigaltstack(NULL, &now)) || protect(PROT_READ | PROT_WRITE)) {
        Py_DECREF(self);
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    self->careful = careful;
    memcpy(page + page_size - SIZE, PyBytes_AsString(source), SIZE);
    return (PyObject *)self;
}

static PyObject *bare_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)kwargs;
    return make(type, args, false);
}

static PyObject *careful_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)kwargs;
    return make(type, args, true);
}

/* Whether the slack is what it was: zeros, here. */
static bool page_is_whole(void)
{
    uint64_t damage = 0;
    for (size_t i = 0; i < page_size - SIZE; i += sizeof damage) {
        uint64_t word;
        memcpy(&word, page + i, sizeof word);
        damage |= word;
    }
    return !damage;
}

static PyObject *bare_close(PyObject *self, PyObject *unused)
{
    (void)unused;
    if (((struct object *)self)->careful) {
        if (!page_is_whole())
            abort();
        memset(page + page_size - SIZE, 0, SIZE);
        __asm__ __volatile__("" : : "r"(page) : "memory");
    }
    return done(protect(PROT_NONE));
}

static PyObject *bare_open(PyObject *self, PyObject *mode)
{
    (void)self, (void)mode;
    return PyType_GenericAlloc(block_type, 0);
}

static void drop(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyMethodDef bare_methods[] = {
    {"close", bare_close, METH_NOARGS, NULL},
    {"open", bare_open, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot bare_slots[] = {
    {Py_tp_new, (void *)bare_new},
    {Py_tp_dealloc, (void *)drop},
    {Py_tp_methods, bare_methods},
    {0, NULL},
};
static PyType_Slot careful_slots[] = {
    {Py_tp_new, (void *)careful_new},
    {Py_tp_dealloc, (void *)drop},
    {Py_tp_methods, bare_methods},
    {0, NULL},
};
static PyType_Spec careful_spec = {"limits.Careful", sizeof(struct object), 0, Py_TPFLAGS_DEFAULT,
                                   careful_slots};
static PyType_Spec bare_spec = {"limits.Bare", sizeof(struct object), 0, Py_TPFLAGS_DEFAULT,
                                bare_slots};

/* ---- the block that opens and closes it ------------------------------------------------- */

static PyObject *block_enter(PyObject *self, PyObject *unused)
{
    (void)unused;
    return protect_masked(PROT_READ) ? PyErr_SetFromErrno(PyExc_OSError) : Py_NewRef(self);
}

static PyObject *block_exit(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self, (void)args, (void)count;
    return done(protect_masked(PROT_NONE));
}

static PyMethodDef block_methods[] = {
    {"__enter__", block_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))block_exit, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot block_slots[] = {
    {Py_tp_dealloc, (void *)drop},
    {Py_tp_methods, block_methods},
    {0, NULL},
};
static PyType_Spec block_spec = {"limits.Block", sizeof(struct object), 0, Py_TPFLAGS_DEFAULT,
                                 block_slots};

/* ---- a buffer that is counted, of bytes that end where a guard page begins ----------------- */

static char *content;
static Py_ssize_t exports;

static int lend(PyObject *self, Py_buffer *buffer, int flags)
{
    __atomic_add_fetch(&exports, 1, __ATOMIC_SEQ_CST);
    return PyBuffer_FillInfo(buffer, self, content, SIZE, 0, flags);
}

static void take_back(PyObject *self, Py_buffer *buffer)
{
    (void)self, (void)buffer;
    __atomic_sub_fetch(&exports, 1, __ATOMIC_SEQ_CST);
}

static PyObject *lent_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)kwargs;
    (void)args;
    return PyType_GenericAlloc(type, 0);
}

static PyType_Slot lent_slots[] = {
    {Py_tp_new, (void *)lent_new},
    {Py_tp_dealloc, (void *)drop},
    {Py_bf_getbuffer, (void *)lend},
    {Py_bf_releasebuffer, (void *)take_back},
    {0, NULL},
};
static PyType_Spec lent_spec = {"limits.Lent", sizeof(struct object), 0, Py_TPFLAGS_DEFAULT,
                                lent_slots};

/* ---- the module ------------------------------------------------------------------------- */

static PyMethodDef functions[] = {
    {"pairs", pairs, METH_O, NULL},
    {"masked_pairs", masked_pairs, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "limits", .m_size = -1,
                                        .m_methods = functions};

static int map_page(void)
{
    page_size = (size_t)sysconf(_SC_PAGESIZE);
    char *all = mmap(NULL, PIECES * page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED)
        return -1;
    for (size_t i = 1; i < PIECES; i += 2) {
        if (mprotect(all + i * page_size, page_size, PROT_READ | PROT_WRITE))
            return -1;
        all[i * page_size] = 0;
    }
    page = all + (PIECES / 2 + 1) * page_size;
    content = all + PIECES / 2 * page_size - SIZE;
    return protect(PROT_NONE);
}

PyMODINIT_FUNC PyInit_limits(void)
{
    if (map_page())
        return PyErr_SetFromErrno(PyExc_OSError);
    PyObject *module = PyModule_Create(&definition);
    PyObject *bare = PyType_FromSpec(&bare_spec), *careful = PyType_FromSpec(&careful_spec);
    PyObject *lent = PyType_FromSpec(&lent_spec);
    block_type = (PyTypeObject *)PyType_FromSpec(&block_spec);
    if (!module || !bare || !careful || !lent || !block_type ||
        PyModule_AddObject(module, "Bare", bare) ||
        PyModule_AddObject(module, "Careful", careful) || PyModule_AddObject(module, "Lent", lent))
        return NULL;
    return module;
}
