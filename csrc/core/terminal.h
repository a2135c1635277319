/* A terminal that must not stay without echo, whatever ends the process. */
#ifndef SECALLOC_TERMINAL_H
#define SECALLOC_TERMINAL_H

/* What sa_echo_back does, from a handler. [signal] */
void terminal_restore(void);

#endif
