/* The Arena type: how one is made and closed, and what is done with it. What it tells of itself is
 * in arena_facts.c; the slots that it shares with ArenaView are in objects/items.c and
 * objects/operators.c. */
#include "objects/errors.h"
#include "objects/imports.h"
#include "objects/items.h"
#include "objects/make.h"
#include "objects/move.h"
#include "objects/operators.h"
#include "objects/pydantic.h"
#include "objects/reveal.h"
#include "objects/search.h"
#include "objects/span.h"
#include "types/arena_facts.h"
#include "types/types.h"

/* ---- life ---------------------------------------------------------------------- */

static PyObject *arena_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    if (!kwargs && PyTuple_Size(args) == 1) /* as nearly all are, at half the price */
        return py_arena_of(PyType_GetModuleState(type), PyTuple_GetItem(args, 0), &py_own_pages);
    static char *names[] = {"source", "align", "require", "name", NULL};
    PyObject *source;
    PyObject *align = NULL, *require = NULL, *name = NULL;
    struct py_home home = py_own_pages;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$OOO:Arena", names, &source, &align, &require,
                                     &name) ||
        (align && py_size_of(align, "align", &home.align) < 0) ||
        py_home_set(&home, require, name) < 0)
        return NULL;
    return py_arena_of(PyType_GetModuleState(type), source, &home);
}

static PyObject *arena_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    sa_close(py_core_of(self));
    Py_RETURN_NONE;
}

static PyObject *arena_enter(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    enum sa_code code = sa_reachable(py_core_of(self));
    return code == SA_OK ? Py_NewRef(self) : py_fail_of(self, code, NULL);
}

static PyObject *arena_exit(PyObject *self, PyObject *const *Py_UNUSED(args),
                            Py_ssize_t Py_UNUSED(count))
{
    return arena_close(self, NULL);
}

/* ---- what is done with it ----------------------------------------------------- */

