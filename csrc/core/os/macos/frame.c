/* The frame that the kernel leaves for a signal handler, on macOS, arm64 and x86-64. */
#include "os/macos/fault.h"

#include <errno.h>
#include <mach/mach.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ucontext.h>

/* A bad system call is not forced here, and every fault comes again by itself,
 * as do traps of arm64: brk leaves the counter in place. */
#if defined(__x86_64__)
/* Where a trap that does not come again by itself is sent. */
static void trap_again(void) { __asm__ __volatile__("int3"); }

/* int3 and the two-byte int 3 are over when their signal comes; so is what a
 * hardware breakpoint or single step (trap 1) stopped behind. */
void os_step_back(int sig, const siginfo_t *info, void *context)
{
    (void)info;
    if (sig != SIGTRAP)
        return;
    mcontext_t machine = ((ucontext_t *)context)->uc_mcontext;
    const uint8_t *next = (const uint8_t *)machine->__ss.__rip;
    bool breakpoint = machine->__es.__trapno == 3;
    if (breakpoint && next[-1] == 0xcc)
        machine->__ss.__rip -= 1;
    else if (breakpoint && next[-2] == 0xcd && next[-1] == 3)
        machine->__ss.__rip -= 2;
    else
        machine->__ss.__rip = (uint64_t)trap_again;
}

void os_clear_registers(void *context)
{
    ucontext_t *frame = context;
    uint8_t *end = (uint8_t *)frame->uc_mcontext + frame->uc_mcsize;
    uint8_t *first = (uint8_t *)&frame->uc_mcontext->__fs.__fpu_stmm0;
    /* Up to the end: XMM, and where the size says so the rest of YMM and ZMM, each a
     * part of the state that follows. */
    if (first < end)
        memset(first, 0, (size_t)(end - first));
}

uintptr_t os_stack_pointer(const void *context)
{
    return ((const ucontext_t *)context)->uc_mcontext->__ss.__rsp;
}

/* Above the processor's own traps are the numbers of system calls and interrupts. */
uintptr_t fault_address(const void *context)
{
    mcontext_t machine = ((const ucontext_t *)context)->uc_mcontext;
    return machine->__es.__trapno < 32 ? machine->__ss.__rip : 0;
}
#elif defined(__arm64__)
void os_step_back(int sig, const siginfo_t *info, void *context)
{
    (void)sig;
    (void)info;
    (void)context;
}

void os_clear_registers(void *context)
{
    mcontext_t machine = ((ucontext_t *)context)->uc_mcontext;
    memset(machine->__ns.__v, 0, sizeof machine->__ns.__v);
}

uintptr_t os_stack_pointer(const void *context)
{
    return (uintptr_t)arm_thread_state64_get_sp(((const ucontext_t *)context)->uc_mcontext->__ss);
}

/* Of an interrupt the syndrome says nothing: it is that of the last exception before. */
uintptr_t fault_address(const void *context)
{
    enum { SYSTEM_CALL = 0x15 };
    mcontext_t machine = ((const ucontext_t *)context)->uc_mcontext;
    return machine->__es.__esr >> 26 != SYSTEM_CALL
               ? (uintptr_t)arm_thread_state64_get_pc(machine->__ss)
               : 0;
}
#else
#error "secalloc supports macOS on arm64 and x86-64"
#endif

void os_learn_frame(void) {}

size_t os_red_zone(void) { return 128; }

/* The kernel copies a mask from the address given before it looks at what to do, here
 * nothing that it knows, or says EFAULT. */
enum { NOTHING_KNOWN = 99 };

bool os_may_read(const void *at)
{
    int before = errno;
    bool may = sigprocmask(NOTHING_KNOWN, at, NULL) == 0 || errno != EFAULT;
    errno = before;
    return may;
}

/* That call says nothing where it cannot copy the old mask out (kern_sig.c of XNU drops the
 * error). mincore does (kern_mman.c): here a byte, of a page that surely is mapped. */
bool os_may_write(void *at)
{
    static char own;
    size_t page = os_page_size();
    int before = errno;
    bool may = mincore((void *)((uintptr_t)&own / page * page), page, at) == 0;
    errno = before;
    return may;
}
