/* Waiting for exported buffers and open blocks, by what these forbid: rotate, seal, replace and
 * the begin of a fill. */
#include "objects/move.h"

#include "objects/errors.h"

/* How long a wait leaves Ctrl-C unanswered. */
enum { ROUND_MS = 100 };

int py_milliseconds_of(PyObject *seconds, double *ms)
{
    double s = PyFloat_AsDouble(seconds);
    if (s == -1.0 && PyErr_Occurred())
        return -1;
    if (!(s >= 0.0)) { /* NaN too */
        PyErr_SetString(PyExc_ValueError, "timeout is a number of seconds, 0 or more");
        return -1;
    }
    *ms = s * 1000.0;
    return 0;
}

int py_encryption_of(PyObject *encrypt, enum sa_encryption *how)
{
    *how = SA_SEAL_BY_DEFAULT;
    if (Py_IsNone(encrypt))
        return 0;
    if (!PyBool_Check(encrypt)) {
        PyErr_Format(PyExc_TypeError, "encrypt is a bool or None, not %R",
                     (PyObject *)Py_TYPE(encrypt));
        return -1;
    }
    *how = Py_IsTrue(encrypt) ? SA_SEAL_ENCRYPTED : SA_SEAL_PLAIN;
    return 0;
}

static enum sa_code try_it(const struct py_move *move, struct sa_why *why)
{
    switch (move->what) {
    case MOVE_ROTATE: return sa_rotate(move->arena, 0, why);
    case MOVE_SEAL: return sa_seal_as(move->arena, move->how, why);
    case MOVE_FILL: return sa_fill_begin(move->arena, why);
    case MOVE_REPLACE: return sa_replace(move->arena, move->fresh, why);
    }
    return SA_OK;
}

/* A wipe keeps the GIL, so that a thread that holds it never sees half of one. A step that only
 * moves pages that nobody reads may let it go. */
static enum sa_code try_apart(const struct py_move *move, struct sa_why *why)
{
    enum sa_code code;
    if (move->what != MOVE_ROTATE && move->what != MOVE_REPLACE)
        return try_it(move, why);
    Py_BEGIN_ALLOW_THREADS code = try_it(move, why);
    Py_END_ALLOW_THREADS return code;
}

int py_move(const struct py_move *move, double ms, enum sa_code *code, struct sa_why *why)
{
    if (ms == 0.0) {
        *code = try_it(move, why);
        return 0;
    }
    struct sa_turn turn = {0};
    bool blocks = move->what != MOVE_ROTATE;
    int64_t begun = sa_now_ms();
    int result = 0;
    for (;;) {
        *code = try_apart(move, why);
        double left = ms - (double)(sa_now_ms() - begun);
        if ((*code != SA_BUSY && *code != SA_FILLING) || left <= 0.0)
            break;
        uint32_t round = left < ROUND_MS ? (uint32_t)left + 1 : ROUND_MS;
        Py_BEGIN_ALLOW_THREADS sa_turn_wait(move->arena, &turn, blocks, round);
        Py_END_ALLOW_THREADS if ((result = PyErr_CheckSignals()) < 0) break;
    }
    sa_turn_end(move->arena, &turn);
    return result;
}

int py_arena_move(PyObject *self, const struct py_move *move, PyObject *timeout)
{
    double ms = 0.0;
    enum sa_code code = SA_OK;
    struct sa_why why = {0};
    if ((timeout && py_milliseconds_of(timeout, &ms) < 0) || py_move(move, ms, &code, &why) < 0)
        return -1;
    if (code == SA_OK)
        return py_warn_shortfall_of(py_state_of(self), self);
    py_fail_of(self, code, &why);
    return -1;
}

PyObject *py_arena_rotate(PyObject *self, PyObject *timeout)
{
    struct py_move rotate = {.what = MOVE_ROTATE, .arena = py_core_of(self)};
    if (py_arena_move(self, &rotate, timeout) < 0)
        return NULL;
    Py_RETURN_NONE;
}

SA_COLD static int stand_by(struct sa_arena *core)
{
    do {
        Py_BEGIN_ALLOW_THREADS sa_stand_by(core, ROUND_MS);
        Py_END_ALLOW_THREADS if (PyErr_CheckSignals() < 0) return -1;
    } while (sa_held_off(core));
    return 0;
}

int py_stand_by(struct sa_arena *core) { return sa_held_off(core) ? stand_by(core) : 0; }
