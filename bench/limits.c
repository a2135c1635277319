/* The least that an object can do, in C and from Python: what the system calls and the interpreter
 * leave of a bar. There is no registry, no lock and no noise. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PIECES = 64, SIZE = 32, SLOTS = 16 };
static char *page; /* in a mapping of PIECES, as slots and guards are */
static char *slots[SLOTS]; /* of secretmem, if it is to be had, with guards in between */
static unsigned turn;
static size_t page_size;
static PyTypeObject *block_type;

struct object {
    PyObject_HEAD char *own; /* a careful one's page */
};

static int protect_at(char *at, int access) { return mprotect(at, page_size, access); }

static int protect(int access) { return protect_at(page, access); }

/* Another page each time, as an address is not to come back at once. */
static char *next_slot(void) { return slots[turn++ * 7 % SLOTS]; }

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

/* Whether the slack is what it was: zeros, here. */
static bool is_whole(const char *at)
{
    uint64_t damage = 0;
    for (size_t i = 0; i < page_size - SIZE; i += sizeof damage) {
        uint64_t word;
        memcpy(&word, at + i, sizeof word);
        damage |= word;
    }
    return !damage;
}

/* What an arena has to do when it is made: look at the signal stack, open its page and copy. */
static int open_carefully(char *at, const char *content)
{
    stack_t now;
    if (sigaltstack(NULL, &now) || protect_at(at, PROT_READ | PROT_WRITE))
        return -1;
    memcpy(at + page_size - SIZE, content, SIZE);
    return 0;
}

/* And when it is closed: check the page, wipe the content and close it. */
static int close_carefully(char *at)
{
    if (!is_whole(at))
        abort();
    memset(at + page_size - SIZE, 0, SIZE);
    __asm__ __volatile__("" : : "r"(at) : "memory");
    return protect_at(at, PROT_NONE);
}

static PyObject *careful_pairs(PyObject *self, PyObject *count)
{
    static const char content[SIZE] = "0123456789abcdef0123456789abcde";
    (void)self;
    int failed = 0;
    for (long n = PyLong_AsLong(count); n > 0; n--) {
        char *at = next_slot();
        failed |= open_carefully(at, content) | close_carefully(at);
    }
    return done(failed);
}

/* ---- an object that opens the page, copies, and closes it ------------------------------ */

/* A careful one has a page of secretmem, and does all that an arena has to. */

static PyObject *make(PyTypeObject *type, PyObject *args, bool careful)
{
    PyObject *source = PyTuple_Size(args) == 1 ? PyTuple_GetItem(args, 0) : NULL;
    if (!source || !PyBytes_CheckExact(source) || PyBytes_Size(source) != SIZE) {
        PyErr_SetString(PyExc_TypeError, "32 bytes are needed");
        return NULL;
    }
    struct object *self = (struct object *)PyType_GenericAlloc(type, 0);
    if (!self)
        return NULL;
    self->own = careful ? next_slot() : NULL;
    if (careful ? open_carefully(self->own, PyBytes_AsString(source))
                : protect(PROT_READ | PROT_WRITE)) {
        Py_DECREF(self);
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    if (!careful)
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

static PyObject *bare_close(PyObject *self, PyObject *unused)
{
    (void)unused;
    char *own = ((struct object *)self)->own;
    return done(own ? close_carefully(own) : protect(PROT_NONE));
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
    return protect_at(slots[0], PROT_READ) ? PyErr_SetFromErrno(PyExc_OSError) : Py_NewRef(self);
}

static PyObject *block_exit(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self, (void)args, (void)count;
    return done(protect_at(slots[0], PROT_NONE));
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
    {"careful_pairs", careful_pairs, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "limits", .m_size = -1,
                                        .m_methods = functions};

static char *reserve(void)
{
    char *all = mmap(NULL, PIECES * page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return all == MAP_FAILED ? NULL : all;
}

static int map_page(void)
{
    page_size = (size_t)sysconf(_SC_PAGESIZE);
    char *all = reserve();
    if (!all)
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

/* Anonymous pages where there is no secretmem. */
static int secret_pages(void)
{
    int fd = (int)syscall(447 /* memfd_secret */, O_CLOEXEC);
    if (fd >= 0 && ftruncate(fd, (off_t)(SLOTS * page_size))) {
        close(fd);
        return -1;
    }
    return fd;
}

static int map_slots(void)
{
    char *all = reserve();
    int fd = secret_pages(), kind = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    bool mapped = all;
    for (size_t i = 0; mapped && i < SLOTS; i++) {
        slots[i] = all + (2 * i + 1) * page_size;
        off_t at = fd < 0 ? 0 : (off_t)(i * page_size);
        mapped = mmap(slots[i], page_size, PROT_READ | PROT_WRITE, kind | MAP_FIXED, fd, at) !=
                 MAP_FAILED;
        if (mapped)
            *slots[i] = 0;
        mapped = mapped && protect_at(slots[i], PROT_NONE) == 0;
    }
    if (fd >= 0)
        close(fd);
    return mapped ? 0 : -1;
}

PyMODINIT_FUNC PyInit_limits(void)
{
    if (map_page() || map_slots())
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
