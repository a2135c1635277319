/* What differs from one Python ABI to another, and concerns more than one file. All else keeps
 * to the limited API of 3.11; module.c and objects.h have the rest of what differs. */
#ifndef SECALLOC_PY_ABI_H
#define SECALLOC_PY_ABI_H

#include <Python.h>
#include <structmember.h>

/* There are three: the stable ABI of 3.11, that of one free-threaded version before 3.15, and
 * the stable one that both builds share from 3.15 on, where PyObject is opaque. */
#if defined(Py_TARGET_ABI3T)
#define PY_ABI3T 1
#endif

/* For a table of methods: a function of self, arguments, their count and keywords' names. */
#define PY_FASTCALL(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS

/* Without a GIL two calls on one arena may run at once. The core keeps its own state
 * whole, but content that one of them writes the other could read half of: so each
 * goes under the lock of the arenas, or foreign objects, that it reads and writes.
 * Nothing returns or jumps from in between. */
#ifdef Py_GIL_DISABLED
#define PY_NO_GIL 1
#define PY_LOCK(object) Py_BEGIN_CRITICAL_SECTION(object)
#define PY_UNLOCK() Py_END_CRITICAL_SECTION()
#define PY_LOCK_BOTH(one, other) Py_BEGIN_CRITICAL_SECTION2(one, other)
#define PY_UNLOCK_BOTH() Py_END_CRITICAL_SECTION2()
#else
#define PY_NO_GIL 0
#define PY_LOCK(object) \
    { \
        (void)(object)
#define PY_UNLOCK() }
#define PY_LOCK_BOTH(one, other) \
    { \
        (void)(one), (void)(other)
#define PY_UNLOCK_BOTH() }
#endif

#endif
