/* The protections of an arena, as text and from an argument. */
#include "objects/protection.h"

#include "secalloc.h"

PyObject *py_protection_names(unsigned bits)
{
    static const struct {
        unsigned bit;
        const char *name;
    } all[] = {{SA_GUARD, "GUARD"},
               {SA_LOCK, "LOCK"},
               {SA_SECRETMEM, "SECRETMEM"},
               {SA_NODUMP, "NODUMP"},
               {SA_NOFORK, "NOFORK"}};
    const char *parts[5] = {"", "", "", "", ""};
    const char *bars[5] = {"", "", "", "", ""};
    bool any = false;
    for (size_t i = 0; i < 5; i++)
        if (bits & all[i].bit) {
            parts[i] = all[i].name;
            bars[i] = any ? "|" : "";
            any = true;
        }
    if (!any)
        return PyUnicode_FromString("none");
    return PyUnicode_FromFormat("%s%s%s%s%s%s%s%s%s", parts[0], bars[1], parts[1], bars[2],
                                parts[2], bars[3], parts[3], bars[4], parts[4]);
}

int py_protection_of(PyObject *object, unsigned *bits)
{
    const long all = SA_GUARD | SA_LOCK | SA_SECRETMEM | SA_NODUMP | SA_NOFORK;
    if (!PyLong_Check(object) || PyBool_Check(object)) {
        PyErr_Format(PyExc_TypeError, "a requirement is a Protection, not %R",
                     (PyObject *)Py_TYPE(object));
        return -1;
    }
    int overflow = 0;
    long n = PyLong_AsLongAndOverflow(object, &overflow);
    if (overflow || n < 0 || n & ~all) {
        PyErr_SetString(PyExc_ValueError, "a requirement is made of Protection flags alone");
        return -1;
    }
    *bits = (unsigned)n;
    return 0;
}
