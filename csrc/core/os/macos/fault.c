/* Which signals are faults, and when they are taken, on macOS. It follows XNU's kern_sig.c,
 * ux_exception.c and unix_signal.c. */
#include "os/macos/fault.h"

#include <errno.h>
#include <pthread.h>

/* A bad system call is none here: its signal is sent. */
static bool is_fault(int sig)
{
    return sig == SIGSEGV || sig == SIGBUS || sig == SIGILL || sig == SIGFPE || sig == SIGTRAP;
}

/* Each a word of the calling thread's: an array of its own, which no call allocates. */
static pthread_key_t modes, put_off, latest;
static bool usable;
enum { MASKED = 1, KEPT_OFF = 2 };

/* When the library is loaded, not in a handler. */
__attribute__((constructor)) static void make_keys(void)
{
    usable = !pthread_key_create(&modes, NULL) && !pthread_key_create(&put_off, NULL) &&
             !pthread_key_create(&latest, NULL);
}

static uintptr_t get(pthread_key_t key) { return (uintptr_t)pthread_getspecific(key); }
static void set(pthread_key_t key, uintptr_t word)
{
    (void)pthread_setspecific(key, (void *)word); /* of a key that is there: it cannot fail */
}

/* A siginfo tells nothing, as it is made up from the signal's number. But a sent signal finds
 * a thread elsewhere, or in no fault. */
bool os_is_forced(int sig, const siginfo_t *info, const void *context, bool ignored)
{
    (void)info;
    if (!is_fault(sig) || !ignored || !usable)
        return is_fault(sig);
    uintptr_t at = fault_address(context);
    uintptr_t now = at ? at ^ (uintptr_t)sig << 56 : 0, before = get(latest);
    set(latest, now);
    return now && now == before;
}

static void begin(uintptr_t mode)
{
    if (usable)
        set(modes, get(modes) | mode);
}

/* Nothing is put off any more when the word is read that tells what was. */
static void end(uintptr_t mode)
{
    if (!usable)
        return;
    set(modes, get(modes) & ~mode);
    if (get(modes))
        return;
    uintptr_t off = get(put_off);
    set(put_off, 0);
    for (int sig = 1; off >> sig; sig++)
        if (off >> sig & 1)
            (void)pthread_kill(pthread_self(), sig); /* as in os_requeue */
}

bool os_puts_off(int sig, void *context)
{
    if (!usable || !is_fault(sig) || !get(modes))
        return false;
    uintptr_t off = get(put_off), bit = (uintptr_t)1 << sig;
    if (off & bit) { /* again: nobody sent it */
        int before = errno;
        struct sigaction by_default = {.sa_handler = SIG_DFL};
        (void)sigaction(sig, &by_default, NULL); /* a signal that can be handled */
        errno = before;
        os_unblock_on_return(sig, context);
    }
    set(put_off, off | bit);
    return true;
}

void os_keep_faults_off(void) { begin(KEPT_OFF); }
void os_let_faults_in(void) { end(KEPT_OFF); }

/* That of the very signal is let in, too. */
int os_handler_flags(void) { return SA_NODEFER; }

/* ---- masks --------------------------------------------------------------------------- */

/* A fault whose signal is blocked does not end the process here: the kernel only marks it,
 * and the thread faults for ever. So faults are never blocked. */
void os_fill_mask(sigset_t *mask)
{
    sigfillset(mask);
    for (int sig = 1; sig < NSIG; sig++)
        if (is_fault(sig))
            sigdelset(mask, sig);
}

void os_mask_sent(sigset_t *before)
{
    sigset_t block;
    os_fill_mask(&block);
    sigdelset(&block, SIGSYS);
    sigdelset(&block, SIGABRT);
    pthread_sigmask(SIG_BLOCK, &block, before);
}

void os_mask_all(sigset_t *before)
{
    sigset_t block;
    os_fill_mask(&block);
    pthread_sigmask(SIG_BLOCK, &block, before);
    begin(MASKED);
}

void os_unmask(const sigset_t *before)
{
    end(MASKED);
    pthread_sigmask(SIG_SETMASK, before, NULL);
}
