/* A program whose second thread writes behind the end. */
#include "death.h"

static void *writes(void *unused)
{
    *(volatile uint8_t *)(bytes + size) = 1;
    return unused;
}

int main(int argc, char **argv)
{
    prepare(argc, argv, FAULT, "F N - S plain");
    on_thread(writes, NULL);
    return survived();
}
