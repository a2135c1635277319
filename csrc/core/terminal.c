#include "terminal.h"

#include "secalloc.h"

#include <errno.h>
#include <stdatomic.h>
#include <termios.h>
#include <unistd.h>

static struct termios before;
static long owner;              /* the process whose terminal it is: a child has it too */
static _Atomic int silent = -1; /* its descriptor; -1: none, CHANGING: one is coming */
enum { NONE = -1, CHANGING = -2 };

enum sa_code sa_echo_off(int fd, struct sa_why *why)
{
    int none = NONE;
    if (!atomic_compare_exchange_strong(&silent, &none, CHANGING)) {
        *why = (struct sa_why){.call = "tcsetattr", .error = EBUSY,
                               .mend = "another thread reads from the terminal"};
        return SA_OS_ERROR;
    }
    struct termios quiet;
    int error = tcgetattr(fd, &before) ? errno : 0;
    if (!error) {
        owner = (long)getpid();
        quiet = before;
        quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON);
        quiet.c_cc[VMIN] = 1;
        quiet.c_cc[VTIME] = 0;
        atomic_store(&silent, fd); /* first: a signal may come between */
        error = tcsetattr(fd, TCSAFLUSH, &quiet) ? errno : 0;
    }
    if (!error)
        return SA_OK;
    atomic_store(&silent, NONE);
    *why = (struct sa_why){.call = "tcsetattr", .error = error};
    return SA_OS_ERROR;
}

void terminal_restore(void)
{
    int saved = errno, fd = atomic_load(&silent);
    if (fd >= 0 && owner == (long)getpid())
        (void)tcsetattr(fd, TCSANOW, &before); /* gone: nothing to restore */
    errno = saved;
}

void sa_echo_back(void)
{
    int fd = atomic_load(&silent);
    if (fd < 0)
        return;
    (void)tcsetattr(fd, TCSAFLUSH, &before); /* gone: nothing to restore */
    atomic_store(&silent, NONE);
}
