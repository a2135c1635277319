/* mincore() for programs that qemu-user runs with pages larger than the machine's: its own
 * (7.2) hands the call on as it is, and the kernel answers with a byte for each page of the
 * machine, past the end of the caller's. */
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int mincore(void *at, size_t bytes, unsigned char *vec)
{
    enum { PARTS = 16 }; /* of 64 KiB, of 4 KiB each */
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < (bytes + page - 1) / page; i++) {
        unsigned char part[PARTS] = {0}, any = 0;
        if (syscall(SYS_mincore, (char *)at + i * page, page, part))
            return -1;
        for (unsigned k = 0; k < PARTS; k++)
            any |= part[k] & 1;
        vec[i] = any;
    }
    return 0;
}
