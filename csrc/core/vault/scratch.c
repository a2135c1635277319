/* The table of pages by which a secret comes in, and wiping them with everything else. */
#include "vault/scratch.h"

#include "vault/noise.h"
#include "os/os.h"

/* A wiper may be in a page at any time, so that none is ever unmapped. */
enum { PAGES = 4 };
static struct {
    _Atomic(uint8_t *) at;
    _Atomic bool taken;
} pages[PAGES];

SA_HOT void scratch_wipe(void)
{
    for (int i = 0; i < PAGES; i++) {
        uint8_t *at = atomic_load(&pages[i].at);
        if (at)
            noise_wipe(at, os_page_size());
    }
}

void scratch_forked(void)
{
    for (int i = 0; i < PAGES; i++) {
        atomic_store(&pages[i].at, NULL);
        atomic_store(&pages[i].taken, false);
    }
}

int scratch_take(void)
{
    for (unsigned turn = 0; turn < 64 + 1000; os_wait(turn++))
        for (int i = 0; i < PAGES; i++)
            if (!atomic_exchange(&pages[i].taken, true))
                return i;
    return -1;
}

void scratch_give(int which) { atomic_store(&pages[which].taken, false); }

uint8_t *scratch_page(int which) { return atomic_load(&pages[which].at); }

void scratch_set_page(int which, uint8_t *page) { atomic_store(&pages[which].at, page); }
