/* The module's functions, of which most concern the whole process. */
#include "glue.h"

#include <errno.h>
#include <limits.h>

/* ---- wiping ----------------------------------------------------------------------- */

static PyObject *core_clear(PyObject *module, PyObject *target)
{
    struct py_span span;
    if (py_span_open(target, true, &span) < 0)
        return NULL;
    int result = py_span_clear(py_state_of_module(module), &span);
    py_span_close(&span);
    if (result < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *core_rekey(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    struct sa_why why = {0};
    enum sa_code code = sa_rekey(&why);
    if (code != SA_OK)
        return py_fail(py_state_of_module(module), code, &why);
    Py_RETURN_NONE;
}

static PyObject *core_lockdown(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    struct sa_why why = {0};
    size_t wiped = 0;
    enum sa_code code;
    Py_BEGIN_ALLOW_THREADS
    code = sa_lockdown_begin(&why);
    Py_END_ALLOW_THREADS
    if (code == SA_OK) {
        /* Who holds the GIL and reads never sees half of each. It is not let go between
         * arenas: others that hold it wait for us to end. */
        size_t slots = sa_lockdown_small();
        Py_BEGIN_ALLOW_THREADS
        code = sa_lockdown_end(slots, &wiped, &why);
        Py_END_ALLOW_THREADS
    }
    if (code != SA_OK)
        return py_fail(py_state_of_module(module), code, &why);
    return PyLong_FromSize_t(wiped);
}

/* -1 with an exception; an int too large or negative is no descriptor. */
static int descriptor_of(PyObject *object)
{
    PyObject *number = NULL;
    if (PyBool_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "a descriptor is an int, not a bool");
        return -1;
    }
    if (PyLong_Check(object)) {
        number = Py_NewRef(object);
    } else {
        number = PyObject_CallMethod(object, "fileno", NULL);
        if (!number && PyErr_ExceptionMatches(PyExc_AttributeError))
            PyErr_Format(PyExc_TypeError,
                         "a descriptor is an int, an object with fileno(), or None, not %R",
                         (PyObject *)Py_TYPE(object));
        if (!number)
            return -1;
        if (!PyLong_Check(number) || PyBool_Check(number)) {
            Py_DECREF(number);
            PyErr_SetString(PyExc_TypeError, "fileno() returned something else than an int");
            return -1;
        }
    }
    int overflow = 0;
    long fd = PyLong_AsLongAndOverflow(number, &overflow);
    Py_DECREF(number);
    if (overflow || fd < 0 || fd > INT_MAX) {
        errno = EBADF;
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return (int)fd;
}

static PyObject *core_set_lockdown_fd(PyObject *module, PyObject *object)
{
    int fd = -1;
    if (!Py_IsNone(object) && (fd = descriptor_of(object)) < 0)
        return NULL;
    struct sa_why why = {0};
    int previous = -1;
    enum sa_code code = sa_set_lockdown_fd(fd, &previous, &why);
    if (code != SA_OK)
        return py_fail(py_state_of_module(module), code, &why);
    if (previous < 0)
        Py_RETURN_NONE;
    return PyLong_FromLong(previous);
}

static PyObject *core_take_lockdown_fd(PyObject *module, PyObject *object)
{
    int fd = descriptor_of(object);
    if (fd < 0)
        return NULL;
    struct sa_why why = {0};
    enum sa_code code = sa_take_lockdown_fd(fd, &why);
    if (code != SA_OK)
        return py_fail(py_state_of_module(module), code, &why);
    Py_RETURN_NONE;
}

static PyObject *core_leave_lockdown_fd(PyObject *Py_UNUSED(module), PyObject *object)
{
    int fd = descriptor_of(object);
    if (fd < 0)
        return NULL;
    sa_leave_lockdown_fd(fd);
    Py_RETURN_NONE;
}

static PyObject *core_hand_over(PyObject *module, PyObject *args)
{
    PyObject *arena;
    int sock;
    unsigned int timeout_ms;
    if (!PyArg_ParseTuple(args, "OiI:_hand_over", &arena, &sock, &timeout_ms))
        return NULL;
    if (!py_is_arena(arena)) {
        PyErr_SetString(PyExc_TypeError, "an Arena is needed");
        return NULL;
    }
    struct sa_why why = {0};
    enum sa_code code;
    Py_BEGIN_ALLOW_THREADS
    code = sa_hand_over(py_core_of(arena), sock, timeout_ms, &why);
    Py_END_ALLOW_THREADS
    if (code != SA_OK)
        return py_fail(py_state_of_module(module), code, &why);
    Py_RETURN_NONE;
}

/* ---- asking ------------------------------------------------------------------------- */

static PyObject *core_is_secure(PyObject *Py_UNUSED(module), PyObject *object)
{
    int answer = py_is_secure(object);
    return answer < 0 ? NULL : PyBool_FromLong(answer);
}

/* ---- moving and handlers -------------------------------------------------------------- */

static PyObject *core_rotate(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "timeout", NULL};
    PyObject *arena;
    PyObject *timeout = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:rotate", names, &arena, &timeout))
        return NULL;
    if (!py_is_arena(arena)) {
        PyErr_Format(PyExc_TypeError, "rotate() takes an Arena, not %R",
                     (PyObject *)Py_TYPE(arena));
        return NULL;
    }
    return py_arena_rotate(arena, timeout);
}

/* The signals of an iterable as an array to be freed with PyMem_Free. */
static int *signals_of(PyObject *iterable, size_t *count)
{
    PyObject *all = PySequence_Tuple(iterable);
    Py_ssize_t n = all ? PyTuple_Size(all) : -1;
    int *signals = n >= 0 ? PyMem_Calloc((size_t)n + 1, sizeof *signals) : NULL;
    if (!signals && n >= 0)
        PyErr_NoMemory();
    bool ok = signals != NULL;
    for (Py_ssize_t i = 0; ok && i < n; i++) {
        PyObject *item = PyTuple_GetItem(all, i);
        int overflow = 0;
        ok = item && PyLong_Check(item) && !PyBool_Check(item);
        long number = ok ? PyLong_AsLongAndOverflow(item, &overflow) : 0;
        if (item && !ok)
            PyErr_Format(PyExc_TypeError, "a signal is an int or signal.Signals, not %R",
                         (PyObject *)Py_TYPE(item));
        /* no signal is called 0: the core refuses whatever does not fit */
        signals[i] = overflow || number < 0 || number > INT_MAX ? 0 : (int)number;
    }
    Py_XDECREF(all);
    if (!ok) {
        PyMem_Free(signals);
        return NULL;
    }
    *count = (size_t)n;
    return signals;
}

static PyObject *core_arm(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"signals", NULL};
    PyObject *chosen = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:arm", names, &chosen))
        return NULL;
    size_t count = 0;
    int *signals = NULL;
    if (!Py_IsNone(chosen) && !(signals = signals_of(chosen, &count)))
        return NULL;
    struct sa_why why = {0};
    enum sa_code code = sa_arm(signals, count, &why);
    PyMem_Free(signals);
    if (code != SA_OK)
        return py_fail(py_state_of_module(module), code, &why);
    Py_RETURN_NONE;
}

