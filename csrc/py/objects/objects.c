/* How arenas and views end, which also tells them from any other object. */
#include "objects/objects.h"

#include "objects/pool_refs.h"

void py_arena_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    py_clear_weakrefs(self, &arena_data(self)->weakrefs);
    sa_close(py_core_of(self));
    struct sa_why unused;
    (void)!sa_set_name(py_core_of(self), NULL, 0, &unused); /* which takes no memory */
    PyObject *pool = arena_data(self)->pool;
    PyObject_Free(self);
    if (pool)
        py_pool_release(pool); /* last: until then the core has the arena's address */
    Py_DECREF(type);
}

PyObject *py_view_new(struct py_state *state, PyObject *arena, PyObject *block, size_t start,
                      size_t size)
{
    PyObject *self = PyType_GenericAlloc(state->view_type, 0);
    if (!self)
        return NULL;
    *view_data(self) = (struct view_data){
        .arena = Py_NewRef(arena),
        .block = Py_XNewRef(block),
        .start = start,
        .size = size,
    };
    return self;
}

void py_view_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(view_data(self)->block);
    Py_XDECREF(view_data(self)->arena);
    PyObject_Free(self);
    Py_DECREF(type);
}
