/* A parent's side of its channels: what it waits for and reads. */
#include "os/os.h"

SA_HOT int sa_listen(int set, int ms, int *fd) { return os_listen(set, ms, fd); }

void sa_pause(unsigned turn) { os_wait(turn); }

SA_HOT int sa_hear(int fd, char *byte, bool *end) { return os_read_byte(fd, byte, end); }
