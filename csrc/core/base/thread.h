/* Thread-locals that are reached without a call. */
#ifndef SECALLOC_THREAD_H
#define SECALLOC_THREAD_H

#include <string.h> /* which C library it is */

/* One word of static storage, all that have this mark together, with glibc, which has room for a
 * few such in what is loaded late; musl refuses the model there, and macOS has none. */
#ifdef __GLIBC__
#define THREAD_FEW __attribute__((tls_model("initial-exec")))
#else
#define THREAD_FEW
#endif

#endif
