/* What a signal does, on Linux. The raw call is used here: musl's sigaction(), and glibc's since
 * 2.41, take a lock for SIGABRT, against abort(). Another thread may hold that lock. In the
 * child of a raw clone that thread is missing, so nobody gives the lock back. */
#include "os/linux/action.h"
#include "os/linux/syscall.h"

#include <errno.h>
#include <string.h>

#ifndef SA_RESTORER
#define SA_RESTORER 0x04000000
#endif

struct kernels_action {
    uintptr_t handler;
    unsigned long flags;
    uintptr_t restorer;
    uint64_t mask;
};

#ifdef __x86_64__
/* Where the kernel returns to from a handler. Debuggers and unwinders know it by these bytes, as
 * they know the C library's. */
extern const char back_from_a_handler[];
__asm__(".pushsection .text\n"
        ".balign 16\n"
        "nop\n" /* an unwinder looks for the function of the byte before */
        ".globl back_from_a_handler\n" /* linked as a whole, its user may be elsewhere */
        ".hidden back_from_a_handler\n"
        ".type back_from_a_handler, @function\n"
        "back_from_a_handler:\n"
        "movq $15, %rax\n"
        "syscall\n"
        ".size back_from_a_handler, . - back_from_a_handler\n"
        ".popsection\n");
#endif

/* Where another's handler returns to is not told along with its flags. The flag alone, as musl
 * sets it on AArch64, would send that handler to address 0 when it returns. */
static struct kernels_action to_kernels(const struct sigaction *action)
{
    struct kernels_action raw = {.flags = (unsigned)action->sa_flags & ~(unsigned)SA_RESTORER};
    memcpy(&raw.handler, &action->sa_handler, sizeof raw.handler);
    memcpy(&raw.mask, &action->sa_mask, sizeof raw.mask);
#ifdef __x86_64__ /* AArch64 has one of the kernel's own */
    raw.flags |= SA_RESTORER;
    raw.restorer = (uintptr_t)back_from_a_handler;
#endif
    return raw;
}

static void from_kernels(struct sigaction *action, const struct kernels_action *raw)
{
    sigemptyset(&action->sa_mask);
    memcpy(&action->sa_mask, &raw->mask, sizeof raw->mask);
    memcpy(&action->sa_handler, &raw->handler, sizeof raw->handler);
    action->sa_flags = (int)raw->flags;
}

SA_HOT int os_action_raw(int sig, const struct sigaction *next, struct sigaction *before)
{
    struct kernels_action raw = {0}, was = {0};
    if (next)
        raw = to_kernels(next);
    long result = os_syscall(SYS_rt_sigaction, sig, next ? (long)&raw : 0, (long)&was,
                             sizeof raw.mask, 0, 0);
    if (result < 0)
        return (int)-result;
    if (before)
        from_kernels(before, &was);
    return 0;
}

/* The others by the C library: what stands between it and the program, a sanitizer or a JVM's
 * libjsig, is to know of them. */
SA_HOT int os_action(int sig, const struct sigaction *next, struct sigaction *before)
{
    if (sig != SIGABRT)
        return sigaction(sig, next, before) ? errno : 0;
    return os_action_raw(sig, next, before);
}
