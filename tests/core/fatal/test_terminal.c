/* The echo on a terminal whose calls signals break off. The calls are ours. */
#include "check.h"

#include <termios.h>

enum { FD = 4711 };
static struct termios modes;
static int interrupts; /* how often tcsetattr is broken off where it waits for output */
static unsigned waits, nows;

int tcgetattr(int fd, struct termios *out)
{
    SAME(fd, FD);
    *out = modes;
    return 0;
}

int tcsetattr(int fd, int how, const struct termios *wanted)
{
    SAME(fd, FD);
    *(how == TCSANOW ? &nows : &waits) += 1;
    if (how != TCSANOW && interrupts > 0) {
        interrupts--;
        errno = EINTR;
        return -1;
    }
    modes = *wanted;
    return 0;
}

int tcflush(int fd, int queue)
{
    SAME(fd, FD);
    SAME(queue, TCIFLUSH);
    return 0;
}

static bool echoes(void) { return modes.c_lflag & ECHO && modes.c_lflag & ICANON; }

static struct sa_why why;

/* With the echo off. */
static void begin(void)
{
    modes.c_lflag = ECHO | ICANON | ISIG;
    OK(sa_echo_off(FD, &why));
    CHECK(!echoes());
}

TEST(off_and_back)
{
    begin();
    SAME(sa_echo_off(FD, &why), SA_OS_ERROR);
    SAME(why.error, EBUSY);
    sa_echo_back(FD);
    CHECK(echoes());
    begin();
    sa_echo_back(FD);
    CHECK(echoes());
    SAME(nows, 0); /* what was typed ahead is flushed */
}

TEST(off_though_signals_come)
{
    interrupts = 3;
    begin();
    SAME(waits, 4);
    sa_echo_back(FD);
    CHECK(echoes());
}

/* The caller looks for what the signals' handlers want. */
TEST(signals_without_end)
{
    interrupts = 1000000;
    modes.c_lflag = ECHO | ICANON | ISIG;
    SAME(sa_echo_off(FD, &why), SA_OS_ERROR);
    SAME(why.error, EINTR);
    CHECK(echoes());
    interrupts = 0;
    begin(); /* it may be tried again */
    sa_echo_back(FD);
    CHECK(echoes());
}

TEST(back_though_signals_come)
{
    begin();
    interrupts = 3;
    sa_echo_back(FD);
    CHECK(echoes());
    SAME(nows, 0);
    begin();
    interrupts = 1000000;
    sa_echo_back(FD);
    CHECK(echoes());
}

int main(int argc, char **argv)
{
    check_begin("test_terminal", argc, argv);
    RUN(off_and_back);
    RUN(off_though_signals_come);
    RUN(signals_without_end);
    RUN(back_though_signals_come);
    return check_end();
}
