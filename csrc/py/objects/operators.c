/* Comparison, concatenation, and what a secret refuses to become. */
#include "objects/operators.h"

#include "objects/errors.h"
#include "objects/make.h"

#include "base/ct.h"

/* ---- comparison -------------------------------------------------------------- */

static enum sa_code compare_locked(struct py_span *a, struct py_span *b, bool equality, int *order)
{
    enum sa_code code = py_span_lend(a);
    if (code != SA_OK)
        return code;
    code = py_span_lend(b);
    if (code == SA_OK) {
        *order = equality ? !ct_equal(a->bytes, a->size, b->bytes, b->size)
                          : ct_order(a->bytes, a->size, b->bytes, b->size);
        code = py_span_return(b);
    }
    enum sa_code back = py_span_return(a);
    return code != SA_OK ? code : back;
}

/* Two bytes objects have no lock, and cannot change. */
enum sa_code py_compare(struct py_span *a, struct py_span *b, bool equality, int *order)
{
    PyObject *one = a->lock ? a->lock : b->lock, *other = b->lock ? b->lock : one;
    if (!one)
        return compare_locked(a, b, equality, order);
    enum sa_code code;
    PY_LOCK_BOTH(one, other);
    code = compare_locked(a, b, equality, order);
    PY_UNLOCK_BOTH();
    return code;
}

static bool holds(int op, int order)
{
    switch (op) {
    case Py_LT: return order < 0;
    case Py_LE: return order <= 0;
    case Py_EQ: return order == 0;
    case Py_NE: return order != 0;
    case Py_GT: return order > 0;
    default: return order >= 0;
    }
}

PyObject *py_richcompare(PyObject *self, PyObject *other, int op)
{
    bool equality = op == Py_EQ || op == Py_NE;
    struct py_span a, b;
    (void)py_span_ours(self, &a);
    if (!py_span_ours(other, &b)) {
        if (!PyObject_CheckBuffer(other))
            Py_RETURN_NOTIMPLEMENTED;
        if (py_span_open(other, false, &b) < 0) {
            /* not contiguous, or a released memoryview: no bytes to compare with */
            if (!PyErr_ExceptionMatches(PyExc_BufferError) &&
                !PyErr_ExceptionMatches(PyExc_ValueError))
                return NULL;
            PyErr_Clear();
            Py_RETURN_NOTIMPLEMENTED;
        }
    }
    int order = 0;
    enum sa_code code = py_compare(&a, &b, equality, &order);
    py_span_close(&b);
    if (code != SA_OK) {
        if (!equality)
            return py_fail(py_state_of(self), code, NULL);
        order = self != other;
    }
    return PyBool_FromLong(holds(op, order));
}

/* ---- concatenation ----------------------------------------------------------- */

PyObject *py_add(PyObject *left, PyObject *right)
{
    struct py_span span;
    bool ours = py_span_ours(left, &span);
    PyObject *other = ours ? right : left;
    if (!PyObject_CheckBuffer(other))
        Py_RETURN_NOTIMPLEMENTED;
    PyObject *const sides[2] = {left, right};
    return py_arena_of_arguments(py_state_of(ours ? left : right), sides, 2, &py_own_pages);
}

/* ---- refusals ---------------------------------------------------------------- */

PyObject *py_refuse_text(PyObject *Py_UNUSED(self))
{
    PyErr_SetString(PyExc_TypeError,
                    "a secret does not become text by itself: pass the object where a buffer is "
                    "taken, log its repr(), or reveal() it on purpose");
    return NULL;
}

PyObject *py_refuse_format(PyObject *self, PyObject *Py_UNUSED(spec))
{
    return py_refuse_text(self);
}

PyObject *py_refuse_number(PyObject *Py_UNUSED(self))
{
    PyErr_SetString(PyExc_TypeError, "a secret does not become a number by itself: reveal it on "
                                     "purpose with int.from_bytes()");
    return NULL;
}

int py_refuse_contains(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(item))
{
    PyErr_SetString(PyExc_TypeError, "a secret is not searched, which would take as long as the "
                                     "match is near: compare slices with ==, or find() on purpose");
    return -1;
}

PyObject *py_refuse_copy(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(memo))
{
    PyErr_SetString(PyExc_TypeError, "a secret is not copied in passing: make another on purpose "
                                     "with Arena(source)");
    return NULL;
}

PyObject *py_refuse_pickle(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(protocol))
{
    PyErr_SetString(PyExc_TypeError, "a secret is not pickled, which would leave it in ordinary "
                                     "memory or a file: hand it over through a pipe or socket");
    return NULL;
}
