/* Functions that concern the whole process: lockdown, noise, handlers, policies. */
#include "functions/functions.h"
#include "objects/errors.h"
#include "objects/imports.h"
#include "objects/protection.h"

#include <limits.h>

static PyObject *rekey(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    struct sa_why why = {0};
    enum sa_code code = sa_rekey(&why);
    if (code != SA_OK)
        return py_fail(py_state_of_module(module), code, &why);
    Py_RETURN_NONE;
}

static PyObject *lock_down(PyObject *module, bool quietly)
{
    struct sa_why why = {0};
    size_t wiped = 0;
    enum sa_code code;
    while ((code = sa_lockdown_begin(&why)) == SA_BUSY) {
        Py_BEGIN_ALLOW_THREADS sa_lockdown_wait();
        Py_END_ALLOW_THREADS
    }
    if (code == SA_OK) {
        /* A thread that holds the GIL and reads never sees half of an arena wiped. The GIL is
         * not let go between arenas: a thread that got it would wait for the lockdown's end. */
        size_t slots = sa_lockdown_small();
        Py_BEGIN_ALLOW_THREADS code = quietly ? sa_lockdown_end_quietly(slots, &wiped, &why)
                                              : sa_lockdown_end(slots, &wiped, &why);
        Py_END_ALLOW_THREADS
    }
    if (code != SA_OK)
        return py_fail(py_state_of_module(module), code, &why);
    return PyLong_FromSize_t(wiped);
}

static PyObject *lockdown(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    return lock_down(module, false);
}

static PyObject *lockdown_quietly(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    return lock_down(module, true);
}

/* The signals of an iterable, as an array to be freed with PyMem_Free. NULL with an exception. */
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
        /* No signal has the number 0, so the core refuses it. */
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

static PyObject *arm(PyObject *module, PyObject *args, PyObject *kwargs)
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

static PyObject *disarm(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    struct sa_why why = {0};
    enum sa_code code = sa_disarm(&why);
    if (code != SA_OK)
        return py_fail(py_state_of_module(module), code, &why);
    Py_RETURN_NONE;
}

/* A setting that is given is a bool. -1 with an exception. */
static int check_setting(PyObject *value, const char *name)
{
    if (!value || PyBool_Check(value))
        return 0;
    PyErr_Format(PyExc_TypeError, "%s is a bool, not %R", name, (PyObject *)Py_TYPE(value));
    return -1;
}

/* First whether pages are to lie in secretmem: the ones that encryption needs are, too. */
static PyObject *configure(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"secretmem", "encrypt", NULL};
    PyObject *secretmem = NULL, *encrypt = NULL;
    bool was_secretmem = false, was_encrypt = false;
    struct sa_why why = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OO:configure", names, &secretmem, &encrypt) ||
        check_setting(secretmem, "secretmem") < 0 || check_setting(encrypt, "encrypt") < 0)
        return NULL;
    if (!secretmem && !encrypt) {
        PyErr_SetString(PyExc_TypeError, "configure() takes secretmem=, encrypt= or both");
        return NULL;
    }
    if (secretmem)
        was_secretmem = sa_use_secretmem(Py_IsTrue(secretmem));
    enum sa_code code = encrypt ? sa_encrypt_by_default(Py_IsTrue(encrypt), &was_encrypt, &why)
                                : SA_OK;
    if (code != SA_OK) {
        if (secretmem)
            (void)sa_use_secretmem(was_secretmem);
        return py_fail(py_state_of_module(module), code, &why);
    }
    /* That the keys lie without a protection. As an exception it leaves all as it was. */
    if (encrypt && Py_IsTrue(encrypt) && py_warn_shortfall(py_state_of_module(module), NULL) < 0) {
        if (!was_encrypt && sa_encrypt_by_default(false, &was_encrypt, &why)) {
            /* it needs nothing that could be refused */
        }
        if (secretmem)
            (void)sa_use_secretmem(was_secretmem);
        return NULL;
    }
    PyObject *before = PyBool_FromLong(secretmem ? was_secretmem : was_encrypt);
    return secretmem && encrypt ? Py_BuildValue("NO", before, was_encrypt ? Py_True : Py_False)
                                : before;
}

static PyObject *trim(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(none))
{
    Py_BEGIN_ALLOW_THREADS /* thousands of pages take a while */
    sa_shelter_trim();
    sa_trim();
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}

