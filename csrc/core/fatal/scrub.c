/* This file clears what a dying thread's registers and dead stack hold. */
#include "fatal/scrub.h"

#include "fatal/alt_stack.h"
#include "os/os.h"
#include "base/wipe.h"

/* What the frames of this file take, and what is wiped below the first by hand. */
enum { FRAMES = 512, ROOM = FRAMES + 512 };

/* Zero [low, high), both whole words, but write only where something is: a page never
 * touched stays so. False: it may not be written. */
SA_BARE static bool zero(uintptr_t low, uintptr_t high)
{
    volatile uint64_t *word = (volatile uint64_t *)low, *end = (volatile uint64_t *)high;
    while (word < end && *word == 0)
        word++;
    if (word == end)
        return true;
    if (!os_may_write((void *)(uintptr_t)word))
        return false;
    for (; word < end; word++)
        *word = 0;
    return true;
}

/* Page by page from `top` down, to the guard, to where nothing is mapped, or to
 * `bottom`. Whether something is mapped is asked first: to look at the page below a
 * main thread's stack would make the stack grow. */
SA_BARE static void zero_down(uintptr_t top, uintptr_t bottom)
{
    uintptr_t page = os_page_size();
    while (top > bottom) {
        uintptr_t at = (top - 1) / page * page, low = at < bottom ? bottom : at;
        unsigned char touched;
        if (os_touched((void *)at, page, &touched) || !os_may_read((void *)low) || !zero(low, top))
            return;
        top = low;
    }
}

SA_BARE __attribute__((noinline)) static void zero_own(void)
{
    uint8_t room[ROOM];
    wipe_scratch(room, sizeof room);
}

SA_BARE __attribute__((noinline)) void stack_scrub(void *context)
{
    const uintptr_t word = sizeof(uint64_t);
    uintptr_t here = (uintptr_t)__builtin_frame_address(0) / word * word;
    uintptr_t top = os_stack_pointer(context) / word * word, low, high;
    os_clear_registers(context);
    /* Outside, it is a coroutine's stack or a wild pointer, and below may lie anything:
     * a file, or memory of another process. */
    if (!alt_stack_bounds(&low, &high) || top < low || top > high)
        return;
    if (here >= low && here < top) {
        /* On the very stack, called by a handler that has no stack of its own: the dead
         * part goes on below our frames. */
        (void)zero(top - low > os_red_zone() ? top - os_red_zone() : low, top);
        zero_own();
        top = here - low > FRAMES ? here - FRAMES : low;
    }
    zero_down(top, low);
}
