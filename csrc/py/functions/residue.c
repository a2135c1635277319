/* The search for copies of a secret, and the Python objects that they lie in. */
#include "functions/functions.h"
#include "objects/errors.h"
#include "objects/make.h"
#include "objects/span.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 10000 }; /* copies; residue.MOST says so too */

enum owner { NOBODY, BYTES, STR, BYTEARRAY };

/* More than any object has; an address is more than that. */
static const uint64_t LARGE = (uint64_t)1 << 40;

/* ---- progress ------------------------------------------------------------------------ */

struct finding {
    struct sa_copy *copies;
    enum owner *owners;
    size_t count;
    PyThreadState *thread;
    PyObject *callback; /* borrowed; None: only signals are looked for */
    bool failed;        /* with an exception */
    bool shared_counts; /* objects have two counts: this interpreter has no GIL */
};

static bool tell(void *context, size_t done, size_t total)
{
    struct finding *f = context;
    if (f->failed)
        return false;
    PyEval_RestoreThread(f->thread);
    f->failed = PyErr_CheckSignals() < 0;
    if (!f->failed && !Py_IsNone(f->callback)) {
        PyObject *result = PyObject_CallFunction(f->callback, "KK", (unsigned long long)done,
                                                 (unsigned long long)total);
        f->failed = !result;
        Py_XDECREF(result);
    }
    f->thread = PyEval_SaveThread();
    return !f->failed;
}

/* ---- whose memory it is ----------------------------------------------------------------- */

/* In every build the word after an object's type is the size, where the type has one. The
 * bytes follow within a few words, by version. Freed objects look the same. A stack has many
 * words that are a type's address, and a heap that was mapped right behind a thread's stack
 * is one mapping with it. So where the copy may be on a stack, the object must have a likely
 * count, and a size that is no address. */
static enum owner owner_of(struct sa_arena *work, const struct sa_copy *copy)
{
    const uint64_t types[] = {(uintptr_t)&PyBytes_Type, (uintptr_t)&PyUnicode_Type};
    const uint64_t header = 80, widest = 4;
    size_t which;
    uintptr_t at;
    uint64_t around[2];
    if (!sa_look_back(work, copy->address, types, 2, &which, &at, around))
        return NOBODY;
    uint64_t references = around[0], size = around[1];
    bool likely = references <= UINT32_MAX && size < LARGE;
    if (copy->place == SA_ON_STACK ? !likely : size > PTRDIFF_MAX / widest)
        return NOBODY;
    uint64_t last = copy->address - at + copy->length;
    if (which == 0)
        return last <= size + 3 * sizeof at + 1 ? BYTES : NOBODY; /* size, hash, a NUL */
    return last <= size * widest + header ? STR : NOBODY;
}

/* Whether references to an object exist, told by the two words before its type. A freed
 * object has none. With one count, the allocator has put its own link there. With two, that of
 * the owning thread and that of the others, above two bits of state, are both 0. */
static bool is_alive(const struct finding *f, const uint64_t before[2])
{
    if (f->shared_counts)
        return before[0] >> 32 || before[1] >> 2;
    return before[1] && before[1] <= UINT32_MAX;
}

/* A bytearray: references, type, size, then how much is allocated, where, and where the bytes
 * begin; 3.15 allocates no byte more. It points to the copy, and so outweighs what lies before. */
static void claim(void *context, uintptr_t at, const uint64_t around[7])
{
    struct finding *f = context;
    uint64_t size = around[3], allocated = around[4], storage = around[5], start = around[6];
    (void)at;
    if (!is_alive(f, around) || allocated >= LARGE || size > allocated ||
        start - storage >= allocated)
        return;
    for (size_t i = 0; i < f->count; i++)
        if (f->copies[i].address - storage < allocated)
            f->owners[i] = BYTEARRAY;
}

/* Python is not called here: copies are looked at without the GIL. */
static enum sa_code find_owners(struct finding *f, struct sa_arena *work, struct sa_why *why)
{
    bool any = false;
    for (size_t i = 0; i < f->count; i++) {
        if (f->copies[i].place == SA_IN_FILE)
            continue;
        f->owners[i] = owner_of(work, &f->copies[i]);
        any = true;
    }
    f->callback = Py_None; /* it was told that all is done */
    struct sa_progress progress = {.tell = tell, .context = f};
    return any ? sa_find_word(work, (uintptr_t)&PyByteArray_Type, claim, f, &progress, why) : SA_OK;
}

/* An object begins with its count and its type: two words, or four without a GIL. The wheel
 * for both builds cannot tell when it is compiled. */
static bool has_one_count(void)
{
    PyObject *size = PyObject_GetAttrString((PyObject *)&PyBaseObject_Type, "__basicsize__");
    long bytes = size ? PyLong_AsLong(size) : -1;
    Py_XDECREF(size);
    PyErr_Clear(); /* it is an int since 2.2 */
    return bytes <= 16;
}

/* ---- answering ----------------------------------------------------------------------------- */