static PyObject *require(PyObject *module, PyObject *protection)
{
    unsigned bits = 0;
    if (py_protection_of(protection, &bits) < 0)
        return NULL;
    PyObject *flags = py_answer(py_state_of_module(module), PY_PROTECTION);
    if (!flags) /* before anything is changed */
        return NULL;
    return PyObject_CallFunction(flags, "I", sa_require(bits));
}

PyMethodDef py_process_functions[] = {
    {"rekey", rekey, METH_NOARGS,
     PyDoc_STR("rekey()\n--\n\n"
               "Make fresh noise from the kernel's entropy; what was wiped stays as it is.\n\n"
               "Before first use it does nothing. OSError: no entropy, and the old noise stays.")},
    {"_lockdown_quietly", lockdown_quietly, METH_NOARGS,
     PyDoc_STR("_lockdown_quietly()\n--\n\n"
               "As lockdown(), with no marker to the default descriptor.")},
    {"lockdown", lockdown, METH_NOARGS,
     PyDoc_STR(
         "lockdown()\n--\n\n"
         "Wipe every arena of the process, write the marker 'L', and rekey.\n\n"
         "Sealed and pooled arenas are wiped too, and exported buffers then show noise. Returns\n"
         "how many arenas were wiped. The process goes on, and arenas that are made later are\n"
         "not affected. OSError: there was no entropy for the rekey, but all is wiped.")},
    {"arm", (PyCFunction)(void (*)(void))arm, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR(
         "arm(signals=None)\n--\n\n"
         "Install the fatal-signal handlers, outermost, for some signals or for all.\n\n"
         "The first arena does so by itself for SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS\n"
         "and SIGTRAP, and, where nobody handles or ignores them, for SIGQUIT, SIGXCPU, SIGXFSZ,\n"
         "SIGTERM and SIGHUP. Other signals whose default action ends the process end it\n"
         "unwiped, unless they are armed here: SIGINT, SIGPIPE, SIGALRM, SIGUSR1 and real-time\n"
         "ones among them. Arming them also leaves alone what somebody handles or ignores, as\n"
         "Python does SIGINT and SIGPIPE.\n\n"
         "ValueError: a signal that does not end the process, or cannot be handled; nothing\n"
         "was installed. OSError: sigaction failed, or more than seven other handlers took\n"
         "turns with ours on one signal.")},
    {"disarm", disarm, METH_NOARGS,
     PyDoc_STR("disarm()\n--\n\n"
               "Put back what handled the signals before, where ours is still in place.\n\n"
               "It lasts: later arenas do not arm again until arm() is called.")},
    {"configure", (PyCFunction)(void (*)(void))configure, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR(
         "configure(*, secretmem=..., encrypt=...)\n--\n\n"
         "Choose where arenas lie from now on, and whether sealing encrypts them.\n\n"
         "secretmem, True by default: arenas lie in secretmem, where the kernel has it.\n"
         "Secretmem in use keeps the machine from hibernating. With False, arenas lie in locked\n"
         "anonymous memory. Arenas that exist, and pages that a pool has, stay as they are.\n"
         "Pages that are kept for later arenas are given back.\n\n"
         "encrypt, False by default: with True every Arena.seal() encrypts, as\n"
         "seal(encrypt=True) does. A pool cannot encrypt, so its seal() raises ValueError. This\n"
         "call locks the 16 KiB of which the keys are made, until the process ends.\n\n"
         "Returns the previous setting, a bool. If both are given, it returns both, in that\n"
         "order. ProtectionError: the 16 KiB cannot be locked, or cannot be protected as\n"
         "required. Nothing has changed then.")},
    {"trim", trim, METH_NOARGS,
     PyDoc_STR(
         "trim()\n--\n\n"
         "Give back the pages that are kept for the next arenas, those of pools too.\n\n"
         "The pages of a closed arena are kept, wiped and inaccessible, because the next arena\n"
         "then costs a tenth. Until they are given back they count against limits, and secretmem\n"
         "keeps the machine from hibernating. They are given back when the last arena is closed,\n"
         "unless the one before went within the last second. Call this in a program that has\n"
         "used many arenas in a row and will need none for a while.")},
    {"require", require, METH_O,
     PyDoc_STR("require(protection, /)\n--\n\n"
               "Make every arena from now on have these Protection flags, or not be made.\n\n"
               "A shortfall is then a ProtectionError, which names the call that was refused, its\n"
               "errno and what mends it, instead of a ProtectionWarning. Protection(0) requires\n"
               "nothing; GUARD and NOFORK always hold. Returns the previous requirement.\n"
               "ValueError: unknown flags.")},
    {NULL, NULL, 0, NULL},
};
