/* What tests of the fatal path share: an arena, and what is armed. */
#ifndef SIGNALS_H
#define SIGNALS_H

#include "arenas.h"
#include "fatal/fatal.h"

#ifdef __linux__
#include "linux.h"
#endif

#define UNUSED __attribute__((unused))

static UNUSED struct sa_why why;
static struct sa_arena arena;

static UNUSED const int all[SA_SIGNALS] = {SIGSEGV, SIGBUS,  SIGILL,  SIGFPE,  SIGABRT, SIGSYS,
                                           SIGTRAP, SIGQUIT, SIGXCPU, SIGXFSZ, SIGTERM, SIGHUP};

static inline int state_among(int sig, const struct sa_status *now)
{
    for (size_t i = 0; i < now->signal_count; i++)
        if (now->signals[i] == sig)
            return (int)now->handlers[i];
    return -1;
}

static inline int state_of(int sig)
{
    struct sa_status now = status();
    return state_among(sig, &now);
}

static inline void begin(void) { make(&arena, 200, 1, 3); }

static inline bool is_whole(void) { return is_content(raw(&arena), 200, 3); }

/* Valgrind does not deliver a signal that a handler queues again. */
#define NEEDS_QUEUED_SIGNALS \
    if (under_valgrind()) \
    SKIP("valgrind does not deliver what is queued again")

#endif
