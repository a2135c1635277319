/* Exceptions and warnings: what the core's codes, and what was not granted, become. */
#ifndef SECALLOC_PY_ERRORS_H
#define SECALLOC_PY_ERRORS_H

#include "objects/state.h"
#include "secalloc.h"

/* Make the module's exceptions. -1 with an exception. */
int py_errors_init(PyObject *module, struct py_state *state);

/* Raise what `code` stands for. `why` may be NULL. Always NULL. */
SA_COLD void *py_fail(struct py_state *state, enum sa_code code, const struct sa_why *why);

/* The same, and say of which arena: `name` may be NULL or empty. Always NULL. */
SA_COLD void *py_fail_named(struct py_state *state, enum sa_code code, const struct sa_why *why,
                            const char *name);

/* What a sa_why tells, as text, with a hint where it has none. New reference. */
PyObject *py_reason(const struct sa_why *why, const char *hint);

/* The same of an Arena, by its name; and another exception. Always NULL. */
SA_COLD void *py_fail_of(PyObject *arena, enum sa_code code, const struct sa_why *why);
SA_COLD void *py_complain_of(PyObject *arena, PyObject *exception, const char *message);

/* Warn once a process that a protection was not granted, the arena with that name, if it has
 * one, being the first; and of what py_warn_later kept. -1: the warning was turned into an
 * exception. Runs foreign code. */
int py_warn_shortfall(struct py_state *state, const char *name);

/* The same where an Arena got other pages, or a lock that it had given away. */
int py_warn_shortfall_of(struct py_state *state, PyObject *arena);

/* The same of what a fork's child fell short of by the fork itself. What is kept for the first
 * arena stays kept. */
int py_warn_in_child(struct py_state *state);

/* py_fail_named for what a Pool was asked. Always NULL. */
SA_COLD void *py_pool_fail(struct py_state *state, enum sa_code code, const struct sa_why *why,
                           const char *name);

#endif
