/* The module secalloc._core: its types, its state, and how each Python loads it. */
#include "functions/functions.h"
#include "objects/abi.h"
#include "objects/errors.h"
#include "objects/state.h"
#include "secalloc.h"
#include "types/types.h"

/* Headers hide these when the oldest supported Python does not know them; which slots are used
 * is decided at run time, by Py_Version. */
#ifndef Py_mod_multiple_interpreters
#define Py_mod_multiple_interpreters 3
#endif
#ifndef Py_MOD_PER_INTERPRETER_GIL_SUPPORTED
#define Py_MOD_PER_INTERPRETER_GIL_SUPPORTED ((void *)2)
#endif
#ifndef Py_mod_gil
#define Py_mod_gil 4
#endif
#ifndef Py_MOD_GIL_NOT_USED
#define Py_MOD_GIL_NOT_USED ((void *)1)
#endif

/* ---- what it is made of ------------------------------------------------------------ */

/* Threads that make and drop objects of one type would all write to the type's count, which
 * then takes longer than the rest. Without a GIL the interpreter before 3.15 makes its own
 * types immortal for that, and so do we; a count that overflows is how. The types of an
 * interpreter that ends are then not freed. */
static void make_immortal(PyObject *type)
{
#if defined(Py_GIL_DISABLED) && !defined(PY_ABI3T)
    Py_SET_REFCNT(type, PY_SSIZE_T_MAX);
#else
    (void)type;
#endif
}

static PyTypeObject *add_type(PyObject *module, PyType_Spec *spec)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    if (type)
        make_immortal(type);
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

static int add_functions(PyObject *module)
{
    PyMethodDef *const tables[] = {
        py_arena_functions,    py_codec_functions,   py_environ_functions, py_handover_functions,
        py_make_functions,     py_marker_functions,  py_package_functions, py_process_functions,
        py_read_functions,     py_residue_functions, py_shelter_functions, py_survey_functions,
        py_terminal_functions,
    };
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        if (PyModule_AddFunctions(module, tables[i]) < 0)
            return -1;
    return 0;
}

static int module_exec(PyObject *module)
{
    struct py_state *state = py_state_of_module(module);
    look_for_standard_error();
    if (add_functions(module) < 0 || py_errors_init(module, state) < 0)
        return -1;
    if (!(state->read_mode = PyUnicode_InternFromString("r")))
        return -1;
    if (!(state->arena_type = add_type(module, &py_arena_spec)) ||
        !(state->view_type = add_type(module, &py_view_spec)) ||
        !(state->block_type = add_type(module, &py_block_spec)) ||
        !(state->pool_type = add_type(module, &py_pool_spec)) ||
        !(state->listener_type = add_type(module, &py_listener_spec)) ||
        !(state->waiter_type = add_type(module, &py_waiter_spec)) ||
        !(state->outlet_type = add_type(module, &py_outlet_spec)))
        return -1;
    if (defer_numpy(state->arena_type) < 0 || defer_numpy(state->view_type) < 0)
        return -1;
    if (PyModule_AddType(module, state->arena_type) < 0 ||
        PyModule_AddType(module, state->view_type) < 0 ||
        PyModule_AddType(module, state->listener_type) < 0 ||
        PyModule_AddType(module, state->waiter_type) < 0 ||
        PyModule_AddType(module, state->outlet_type) < 0)
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
    Py_VISIT(state->outlet_type);
    Py_VISIT(state->error);
    Py_VISIT(state->wiped_error);
    Py_VISIT(state->sealed_error);
    Py_VISIT(state->closed_error);
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
    Py_CLEAR(state->outlet_type);
    Py_CLEAR(state->error);
    Py_CLEAR(state->wiped_error);
    Py_CLEAR(state->sealed_error);
    Py_CLEAR(state->closed_error);
    Py_CLEAR(state->forked_error);
    Py_CLEAR(state->protection_error);
    Py_CLEAR(state->protection_warning);
    Py_CLEAR(state->read_mode);
    Py_XDECREF(atomic_exchange(&state->late_warning, NULL));
    for (int i = 0; i < PY_ANSWERS; i++)
        Py_XDECREF(atomic_exchange(&state->answers[i], NULL));
    Py_XDECREF(atomic_exchange(&state->import, NULL));
    return 0;
}

static void module_free(void *module) { (void)module_clear(module); /* it always returns 0 */ }

/* ---- how each Python loads it ------------------------------------------------------------- */

#define NAME "secalloc._core"
#define STATE_SIZE ((Py_ssize_t)sizeof(struct py_state))
PyDoc_STRVAR(doc, "The extension behind secalloc; import that.");

#ifdef PY_ABI3T

PyABIInfo_VAR(abi_info);

static PySlot slots[] = {
    PySlot_DATA(Py_mod_abi, &abi_info),
    PySlot_DATA(Py_mod_name, NAME),
    PySlot_DATA(Py_mod_doc, (void *)doc),
    PySlot_SIZE(Py_mod_state_size, STATE_SIZE),
    PySlot_FUNC(Py_mod_exec, module_exec),
    PySlot_FUNC(Py_mod_state_traverse, module_traverse),
    PySlot_FUNC(Py_mod_state_clear, module_clear),
    PySlot_FUNC(Py_mod_state_free, module_free),
    PySlot_DATA(Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED),
    PySlot_DATA(Py_mod_gil, Py_MOD_GIL_NOT_USED),
    PySlot_END,
};

PyMODEXPORT_FUNC PyModExport__core(void);
PyMODEXPORT_FUNC PyModExport__core(void) { return slots; }

#else

/* One definition for each Python that knows more slots than the one before: an unknown slot is
 * a SystemError. */
static PyModuleDef_Slot slots_311[] = {{Py_mod_exec, (void *)module_exec}, {0, NULL}};
static PyModuleDef_Slot slots_312[] = {
    {Py_mod_exec, (void *)module_exec},
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
    {0, NULL},
};
static PyModuleDef_Slot slots_313[] = {
    {Py_mod_exec, (void *)module_exec},
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
    {0, NULL},
};

static PyModuleDef definitions[] = {
    {PyModuleDef_HEAD_INIT, NAME, doc, STATE_SIZE, NULL, slots_311, module_traverse, module_clear,
     module_free},
    {PyModuleDef_HEAD_INIT, NAME, doc, STATE_SIZE, NULL, slots_312, module_traverse, module_clear,
     module_free},
    {PyModuleDef_HEAD_INIT, NAME, doc, STATE_SIZE, NULL, slots_313, module_traverse, module_clear,
     module_free},
};

PyMODINIT_FUNC PyInit__core(void);
PyMODINIT_FUNC PyInit__core(void)
{
    int which = Py_Version >= 0x030D0000 ? 2 : Py_Version >= 0x030C0000 ? 1 : 0;
    return PyModuleDef_Init(&definitions[which]);
}

#endif
