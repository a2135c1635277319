/* The protections of an arena, as text and from an argument. */
#ifndef SECALLOC_PY_PROTECTION_H
#define SECALLOC_PY_PROTECTION_H

#include "objects/abi.h"

/* sa_protection bits as "GUARD|LOCK"; "none". New reference; NULL with an exception. */
PyObject *py_protection_names(unsigned bits);

/* sa_protection bits of a Protection or int. -1 with an exception. */
int py_protection_of(PyObject *object, unsigned *bits);

#endif
