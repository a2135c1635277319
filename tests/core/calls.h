/* Calls of the C library that a test takes over by a function of the same name. */
#ifndef CALLS_H
#define CALLS_H

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>

/* Set `real`, a static pointer to a function, to the C library's own, once. */
#define FIND_REAL(real, name) \
    do { \
        if (!(real)) \
            *(void **)&(real) = dlsym(RTLD_NEXT, name); \
    } while (0)

/* The six arguments that follow `last` in a call of syscall(), into long a[6]. */
#define TAKE_SIX(last, a) \
    do { \
        va_list all_; \
        va_start(all_, last); \
        for (int i_ = 0; i_ < 6; i_++) \
            (a)[i_] = va_arg(all_, long); \
        va_end(all_); \
    } while (0)

/* Leaves main() where no other call can stand before the C library's own: a static one. */
#ifdef __GLIBC__
#define NEEDS_TAKEN_CALLS(program) (void)0
#else
#define NEEDS_TAKEN_CALLS(program) \
    do { \
        printf("%s: skipped: it takes calls of the C library over\n", program); \
        return 0; \
    } while (0)
#endif

#endif
