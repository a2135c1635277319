/* Reading what nobody wants, by way of a locked page. */
#ifndef SECALLOC_READ_PAGE_H
#define SECALLOC_READ_PAGE_H

#include <stddef.h>

/* Read what there is in a pipe now, a page at most, and wipe it. 0: nothing is. [any] */
size_t read_page_drop(int fd);

#endif
