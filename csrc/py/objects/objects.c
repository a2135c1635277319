/* How arenas and views end, which also tells them from any other object. */
#include "objects/objects.h"

#include "objects/pool_refs.h"

#include <string.h>

PyObject *py_arena_new(struct py_state *state)
{
    PyObject *self = PyObject_New(PyObject, state->arena_type); /* PyType_GenericAlloc calls more */
    if (!self)
        return NULL;
    /* In two halves, which are a few stores: for the whole gcc takes "rep stos", which is slow. */
    char *data = (char *)arena_data(self);
    enum { ALL = sizeof(struct arena_data), HALF = ALL / 2 };
    memset(data, 0, HALF);
    memset(data + HALF, 0, ALL - HALF);
    return self;
}

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
    PyObject *self = PyObject_New(PyObject, state->view_type);
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