static PyObject *arena_clear(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct py_span span;
    (void)py_span_ours(self, &span);
    if (py_span_clear(py_state_of(self), &span) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *arena_check(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    enum sa_code code = sa_check(py_core_of(self));
    if (code != SA_OK)
        return py_fail_of(self, code, NULL);
    Py_RETURN_NONE;
}

static PyObject *arena_rotate(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"timeout", NULL};
    PyObject *timeout = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:rotate", names, &timeout))
        return NULL;
    return py_arena_rotate(self, timeout);
}

static PyObject *arena_seal(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"encrypt", "timeout", NULL};
    PyObject *timeout = NULL, *encrypt = Py_None;
    struct py_move seal = {.what = MOVE_SEAL, .arena = py_core_of(self)};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OO:seal", names, &encrypt, &timeout) ||
        py_encryption_of(encrypt, &seal.how) < 0 || py_arena_move(self, &seal, timeout) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Put the new content into a twin, whole. -1 with an exception. */
static int fill_twin(PyObject *self, PyObject *source, struct sa_arena *fresh)
{
    struct py_span from;
    struct sa_why why = {0};
    size_t size = py_core_of(self)->size;
    if (py_span_open(source, false, &from) < 0)
        return -1;
    if (from.size != size) {
        PyErr_Format(PyExc_ValueError, "the size is fixed: cannot put %zu bytes in place of %zu",
                     from.size, size);
        py_span_close(&from);
        return -1;
    }
    enum sa_code code = sa_twin(py_core_of(self), fresh, &why);
    if (code == SA_OK) {
        PY_LOCK(from.lock ? from.lock : self);
        code = py_span_store(fresh, 0, &from);
        PY_UNLOCK();
        enum sa_code end = sa_fill_end(fresh, code == SA_OK);
        code = code != SA_OK ? code : end;
    }
    py_span_close(&from);
    if (code == SA_OK)
        return 0;
    py_fail_of(self, code, &why);
    return -1;
}

static PyObject *arena_replace(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "timeout", NULL};
    PyObject *source, *timeout = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$O:replace", names, &source, &timeout))
        return NULL;
    struct sa_arena fresh = {0};
    struct py_move replace = {.what = MOVE_REPLACE, .arena = py_core_of(self), .fresh = &fresh};
    int result = fill_twin(self, source, &fresh);
    if (result == 0)
        result = py_arena_move(self, &replace, timeout);
    sa_close(&fresh); /* it holds the old content, or the new one that was not wanted */
    if (result < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* The keyword `timeout`, if there is one. -1 with an exception. */
static int timeout_of(PyObject *const *values, PyObject *keywords, double *ms)
{
    for (Py_ssize_t i = 0; i < PyTuple_Size(keywords); i++) {
        PyObject *key = PyTuple_GetItem(keywords, i);
        if (PyUnicode_CompareWithASCIIString(key, "timeout")) {
            PyErr_Format(PyExc_TypeError, "open() got an unexpected keyword argument %R", key);
            return -1;
        }
        if (py_milliseconds_of(values[i], ms) < 0)
            return -1;
    }
    return 0;
}

static PyObject *arena_open(PyObject *self, PyObject *const *args, Py_ssize_t count,
                            PyObject *keywords)
{
    double ms = 0.0;
    if (count != 1) {
        PyErr_Format(PyExc_TypeError, "open() takes 1 argument (%zd given)", count);
        return NULL;
    }
    if (keywords && timeout_of(args + 1, keywords, &ms) < 0)
        return NULL;
    enum sa_code code = sa_reachable(py_core_of(self));
    if (code != SA_OK && PyUnicode_Check(args[0]))
        return py_fail_of(self, code, NULL);
    return py_block_new(py_state_of(self), self, true, args[0], ms);
}

/* The clock and the thread are Python's. */
static PyObject *arena_expire(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "idle", "grace", NULL};
    PyObject *after, *grace = NULL;
    int idle = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$pO:expire", names, &after, &idle, &grace))
        return NULL;
    enum sa_code code = sa_reachable(py_core_of(self));
    if (code != SA_OK)
        return py_fail_of(self, code, NULL);
    grace = grace ? Py_NewRef(grace) : PyFloat_FromDouble(1.0);
    args = grace ? Py_BuildValue("OOON", self, after, idle ? Py_True : Py_False, grace) : NULL;
    return py_call_late(py_state_of(self), "_expiry", "expire", args);
}

static PyMethodDef methods[] = {
    {"close", arena_close, METH_NOARGS,
     PyDoc_STR(
         "close($self, /)\n--\n\n"
         "Wipe the content and give the pages back.\n\n"
         "Repeating it does no harm, and it never fails. If buffers are still exported, the\n"
         "pages stay mapped, holding noise, until the last one is released. Afterwards size,\n"
         "name, closed, wiped, sealed, len() and repr() still answer. Anything else raises\n"
         "ClosedError. Deallocation closes, too.")},
    {"clear", arena_clear, METH_NOARGS,
     PyDoc_STR("clear($self, /)\n--\n\n"
               "Overwrite the content with noise; the mapping stays.\n\n"
               "The arena is then wiped: reading it raises WipedError until its whole content is\n"
               "written again, with arena[:] = data or inside open('w').")},
    {"check", arena_check, METH_NOARGS,
     PyDoc_STR(
         "check($self, /)\n--\n\n"
         "Look at the canary in the slack around the bytes.\n\n"
         "If it is damaged, something wrote past an end: every arena is wiped, the marker is\n"
         "written and the process aborts.")},
    {"rotate", (PyCFunction)(void (*)(void))arena_rotate, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR(
         "rotate($self, /, timeout=0)\n--\n\n"
         "Move the content to fresh pages at another address, under new noise.\n\n"
         "The old pages are wiped and made inaccessible, so that a stale pointer faults. Views\n"
         "stay valid: they name a range, not an address. It waits up to timeout seconds for\n"
         "exported buffers to be released and an open('w') block to end, and then raises\n"
         "BufferError. Meanwhile newcomers wait behind it, except a thread that has a block of\n"
         "the arena open. MemoryError or OSError: there were no new pages. ProtectionError: the\n"
         "new pages would protect less. WipedError: there is nothing to move. After an error\n"
         "nothing has changed.")},
    {"replace", (PyCFunction)(void (*)(void))arena_replace, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR(
         "replace($self, source, /, *, timeout=0)\n--\n\n"
         "Put new content of the same size in place, whole.\n\n"
         "It is built on fresh pages, or in a fresh cell of the pool, and then changes places\n"
         "with the old. Readers see the old or the new, never a mixture. Views stay valid. A\n"
         "wiped arena is usable afterwards, and a sealed one stays sealed. It waits up to\n"
         "timeout seconds, as rotate() does, for exported buffers to be released and open()\n"
         "blocks to end, and then raises BufferError. ValueError: the source has another size.\n"
         "The other errors are those of Arena() and rotate(). After an error nothing has\n"
         "changed.")},
    {"expire", (PyCFunction)(void (*)(void))arena_expire, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR(
         "expire($self, after, /, *, idle=False, grace=1.0)\n--\n\n"
         "Clear the arena that many seconds from now, or with idle from its last use.\n\n"
         "A use is any operation that reads, writes or lends the content, and the begin and the\n"
         "end of a block. While a buffer is exported, the arena is in use. An open() block is\n"
         "waited for, up to grace seconds. Then the content is cleared regardless, and the end\n"
         "of the block raises WipedError. Blocks of a pool are not waited for. The clock runs on\n"
         "while the machine sleeps (CLOCK_BOOTTIME; mach_continuous_time on macOS). An arena\n"
         "that was due meanwhile is cleared within a second after the machine wakes. None\n"
         "cancels. Another call replaces the one before. One thread serves all arenas of the\n"
         "process. A forked child has no such thread. ValueError: after or grace is negative,\n"
         "infinite or no number of seconds.")},
    {"seal", (PyCFunction)(void (*)(void))arena_seal, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR(
         "seal($self, /, *, encrypt=None, timeout=0)\n--\n\n"
         "Make the pages inaccessible until open() opens them for a block.\n\n"
         "Reading, comparing and exporting then raise SealedError. An access through a stray\n"
         "pointer is a fault, which wipes everything. Clearing, closing, rotating and lockdown\n"
         "work.\n\n"
         "With encrypt=True the content is also encrypted in place while no block is open, by\n"
         "ChaCha20-Poly1305 (RFC 8439). BLAKE2b (RFC 7693) makes the key, each time, of 16 KiB\n"
         "of random bytes. These are locked, and a wipe overwrites them first. OpenSSH shields\n"
         "its keys so. With None it is as configure(encrypt=) says, and an arena that is sealed\n"
         "already stays as it is. When the lock limit is reached, encrypted arenas give their\n"
         "lock to others. protection then has no LOCK, until a block locks the pages again. If\n"
         "that fails, the block works, with a ProtectionWarning; if LOCK is required, it raises\n"
         "ProtectionError, and the arena stays sealed. Changed ciphertext is tampering, as with\n"
         "check(). ValueError: over 1 MiB. ProtectionError: the 16 KiB cannot be locked.\n\n"
         "It waits up to timeout seconds, as rotate() does, for exported buffers and open()\n"
         "blocks, and then raises BufferError. ValueError: the arena is of a pool, which is\n"
         "sealed as a whole. MemoryError: mprotect was refused. It follows memguard, and\n"
         "libsodium's mprotect_noaccess.")},
    {"open", PY_FASTCALL(arena_open),
     PyDoc_STR(
         "open($self, mode, /, *, timeout=0)\n--\n\n"
         "A context manager that yields an ArenaView with just the access asked for.\n\n"
         "'r' is for reading: a write raises SealedError, and the pages are read-only, unless a\n"
         "writable buffer was exported before. 'rw' is for reading and writing. On a wiped arena\n"
         "both raise WipedError. 'w' is for new content. Entering overwrites the content with\n"
         "noise. Inside the block the arena counts as wiped. The view may be written piece by\n"
         "piece, or handed to a call that fills a buffer: readinto, recv_into, decrypt_into.\n"
         "Leaving a 'w' block normally makes the arena usable; an exception leaves noise. If the\n"
         "content is usable, nobody may be reading it: exported buffers and open blocks are\n"
         "waited for, up to timeout seconds as with rotate(), and then raise BufferError.\n"
         "Another 'w' block raises BufferError at any time. replace() is the way that keeps\n"
         "readers going.\n\n"
         "If any thread or handler wipes the arena while the block is open, the end of the block\n"
         "raises WipedError: its results may come from noise.\n\n"
         "The end restores the state before, sealed or not. Blocks nest, and those of all\n"
         "threads are counted. After the end the view is dead (SealedError). If a buffer is\n"
         "still exported, the pages stay open until it is released, and the end raises\n"
         "BufferError, unless another exception is in flight.")},
    {"__get_pydantic_core_schema__", py_pydantic_core_schema, METH_VARARGS | METH_CLASS,
     PyDoc_STR("__get_pydantic_core_schema__($type, source, handler, /)\n--\n\n"
               "For pydantic 2: a str, bytes or an Arena goes in, \"**********\" comes out.")},
    {"__get_pydantic_json_schema__", py_pydantic_json_schema, METH_VARARGS | METH_CLASS,
     PyDoc_STR("__get_pydantic_json_schema__($type, schema, handler, /)\n--\n\n"
               "For pydantic 2: a string of format password, writeOnly.")},
    {"__enter__", arena_enter, METH_NOARGS, PyDoc_STR("__enter__($self, /)\n--\n\nThe arena.")},
    {"__exit__", (PyCFunction)(void (*)(void))arena_exit, METH_FASTCALL,
     PyDoc_STR("__exit__($self, /, *args)\n--\n\nClose the arena.")},
    PY_REVEALING_METHODS,
    PY_SEARCHING_METHODS,
    PY_REFUSED_METHODS,
    {NULL, NULL, 0, NULL},
};

static PyMemberDef members[] = {
    PY_WEAKREFS(arena),
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(
    doc, "Arena(source, *, align=1, require=None, name=None)\n--\n\n"
         "Memory for one secret: between guard pages, locked in RAM, kept out of core files\n"
         "and of child processes, and overwritten when the process dies of a fatal signal.\n\n"
         "A context manager: leaving it closes the arena, as dropping it does.\n\n"
         "An int gives that many zero bytes. A contiguous bytes-like object gives a copy of its\n"
         "content, and stays as it is (take() clears it). align, a power of two up to the page\n"
         "size, aligns the first byte. The last byte then ends at most align - 1 bytes before\n"
         "the guard page. require names Protection flags that the arena must have; if one cannot\n"
         "be obtained, it is not made: ProtectionError. name, a short str, is shown by repr(),\n"
         "maps, warnings and errors.\n\n"
         "Indexing, slicing (an ArenaView), assignment of the same length, the writable buffer\n"
         "protocol and + work as with bytearray. Comparisons take a time that depends on the\n"
         "lengths alone, as hmac.compare_digest does. A bytearray or memoryview on the left\n"
         "makes the comparison itself and stops at the first difference, so prefer\n"
         "compare_digest(). An object that is not contiguous is never equal. An arena that\n"
         "cannot be read is equal to itself alone. str(), format(), hash(), iteration, in,\n"
         "pickling and copying raise TypeError. reveal() and bytes() give the content, as a copy\n"
         "that nothing wipes.\n\n"
         "Raises TypeError (float, bool; str: see encode()), ValueError (negative, bad align),\n"
         "BufferError (not contiguous), OverflowError (over sys.maxsize), MemoryError or OSError\n"
         "(no pages to be had; the message names the call that failed and what mends it). Calls\n"
         "raise ClosedError on a closed arena, and ForkedError on an arena of the parent\n"
         "process.");

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)doc},
    {Py_tp_new, (void *)arena_new},
    {Py_tp_dealloc, (void *)py_arena_dealloc},
    {Py_tp_repr, (void *)py_arena_repr},
    {Py_tp_str, (void *)py_refuse_text},
    {Py_tp_hash, (void *)PyObject_HashNotImplemented},
    {Py_tp_richcompare, (void *)py_richcompare},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {Py_tp_getset, py_arena_properties},
    {Py_nb_add, (void *)py_add},
    {Py_nb_int, (void *)py_refuse_number},
    {Py_nb_float, (void *)py_refuse_number},
    {Py_sq_contains, (void *)py_refuse_contains},
    {Py_mp_length, (void *)py_arena_length},
    {Py_mp_subscript, (void *)py_subscript},
    {Py_mp_ass_subscript, (void *)py_ass_subscript},
    {Py_bf_getbuffer, (void *)py_arena_getbuffer},
    {Py_bf_releasebuffer, (void *)py_arena_releasebuffer},
    {0, NULL},
};

PyType_Spec py_arena_spec = {
    .name = "secalloc.Arena",
    .basicsize = PY_BASICSIZE(arena),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};
