/* A function that reads a file where the kernel cannot store into the arena itself. */
#include "functions/functions.h"
#include "objects/errors.h"

#include <errno.h>

/* Takes a descriptor and a writable buffer, and returns how many bytes came. */
static PyObject *read_by_page(PyObject *module, PyObject *args)
{
    int fd;
    Py_buffer to;
    if (!PyArg_ParseTuple(args, "iw*:_read_by_page", &fd, &to))
        return NULL;
    struct sa_why why;
    enum sa_code code;
    size_t got;
    do {
        why = (struct sa_why){0};
        Py_BEGIN_ALLOW_THREADS code = sa_read_by_page(fd, to.buf, (size_t)to.len, &got, &why);
        Py_END_ALLOW_THREADS
    } while (code == SA_OS_ERROR && why.error == EINTR && PyErr_CheckSignals() == 0);
    PyBuffer_Release(&to);
    if (PyErr_Occurred())
        return NULL;
    return code ? py_fail(py_state_of_module(module), code, &why) : PyLong_FromSize_t(got);
}

PyMethodDef py_read_functions[] = {
    {"_read_by_page", read_by_page, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