static PyObject *core_disarm(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    struct sa_why why = {0};
    enum sa_code code = sa_disarm(&why);
    if (code != SA_OK)
        return py_fail(py_state_of_module(module), code, &why);
    Py_RETURN_NONE;
}

/* ---- policies ---------------------------------------------------------------------------- */

static PyObject *core_configure(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"secretmem", NULL};
    PyObject *use;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "$O:configure", names, &use))
        return NULL;
    if (!PyBool_Check(use)) {
        PyErr_Format(PyExc_TypeError, "secretmem is a bool, not %R", (PyObject *)Py_TYPE(use));
        return NULL;
    }
    return PyBool_FromLong(sa_use_secretmem(Py_IsTrue(use)));
}

static PyObject *core_trim(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(none))
{
    Py_BEGIN_ALLOW_THREADS /* thousands of pages take a while */
    sa_trim();
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *core_require(PyObject *module, PyObject *protection)
{
    unsigned bits = 0;
    if (py_protection_of(protection, &bits) < 0)
        return NULL;
    PyObject *flags = py_answer(py_state_of_module(module), PY_PROTECTION);
    if (!flags) /* first: nothing was changed */
        return NULL;
    return PyObject_CallFunction(flags, "I", sa_require(bits));
}

PyMethodDef py_module_methods[] = {
    {"_environ_copy", py_environ_copy, METH_O, NULL},
    {"_environ_wipe", py_environ_wipe, METH_O, NULL},
    {"_find", py_find, METH_VARARGS, NULL},
    {"_scrub", py_scrub, METH_VARARGS, NULL},
    {"_read_by_page", py_read_by_page, METH_VARARGS, NULL},
    {"_answer_with", py_answer_with, METH_VARARGS, NULL},
    {"_import_with", py_import_with, METH_O, NULL},
    {"_echo_off", py_echo_off, METH_O, NULL},
    {"_echo_back", py_echo_back, METH_O, NULL},
    {"_echo_before", py_echo_before, METH_NOARGS, NULL},
    {"_census", py_census, METH_NOARGS,
     PyDoc_STR("What lives in the vault, as tuples of the fields of secalloc.map.Pages.")},
    {"_dumpable", py_dumpable, METH_NOARGS, NULL},
    {"_frees_are_overwritten", py_frees_are_overwritten, METH_NOARGS, NULL},
    {"harden", py_harden, METH_NOARGS,
     PyDoc_STR("harden()\n--\n\n"
               "Let this process write no core files and be read by no other; a Hardening.\n\n"
               "Core files are limited to 0, soft and hard, which children inherit. On Linux the\n"
               "process becomes undumpable, until it runs another program or changes its user, so\n"
               "call it after that; a fork of it stays so. On macOS ptrace may not attach.\n\n"
               "What no longer works: core dumps; gdb -p, strace -p, py-spy and perf by the same\n"
               "user, and reading this process through /proc. On Linux the files of /proc/self\n"
               "belong to root: an ordinary user's process cannot open its own mem, environ, auxv\n"
               "or pagemap any more; maps, status, smaps and fd still work. Who has CAP_SYS_PTRACE,\n"
               "root for one, can still do all of it, but reads no secretmem.\n\n"
               "Never undone; harmless when repeated. What was refused raises nothing: it is told\n"
               "by the answer, which is false then.")},
    {"configure", (PyCFunction)(void (*)(void))core_configure, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("configure(*, secretmem)\n--\n\n"
               "Choose whether arenas made from now on lie in secretmem, where the kernel has it.\n\n"
               "True by default. Any secretmem in use keeps the machine from hibernating: with\n"
               "False they lie in locked anonymous memory. Arenas made before, and pages that a\n"
               "pool has already, stay what they are; what is kept for the next ones is given\n"
               "back. Returns the previous setting, a bool.")},
    {"trim", core_trim, METH_NOARGS,
     PyDoc_STR("trim()\n--\n\n"
               "Give back the pages that are kept for the next arenas, those of pools too.\n\n"
               "A closed arena's pages are kept, wiped and inaccessible, since the next one then\n"
               "costs a tenth. Until they are given back they count against limits, and secretmem\n"
               "keeps the machine from hibernating. They go by themselves when the last arena is\n"
               "closed, unless the one before went within the last second; this call is for a\n"
               "program that has used many in a row and will need none for a while.")},
    {"require", core_require, METH_O,
     PyDoc_STR("require(protection, /)\n--\n\n"
               "Make every arena from now on have these Protection flags, or not be made.\n\n"
               "A shortfall is then a ProtectionError, which names the call that was refused, its\n"
               "errno and what mends it, instead of a ProtectionWarning. Protection(0) requires\n"
               "nothing; GUARD and NOFORK always hold. Returns the previous requirement.\n"
               "ValueError: unknown flags.")},
    {"random", py_random, METH_O,
     PyDoc_STR("random(size, /)\n--\n\n"
               "A new Arena of size random bytes, as secrets.token_bytes gives.\n\n"
               "The kernel writes them straight into the arena. TypeError, ValueError,\n"
               "OverflowError, MemoryError and OSError as for Arena(size).")},
    {"take", py_take, METH_O,
     PyDoc_STR("take(buffer, /)\n--\n\n"
               "A new Arena with the content of a writable contiguous buffer, which is cleared.\n\n"
               "A whole Arena as the source becomes wiped; anything else is overwritten with\n"
               "noise. BufferError: read-only, or not contiguous; TypeError, MemoryError, OSError\n"
               "as for Arena(buffer). When it fails the source still has its content.")},
    {"concat", (PyCFunction)(void (*)(void))py_concat, METH_FASTCALL,
     PyDoc_STR("concat(*parts)\n--\n\n"
               "A new Arena of all parts, bytes-like objects, one after the other.\n\n"
               "Copied straight into the arena; without parts it is empty. As b''.join, of which\n"
               "the result would be bytes. Errors as for Arena(part); nothing is made then.")},
    {"fromhex", py_fromhex, METH_O,
     PyDoc_STR("fromhex(text, /)\n--\n\n"
               "A new Arena of the bytes that hexadecimal text stands for, as bytes.fromhex.\n\n"
               "Takes a str or a bytes-like object, which stays as it is. ASCII white space may\n"
               "stand between the bytes. Constant-time but for where white space is. ValueError:\n"
               "other text; it names the position, never the character.")},
    {"b64decode", (PyCFunction)(void (*)(void))py_b64decode, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("b64decode(text, /, *, urlsafe=False)\n--\n\n"
               "A new Arena of the bytes that base64 text stands for, as base64.b64decode with\n"
               "validate=True.\n\n"
               "Takes a str or a bytes-like object, which stays as it is. Exact padding is needed, white\n"
               "space is refused; with urlsafe, - and _ stand for + and / (RFC 4648, section 5).\n"
               "Constant-time. ValueError: other text; it names the position, never the character.")},
    {"encode", py_encode, METH_O,
     PyDoc_STR("encode(text, /)\n--\n\n"
               "A new Arena of a str's UTF-8, as str.encode.\n\n"
               "Written straight into the arena; the str keeps no copy of it, but is itself one,\n"
               "and stays. The time depends on how many bytes each character takes. ValueError: a\n"
               "lone surrogate; it names the position alone. TypeError: not a str.")},
    {"hexlify", py_hexlify, METH_O,
     PyDoc_STR("hexlify(data, /)\n--\n\n"
               "A new Arena of the hexadecimal text of a bytes-like object, as binascii.hexlify.\n\n"
               "Small letters; constant-time. TypeError: a str, or no buffer.")},
    {"b64encode", (PyCFunction)(void (*)(void))py_b64encode, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("b64encode(data, /, *, urlsafe=False)\n--\n\n"
               "A new Arena of the base64 text of a bytes-like object, as base64.b64encode.\n\n"
               "With padding, without line ends; with urlsafe, - and _ stand for + and /.\n"
               "Constant-time. TypeError: a str, or no buffer. RFC 4648.")},
    {"compare_digest", (PyCFunction)(void (*)(void))py_compare_digest, METH_FASTCALL,
     PyDoc_STR("compare_digest(a, b, /)\n--\n\n"
               "Whether two bytes-like objects are equal, in time that depends on the lengths\n"
               "alone, as hmac.compare_digest.\n\n"
               "A str is a TypeError; an arena that cannot be read raises what reading it does.")},
    {"clear", core_clear, METH_O,
     PyDoc_STR("clear(buffer, /)\n--\n\n"
               "Overwrite any writable contiguous buffer with the current noise.\n\n"
               "A whole Arena becomes wiped, as by its clear(). Part of one, a view or a\n"
               "memoryview, and any other buffer, is just overwritten, and stays usable.\n"
               "BufferError: read-only, or not contiguous; TypeError: no buffer; nothing was\n"
               "changed.")},
    {"rekey", core_rekey, METH_NOARGS,
     PyDoc_STR("rekey()\n--\n\n"
               "Make fresh noise from the kernel's entropy; what was wiped stays as it is.\n\n"
               "Before first use it does nothing. OSError: no entropy, and the old noise stays.")},
    {"lockdown", core_lockdown, METH_NOARGS,
     PyDoc_STR("lockdown()\n--\n\n"
               "Wipe every arena of the process, write the marker 'L', and rekey.\n\n"
               "Sealed and pooled ones too; what is exported holds noise. Returns how many arenas\n"
               "were wiped; the process lives on, and arenas made later are not affected. OSError:\n"
               "no entropy for the rekey, but all is wiped.")},
    {"set_lockdown_fd", core_set_lockdown_fd, METH_O,
     PyDoc_STR("set_lockdown_fd(fd, /)\n--\n\n"
               "Choose where the marker goes: a descriptor, an object with fileno(), or None for\n"
               "nowhere. Returns the previous one.\n\n"
               "The marker is one byte: 'F' when a fatal signal has wiped all, one or more where\n"
               "several threads fault together, 'L' from lockdown(). SIGTERM, SIGHUP and what was\n"
               "armed besides the default signals write it only to a descriptor that was set. The\n"
               "default is 2, standard error as it was when the library was imported, None if it was\n"
               "closed; on a terminal a newline follows.\n\n"
               "The descriptor stays the caller's. The file behind it is remembered: when the\n"
               "number is reused for another, nothing is written. OSError: not an open\n"
               "descriptor; the previous one stays.")},
    {"is_secure", core_is_secure, METH_O,
     PyDoc_STR("is_secure(object, /)\n--\n\n"
               "Whether the memory of a bytes-like object lies in a live arena.\n\n"
               "True of arenas that are not closed, their views, and what shares their memory:\n"
               "memoryviews, arrays made with frombuffer. TypeError: it has no buffer.")},
    {"rotate", (PyCFunction)(void (*)(void))core_rotate, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("rotate(arena, /, timeout=0)\n--\n\n"
               "Move an arena's content to fresh pages, as Arena.rotate(), which says more.")},
    {"arm", (PyCFunction)(void (*)(void))core_arm, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("arm(signals=None)\n--\n\n"
               "Install the fatal-signal handlers, outermost, for some signals or for all.\n\n"
               "The first arena does so by itself for SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT,\n"
               "SIGSYS and SIGTRAP, and, where nobody handles or ignores them, for SIGQUIT,\n"
               "SIGXCPU, SIGXFSZ, SIGTERM and SIGHUP. Any other whose default action ends the\n"
               "process, SIGINT, SIGPIPE, SIGALRM, SIGUSR1 and real-time ones among them, ends it\n"
               "unwiped unless it is armed here, which again leaves alone what somebody handles or\n"
               "ignores, as Python does SIGINT and SIGPIPE.\n\n"
               "ValueError: a signal that does not end the process, or cannot be handled; nothing\n"
               "was installed. OSError: sigaction failed, or more than seven other handlers took\n"
               "turns with ours on one signal.")},
    {"disarm", core_disarm, METH_NOARGS,
     PyDoc_STR("disarm()\n--\n\n"
               "Put back what handled the signals before, where ours is still in place.\n\n"
               "It sticks: later arenas do not arm again until arm() is called.")},
    {"status", py_status, METH_NOARGS,
     PyDoc_STR("status()\n--\n\n"
               "What holds at this moment, as a Status: a named tuple. Before the first arena, too.")},
    {"_hand_over", core_hand_over, METH_VARARGS,
     PyDoc_STR("_hand_over(arena, socket, timeout, /)\n--\n\n"
               "Give a copy to who calls _take_over at the other end; milliseconds.")},
    {"_take_over", py_take_over, METH_VARARGS,
     PyDoc_STR("_take_over(size, socket, timeout, /)\n--\n\n"
               "A new Arena of what the other end hands over; milliseconds.")},
    {"_take_lockdown_fd", core_take_lockdown_fd, METH_O,
     PyDoc_STR("As set_lockdown_fd, for what came over a channel: no forked child writes to it.")},
    {"_leave_lockdown_fd", core_leave_lockdown_fd, METH_O,
     PyDoc_STR("The default again, where the marker still goes to that descriptor.")},
    {"_warn_later", py_warn_later, METH_O,
     PyDoc_STR("Keep a text to be warned of, as a ProtectionWarning, at the first arena.")},
    {NULL, NULL, 0, NULL},
};
