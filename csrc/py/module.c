/* The module secalloc._core: its types, its state, and how each Python loads it. */
#include "glue.h"

static PyTypeObject *add_type(PyObject *module, PyType_Spec *spec)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    if (type)
        py_uncount(type);
    return (PyTypeObject *)type;
}

/* numpy then leaves its operators to ours. The types are not immutable, or this
 * attribute could not be set. */
static int defer_numpy(PyTypeObject *type)
{
    return PyObject_SetAttrString((PyObject *)type, "__array_ufunc__", Py_None);
}

/* Python looks when it starts, and has None for what was closed. */
static void look_for_standard_error(void)
{
    PyObject *file = PySys_GetObject("__stderr__"); /* borrowed; NULL: deleted */
    if (file && Py_IsNone(file))
        sa_no_standard_error();
}

static int module_exec(PyObject *module)
{
    struct py_state *state = py_state_of_module(module);
    look_for_standard_error();
    if (py_errors_init(module, state) < 0)
        return -1;
    if (!(state->arena_type = add_type(module, &py_arena_spec)) ||
        !(state->view_type = add_type(module, &py_view_spec)) ||
        !(state->block_type = add_type(module, &py_block_spec)) ||
        !(state->pool_type = add_type(module, &py_pool_spec)) ||
        !(state->listener_type = add_type(module, &py_listener_spec)) ||
        !(state->waiter_type = add_type(module, &py_waiter_spec)))
        return -1;
    if (defer_numpy(state->arena_type) < 0 || defer_numpy(state->view_type) < 0)
        return -1;
    if (PyModule_AddType(module, state->arena_type) < 0 ||
        PyModule_AddType(module, state->view_type) < 0 ||
        PyModule_AddType(module, state->listener_type) < 0 ||
        PyModule_AddType(module, state->waiter_type) < 0)
        return -1;
    return PyModule_AddType(module, state->pool_type);
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct py_state *state = py_state_of_module(module);
    Py_VISIT(state->arena_type);
    Py_VISIT(state->view_type);
    Py_VISIT(state->block_type);
    Py_VISIT(state->pool_type);
    Py_VISIT(state->listener_type);
    Py_VISIT(state->waiter_type);
    Py_VISIT(state->wiped_error);
    Py_VISIT(state->sealed_error);
    Py_VISIT(state->forked_error);
    Py_VISIT(state->protection_error);
    Py_VISIT(state->protection_warning);
    for (int i = 0; i < PY_ANSWERS; i++)
        Py_VISIT(atomic_load(&state->answers[i]));
    Py_VISIT(atomic_load(&state->import));
    return 0;
}

static int module_clear(PyObject *module)
{
    struct py_state *state = py_state_of_module(module);
    Py_CLEAR(state->arena_type);
    Py_CLEAR(state->view_type);
    Py_CLEAR(state->block_type);
    Py_CLEAR(state->pool_type);
    Py_CLEAR(state->listener_type);
    Py_CLEAR(state->waiter_type);
    Py_CLEAR(state->wiped_error);
    Py_CLEAR(state->sealed_error);
    Py_CLEAR(state->forked_error);
    Py_CLEAR(state->protection_error);
    Py_CLEAR(state->protection_warning);
    Py_XDECREF(atomic_exchange(&state->late_warning, NULL));
    for (int i = 0; i < PY_ANSWERS; i++)
        Py_XDECREF(atomic_exchange(&state->answers[i], NULL));
    Py_XDECREF(atomic_exchange(&state->import, NULL));
    return 0;
}

static void module_free(void *module) { (void)module_clear(module); /* it always returns 0 */ }

PY_EXPORT_MODULE(_core, "secalloc._core", "The extension behind secalloc; import that.",
                 py_module_methods, (Py_ssize_t)sizeof(struct py_state), module_exec,
                 module_traverse, module_clear, module_free)
