/* The listener, as a channel's wait() needs it. */
#ifndef SECALLOC_PY_LISTEN_H
#define SECALLOC_PY_LISTEN_H

#include "objects/abi.h"

#include <stdbool.h>

/* Whether the object is a _Listener; else TypeError. */
bool py_is_listener(PyObject *object);

/* Wait for `ms` (-1: for ever) until the set has something to say, and say it: an event. None
 * where there is nothing, or nothing new, or the listener is closed. NULL with an exception.
 * Runs foreign code. */
PyObject *py_listen_for(PyObject *listener, PyObject *channel, int set, int ms);

#endif
