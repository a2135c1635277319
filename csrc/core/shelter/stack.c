/* This file zeroes the dead part of the calling thread's stack. */
#include "shelter/stack.h"

#include "base/registers.h"
#include "base/wipe.h"
#include "os/os.h"

/* The nearest part is zeroed each time; pages below it are dropped, or zeroed where they are
 * locked. */
enum { NEAR = 64 << 10, PAIR = 16, OWN = 128, BETWEEN = 768 };

/* Nothing here may be told to the sanitizers, whose own frames lie there. */
#define BARE SA_BARE __attribute__((noinline))

struct bounds {
    uintptr_t low, high;
    uintptr_t there; /* mapped from here up, as was seen; 0: nobody looked */
    bool known, asked;
};
static _Thread_local struct bounds bounds;

static struct bounds *stack_of_thread(void)
{
    if (!bounds.asked) {
        bounds.asked = true;
        bounds.known = os_stack_bounds(&bounds.low, &bounds.high);
    }
    return &bounds;
}

/* By hand: a function that is called would zero the frame that it runs in. [low, high) are whole
 * pairs of words. */
BARE static void zero(uintptr_t low, uintptr_t high)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0) / PAIR * PAIR - OWN;
    high = high > here && low < here ? here : high;
    if (low >= high)
        return;
#if defined(__x86_64__)
    size_t words = (high - low) / sizeof(uint64_t);
    __asm__ __volatile__("rep stosq" : "+D"(low), "+c"(words) : "a"(0) : "memory");
#elif defined(__aarch64__)
    __asm__ __volatile__("1: stp xzr, xzr, [%0], #16\n cmp %0, %1\n b.lo 1b"
                         : "+r"(low)
                         : "r"(high)
                         : "memory", "cc");
#else
#error "which instruction zeroes memory here?"
#endif
}

/* What lies between the frames of this file. */
BARE static void zero_between(void)
{
    uint8_t room[BETWEEN];
    wipe_scratch(room, sizeof room);
}

static void drop_pages(uintptr_t low, uintptr_t high)
{
    uintptr_t page = os_page_size();
    low = (low + page - 1) / page * page;
    high = high / page * page;
    if (low < high && os_forget_pages((void *)low, high - low)) {
        unsigned char touched;
        for (uintptr_t at = high - page; at >= low; at -= page) {
            if (os_touched((void *)at, page, &touched) || !os_may_read((void *)at))
                break; /* nothing is mapped any further */
            if (touched & 1)
                zero(at, at + page);
        }
    }
}

/* The lowest address from `near` up that can be zeroed. The first thread's stack grows when it is
 * looked at, unless a limit is in the way: a store would then be a fault. */
static uintptr_t lowest_there(struct bounds *b, uintptr_t near, uintptr_t here)
{
    uintptr_t page = os_page_size(), at = here / page * page;
    if (b->there && near >= b->there)
        return near;
    if (os_may_read((void *)near))
        return b->there = near;
    while (at > near && at - page > near && os_may_read((void *)(at - page)))
        at -= page;
    return at > near ? at : near;
}

BARE void stack_forget(void)
{
    struct bounds *b = stack_of_thread();
    uintptr_t here = (uintptr_t)__builtin_frame_address(0) / PAIR * PAIR;
    if (b->known && here > b->low && here < b->high) {
        uintptr_t low = (b->low + PAIR - 1) / PAIR * PAIR;
        uintptr_t page = os_page_size(), near = here - low > NEAR + page ? here - NEAR : low;
        near = near > low ? near / page * page : low; /* what is dropped is whole pages */
        drop_pages(low, near);
        zero(lowest_there(b, near, here), here);
        zero_between();
    }
    registers_forget();
}
