/* The ArenaView type: a range of an arena, named rather than pointed to. */
#include "objects/items.h"
#include "objects/objects.h"
#include "objects/operators.h"
#include "objects/reveal.h"
#include "objects/search.h"
#include "types/types.h"

static PyObject *view_repr(PyObject *self)
{
    const struct view_data *view = view_data(self);
    return PyUnicode_FromFormat("<secalloc.ArenaView %zu:%zu of %R>", view->start,
                                view->start + view->size, view->arena);
}

static PyObject *view_arena(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(view_data(self)->arena);
}

static PyMethodDef methods[] = {
    PY_REVEALING_METHODS,
    PY_SEARCHING_METHODS,
    PY_REFUSED_METHODS,
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef properties[] = {
    {"arena", view_arena, NULL, PyDoc_STR("The Arena that this is a range of."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(
    doc, "A range of an Arena, as secret as the whole: what slicing and open() give.\n\n"
         "It names the range rather than an address, and so survives rotate(). It keeps its\n"
         "arena alive. It can be read, written and sliced as an arena can. It fails as an arena\n"
         "does when that is wiped (WipedError), closed (ClosedError) or the parent's\n"
         "(ForkedError). The view of an open('w') block is for writing: reading it raises\n"
         "WipedError. After the block anything but len() and repr() raises SealedError.\n\n"
         "clear(view) overwrites the range; assigning to a view of the whole of a wiped\n"
         "arena makes it usable, as arena[:] = data does.");

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)doc},
    {Py_tp_dealloc, (void *)py_view_dealloc},
    {Py_tp_repr, (void *)view_repr},
    {Py_tp_str, (void *)py_refuse_text},
    {Py_tp_hash, (void *)PyObject_HashNotImplemented},
    {Py_tp_richcompare, (void *)py_richcompare},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_nb_add, (void *)py_add},
    {Py_nb_int, (void *)py_refuse_number},
    {Py_nb_float, (void *)py_refuse_number},
    {Py_sq_contains, (void *)py_refuse_contains},
    {Py_mp_length, (void *)py_view_length},
    {Py_mp_subscript, (void *)py_subscript},
    {Py_mp_ass_subscript, (void *)py_ass_subscript},
    {Py_bf_getbuffer, (void *)py_view_getbuffer},
    {Py_bf_releasebuffer, (void *)py_view_releasebuffer},
    {0, NULL},
};

PyType_Spec py_view_spec = {
    .name = "secalloc.ArenaView",
    .basicsize = PY_BASICSIZE(view),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};
