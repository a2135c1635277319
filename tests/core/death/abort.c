/* A program that calls abort(). */
#include "death.h"

int main(int argc, char **argv)
{
    prepare(argc, argv, SIGABRT, "F N - S plain");
    abort();
    return survived();
}
