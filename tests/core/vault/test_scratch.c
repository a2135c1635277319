/* Reading by way of pages of our own: what comes in is whole, and who finds all of them taken by
 * reads that nobody answers does not wait for ever. */
#include "arenas.h"

#include <fcntl.h>
#include <pthread.h>

enum { READERS_AT_ONCE = 4 }; /* as many as there are pages */

static struct sa_why why;

TEST(whole)
{
    static uint8_t sent[70000], got[70000];
    int ends[2];
    put_content(sent, sizeof sent, 3);
    for (size_t n = 1; n <= sizeof sent; n = n * 3 + 1) {
        size_t at = 0, part;
        SAME(pipe(ends), 0);
        while (at < n) {
            size_t piece = n - at < 3000 ? n - at : 3000;
            SAME(write(ends[1], sent + at, piece), piece);
            OK(sa_read_by_page(ends[0], got + at, n - at, &part, &why));
            SAME(part, piece);
            at += part;
        }
        CHECK(!memcmp(got, sent, n));
        close(ends[1]);
        OK(sa_read_by_page(ends[0], got, n, &part, &why));
        SAME(part, 0); /* the end */
        close(ends[0]);
    }
    size_t part;
    SAME(sa_read_by_page(ends[0], got, 1, &part, &why), SA_OS_ERROR);
    SAME(why.error, EBADF);
}

static void *reads(void *with)
{
    struct sa_why mine;
    size_t got;
    char byte = 0;
    enum sa_code code;
    do /* on a busy machine it may be this one that finds all taken */
        code = sa_read_by_page(*(int *)with, &byte, 1, &got, &mine);
    while (code == SA_OS_ERROR && mine.error == EINTR);
    OK(code);
    SAME(got, 1);
    SAME(byte, 'x');
    return NULL;
}

TEST(all_are_taken)
{
    int waiting[READERS_AT_ONCE][2], own[2];
    pthread_t threads[READERS_AT_ONCE];
    size_t got;
    char byte;
    SAME(pipe(own), 0);
    SAME(fcntl(own[0], F_SETFL, O_NONBLOCK), 0);
    for (int i = 0; i < READERS_AT_ONCE; i++) {
        SAME(pipe(waiting[i]), 0);
        SAME(pthread_create(&threads[i], NULL, reads, &waiting[i][0]), 0);
    }
    do /* until all of them are at it */
        SAME(sa_read_by_page(own[0], &byte, 1, &got, &why), SA_OS_ERROR);
    while (why.error == EAGAIN);
    SAME(why.error, EINTR);
    for (int i = 0; i < READERS_AT_ONCE; i++)
        SAME(write(waiting[i][1], "x", 1), 1);
    for (int i = 0; i < READERS_AT_ONCE; i++)
        SAME(pthread_join(threads[i], NULL), 0);
    SAME(write(own[1], "y", 1), 1);
    OK(sa_read_by_page(own[0], &byte, 1, &got, &why));
    SAME(got, 1);
    SAME(byte, 'y');
}

int main(int argc, char **argv)
{
    check_begin("test_scratch", argc, argv);
    RUN(whole);
    RUN(all_are_taken);
    return check_end();
}