static PyObject *describe(const struct sa_copy *copy, enum owner owner)
{
    static const char *const forms[] = {
        [SA_PLAIN] = "plain",          [SA_HEX] = "hex",
        [SA_HEX_UPPER] = "HEX",        [SA_BASE64] = "base64",
        [SA_BASE64_URL] = "base64url", [SA_UTF16] = "utf-16",
        [SA_UTF32] = "utf-32",         [SA_LATIN1] = "latin-1",
        [SA_IPAD] = "hmac ipad",       [SA_OPAD] = "hmac opad",
    };
    static const char *const owners[] = {
        [NOBODY] = NULL, [BYTES] = "bytes", [STR] = "str", [BYTEARRAY] = "bytearray"};
    static const char *const places[] = {[SA_IN_MEMORY] = "memory",
                                         [SA_ON_STACK] = "thread stack",
                                         [SA_IN_HEAP] = "C heap",
                                         [SA_IN_FILE] = "mapped file"};
    const char *name = copy->name[0] ? copy->name : "anonymous";
    PyObject *mapping = PyUnicode_DecodeFSDefault(name);
    if (!mapping)
        return NULL;
    return Py_BuildValue("(KNnnnss)", (unsigned long long)copy->address, mapping,
                         (Py_ssize_t)(copy->address - copy->mapping), (Py_ssize_t)copy->length,
                         (Py_ssize_t)copy->whole, forms[copy->form],
                         owners[owner] ? owners[owner] : places[copy->place]);
}

static PyObject *list_of(const struct finding *f)
{
    PyObject *list = PyList_New((Py_ssize_t)f->count);
    for (size_t i = 0; list && i < f->count; i++) {
        PyObject *item = describe(&f->copies[i], f->owners[i]);
        if (!item || PyList_SetItem(list, (Py_ssize_t)i, item) < 0)
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *search(struct py_state *state, PyObject *secret, PyObject *work, bool partial,
                        PyObject *callback)
{
    struct finding f = {.copies = calloc(MOST, sizeof *f.copies),
                        .owners = calloc(MOST, sizeof *f.owners),
                        .callback = callback};
    struct sa_progress progress = {
        .tell = tell, .context = &f, .wants_total = !Py_IsNone(callback)};
    struct sa_why why = {0};
    PyObject *result = NULL;
    if (f.copies && f.owners) {
        f.shared_counts = !has_one_count();
        f.thread = PyEval_SaveThread();
        enum sa_code code = sa_find(py_core_of(secret), py_core_of(work), partial, f.copies, MOST,
                                    &f.count, &progress, &why);
        if (code == SA_OK && !f.failed)
            code = find_owners(&f, py_core_of(work), &why);
        PyEval_RestoreThread(f.thread);
        if (!f.failed)
            result = code == SA_OK ? list_of(&f) : py_fail(state, code, &why);
    } else {
        PyErr_NoMemory();
    }
    free(f.owners);
    free(f.copies);
    return result;
}

/* The arena that a search for `secret` works in. NULL with an exception. */
static PyObject *workspace_for(struct py_state *state, PyObject *secret, bool partial)
{
    size_t room = 0;
    enum sa_code code = sa_find_room(py_core_of(secret), partial, &room);
    if (code == SA_OK) {
        PyObject *work = py_arena_begin(state, room, &(struct py_home){.align = 64});
        return work ? py_arena_end(state, work, SA_OK) : NULL;
    }
    if (code == SA_BAD_RANGE)
        PyErr_Format(PyExc_ValueError,
                     "a secret of %zu bytes stands everywhere by chance: %d are the least",
                     py_core_of(secret)->size, SA_SECRET_LEAST);
    else if (code == SA_BAD_ALIGN)
        PyErr_SetString(PyExc_ValueError, "a secret of one byte repeated, or of nearly nothing "
                                          "but zero bytes, stands everywhere by chance");
    else
        py_fail(state, code, NULL);
    return NULL;
}

/* The search looks at a copy of the secret alone. So the secret's own arena may be sealed,
 * rotated or closed meanwhile. */
static PyObject *find_copies(PyObject *module, PyObject *args)
{
    struct py_state *state = py_state_of_module(module);
    PyObject *source, *callback;
    int partial;
    struct py_span span;
    if (!PyArg_ParseTuple(args, "OpO:find", &source, &partial, &callback))
        return NULL;
    if (!py_span_ours(source, &span)) {
        PyErr_Format(PyExc_TypeError,
                     "the secret is an Arena or ArenaView, not %R: anything else is a copy itself",
                     (PyObject *)Py_TYPE(source));
        return NULL;
    }
    if (!Py_IsNone(callback) && !PyCallable_Check(callback)) {
        PyErr_SetString(PyExc_TypeError, "progress is a callable or None");
        return NULL;
    }
    PyObject *secret = py_arena_of(state, source, &py_own_pages);
    if (!secret)
        return NULL;
    PyObject *work = workspace_for(state, secret, partial);
    PyObject *result = work ? search(state, secret, work, partial, callback) : NULL;
    Py_XDECREF(work);
    Py_DECREF(secret);
    return result;
}

PyMethodDef py_residue_functions[] = {
    {"_find", find_copies, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
