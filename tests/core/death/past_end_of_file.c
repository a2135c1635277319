/* A program that reads a mapped file behind its end: SIGBUS. */
#include "death.h"

int main(int argc, char **argv)
{
    prepare(argc, argv, SIGBUS, "F N - S plain");
    FILE *file = tmpfile();
    MUST(file && ftruncate(fileno(file), (off_t)os_page_size()) == 0);
    volatile char *at = mmap(NULL, os_page_size(), PROT_READ, MAP_SHARED, fileno(file), 0);
    MUST((char *)at != MAP_FAILED && ftruncate(fileno(file), 0) == 0);
    (void)*at;
    return survived();
}
