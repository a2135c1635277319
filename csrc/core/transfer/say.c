/* Sending and receiving what a hand-over needs, in the time that there is for it. */
#include "transfer/say.h"

#include <errno.h>
#include <string.h>

int say_wait(int sock, bool writing, int64_t end, int error)
{
    if (error != EAGAIN)
        return error;
    int64_t left = end - os_now_ms();
    return left <= 0 ? ETIMEDOUT : os_socket_wait(sock, writing, left);
}

int say_all(int sock, const void *bytes, size_t n, int fd, int64_t end)
{
    const uint8_t *p = bytes;
    while (n) {
        size_t sent;
        int error = os_socket_send(sock, p, n, fd, &sent);
        p += sent;
        n -= sent;
        if (sent)
            fd = -1; /* it went along */
        if (error && (error = say_wait(sock, true, end, error)))
            return error;
    }
    return 0;
}

int say_hear(int sock, void *bytes, size_t n, int64_t end)
{
    uint8_t *p = bytes;
    while (n) {
        size_t got;
        int error = os_socket_receive(sock, p, n, NULL, NULL, &got);
        p += got;
        n -= got;
        if (error && (error = say_wait(sock, false, end, error)))
            return error;
    }
    return 0;
}

int say_with(int sock, const struct sa_said *said, const void *step, size_t n, int64_t end)
{
    uint8_t all[SA_WORDS + sizeof(struct offer)];
    if (said->n > SA_WORDS || n > sizeof(struct offer))
        return EINVAL;
    if (said->n)
        memcpy(all, said->words, said->n);
    memcpy(all + said->n, step, n);
    return say_all(sock, all, said->n + n, said->fd, end);
}

enum sa_code say_failed(const char *call, int error, struct sa_why *why)
{
    *why = (struct sa_why){.call = call, .error = error};
    return SA_OS_ERROR;
}
