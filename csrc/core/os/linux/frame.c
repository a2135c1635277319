/* The frame that the kernel leaves for a signal handler, on Linux, x86-64 and AArch64. */
#include "os/os.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1
#endif

/* Where a trap that does not come again by itself is sent. */
static void trap_again(void)
{
#if defined(__x86_64__)
    __asm__ __volatile__("int3");
#else
    __asm__ __volatile__("brk #0");
#endif
}

#if defined(__x86_64__)
/* int3, the two-byte int 3 and system calls are over when their signal comes;
 * so is what a hardware breakpoint or single step stopped behind. */
void os_step_back(int sig, const siginfo_t *info, void *context)
{
    greg_t *rip = &((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    if (sig == SIGSYS && info->si_code == SYS_SECCOMP) {
        *rip -= 2;
    } else if (sig == SIGTRAP) {
        const uint8_t *next = (const uint8_t *)*rip;
        bool breakpoint = info->si_code == SI_KERNEL;
        if (breakpoint && next[-1] == 0xcc)
            *rip -= 1;
        else if (breakpoint && next[-2] == 0xcd && next[-1] == 3)
            *rip -= 2;
        else
            *rip = (greg_t)trap_again;
    }
}

/* Which parts of the extended area hold vector registers: AVX, the masks and both
 * parts of AVX-512, and AMX tiles. The protection keys' rights are there too, and
 * stay: they keep pages out of the core file. */
enum { FIRST_PART = 2, PARTS = 19 };
static const uint32_t vector_parts = 1u << 2 | 1u << 5 | 1u << 6 | 1u << 7 | 1u << 18;
static _Atomic uint64_t part_at[PARTS]; /* offset << 32 | size; 0: not known */

/* Not in a handler: where the instruction is made to fault, somebody emulates it. */
void os_learn_frame(void)
{
    uint32_t size, offset, c, d;
    for (uint32_t i = FIRST_PART; i < PARTS; i++)
        if (vector_parts >> i & 1 && __get_cpuid_count(0xd, i, &size, &offset, &c, &d))
            atomic_store(&part_at[i], (uint64_t)offset << 32 | size);
}

/* The frame holds what XSAVE stored, in its standard form: 512 bytes of FXSAVE with
 * the kernel's own description at 464, a header of 64, then the parts. */
void os_clear_registers(void *context)
{
    enum { STACK = 32, SOFTWARE = 464, LEGACY = 512, HEADER = 64 };
    const uint32_t magic1 = 0x46505853, magic2 = 0x46505845;
    uint8_t *frame = (uint8_t *)((ucontext_t *)context)->uc_mcontext.fpregs;
    if (!frame)
        return;
    struct {
        uint32_t magic, whole;
        uint64_t features;
        uint32_t size;
    } about;
    uint32_t end = 0;
    memcpy(&about, frame + SOFTWARE, sizeof about);
    memset(frame + STACK, 0, SOFTWARE - STACK - 48); /* x87 and XMM; 48 reserved bytes follow */
    if (about.magic != magic1 || about.size < LEGACY + HEADER || about.whole <= about.size)
        return;
    memcpy(&end, frame + about.size, sizeof end);
    if (end != magic2)
        return;
    for (uint32_t i = FIRST_PART; i < PARTS; i++) {
        uint64_t part = atomic_load(&part_at[i]), offset = part >> 32, size = (uint32_t)part;
        if (size && about.features >> i & 1 && offset >= LEGACY + HEADER &&
            offset + size <= about.size)
            memset(frame + offset, 0, size);
    }
}

uintptr_t os_stack_pointer(const void *context)
{
    return (uintptr_t)((const ucontext_t *)context)->uc_mcontext.gregs[REG_RSP];
}

size_t os_red_zone(void) { return 128; }
#elif defined(__aarch64__)
/* brk comes again by itself; a system call is over when its signal comes. */
void os_step_back(int sig, const siginfo_t *info, void *context)
{
    mcontext_t *machine = &((ucontext_t *)context)->uc_mcontext;
    if (sig == SIGSYS && info->si_code == SYS_SECCOMP)
        machine->pc -= 4;
    else if (sig == SIGTRAP && info->si_code != TRAP_BRKPT)
        machine->pc = (uintptr_t)trap_again;
}

void os_learn_frame(void) {}

/* Clear what a chain of records holds of vector registers: V, SVE (5.0 has both), and
 * the matrix and table of SME (5.19, 6.3). Gives the record that continues elsewhere. */
static const uint8_t *clear_records(uint8_t *at, size_t room)
{
    enum {
        FPSIMD = 0x46508001,
        SVE = 0x53564501,
        ZA = 0x54366345,
        ZT = 0x5a544e01,
        EXTRA = 0x45585401,
        HEAD = 16
    };
    const uint8_t *more = NULL;
    for (;;) {
        struct {
            uint32_t magic, size;
        } head;
        if (room < sizeof head)
            return more;
        memcpy(&head, at, sizeof head);
        if (!head.magic || head.size < HEAD || head.size > room)
            return more;
        if (head.magic == FPSIMD || head.magic == SVE || head.magic == ZA || head.magic == ZT)
            memset(at + HEAD, 0, head.size - HEAD);
        else if (head.magic == EXTRA)
            more = at;
        at += head.size;
        room -= head.size;
    }
}

void os_clear_registers(void *context)
{
    mcontext_t *machine = &((ucontext_t *)context)->uc_mcontext;
    const uint8_t *more = clear_records((uint8_t *)machine->__reserved, sizeof machine->__reserved);
    if (!more)
        return;
    uint64_t at;
    uint32_t room;
    memcpy(&at, more + 8, sizeof at);
    memcpy(&room, more + 16, sizeof room);
    (void)clear_records((uint8_t *)at, room); /* there is no third */
}

uintptr_t os_stack_pointer(const void *context)
{
    return ((const ucontext_t *)context)->uc_mcontext.sp;
}

size_t os_red_zone(void) { return 0; }
#else
#error "secalloc supports Linux on x86-64 and AArch64"
#endif

/* The kernel copies a mask from and to the addresses given, or says EFAULT. It reads
 * before it looks at what to do, here nothing that it knows. */
enum { MASK_BYTES = 8, NOTHING_KNOWN = 99 };

bool os_may_read(const void *at)
{
    int before = errno;
    (void)syscall(SYS_rt_sigprocmask, NOTHING_KNOWN, at, NULL, MASK_BYTES);
    bool may = errno == EINVAL; /* a sandbox may say something else */
    errno = before;
    return may;
}

bool os_may_write(void *at)
{
    int before = errno;
    bool may = syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, at, MASK_BYTES) == 0;
    errno = before;
    return may;
}
