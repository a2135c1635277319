/* What pages that hold secrets have in common on Linux, private ones and a file's. */
#ifndef SECALLOC_LINUX_PAGES_H
#define SECALLOC_LINUX_PAGES_H

#include "os/os.h"

/* Keep pages from children and core files. Returns an errno where the first cannot be. [any] */
int os_keep_to_us(void *at, size_t bytes, struct os_pages *out);

/* Lock inaccessible pages, each as it comes. A refusal is no failure; returns an errno where they
 * could not be made inaccessible again. [any] */
int os_lock_mapped(void *at, size_t bytes, struct os_pages *out);

#endif
