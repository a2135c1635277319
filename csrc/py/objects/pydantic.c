/* What pydantic asks a type for. The package answers it, in a module that is imported when
 * pydantic asks. */
#include "objects/pydantic.h"

#include "objects/imports.h"

static PyObject *ask(PyObject *type, PyObject *args, const char *function)
{
    struct py_state *state = PyType_GetModuleState((PyTypeObject *)type);
    PyObject *one, *other, *name = NULL, *module = NULL, *answer = NULL;
    if (!state || !PyArg_ParseTuple(args, "OO", &one, &other))
        return NULL;
    if (py_import_one(state, "_pydantic") == 0 &&
        (name = PyUnicode_FromString("secalloc._pydantic")))
        module = PyImport_GetModule(name);
    if (module)
        answer = PyObject_CallMethod(module, function, "OOO", type, one, other);
    else if (!PyErr_Occurred())
        PyErr_SetString(PyExc_RuntimeError, "secalloc is being unloaded, or not loaded yet");
    Py_XDECREF(module);
    Py_XDECREF(name);
    return answer;
}

PyObject *py_pydantic_core_schema(PyObject *type, PyObject *args)
{
    return ask(type, args, "core_schema");
}

PyObject *py_pydantic_json_schema(PyObject *type, PyObject *args)
{
    return ask(type, args, "json_schema");
}
