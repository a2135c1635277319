/* A terminal that must not stay without echo, whatever ends the process. */
#ifndef SECALLOC_TERMINAL_H
#define SECALLOC_TERMINAL_H

/* Put the modes back in which the terminal was, where this process turned its echo off: from a
 * handler, or at exit. [signal] */
void terminal_restore(void);

#endif
