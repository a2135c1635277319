/* The class methods of Arena by which pydantic takes it for the type of a field. */
#ifndef SECALLOC_PY_PYDANTIC_H
#define SECALLOC_PY_PYDANTIC_H

#include "objects/abi.h"

/* Of METH_CLASS: what secalloc/_pydantic.py answers. NULL with an exception. They run foreign
 * code. */
PyObject *py_pydantic_core_schema(PyObject *type, PyObject *args);
PyObject *py_pydantic_json_schema(PyObject *type, PyObject *args);

#endif
