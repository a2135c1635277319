/* Faults where they must not be taken, and those of an ignored signal: macOS. */
#include "check.h"
#include "os/os.h"

#include <pthread.h>
#include <sys/mman.h>

#ifndef __linux__
static char *nowhere;
static volatile sig_atomic_t entries, handled;

static void handler(int sig, siginfo_t *info, void *context)
{
    (void)info;
    entries++;
    if (os_puts_off(sig, context))
        return;
    handled++;
    if (handled > 3)
        _exit(3);
}

static void catch (int sig)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO | os_handler_flags()};
    action.sa_sigaction = handler;
    os_fill_mask(&action.sa_mask);
    SAME(sigaction(sig, &action, NULL), 0);
    nowhere = mmap(NULL, os_page_size(), PROT_NONE, MAP_PRIVATE | MAP_ANON, -1, 0);
    CHECK(nowhere != MAP_FAILED);
}

static void catch_all(void)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        catch (faults[i]);
}

static bool blocks(int sig)
{
    sigset_t mask;
    SAME(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
    return sigismember(&mask, sig) == 1;
}

/* One that is sent comes when the mask is taken off, once; others are let in again. */
static void sent(int sig)
{
    sigset_t before;
    catch (sig);
    entries = handled = 0;
    for (int i = 0; i < 3; i++) {
        os_mask_all(&before);
        CHECK(blocks(SIGTERM) && blocks(SIGABRT) && !blocks(sig));
        SAME(raise(sig), 0);
        SAME(entries, 2 * i + 1);
        SAME(handled, i);
        os_unmask(&before);
        CHECK(!blocks(SIGTERM));
        SAME(entries, 2 * i + 2);
        SAME(handled, i + 1);
    }
}

TEST(sent_while_masked)
{
    if (under_tool())
        SKIP("tools deliver late");
    sent(SIGSEGV);
    sent(SIGTRAP);
}

TEST(sent_in_a_pass)
{
    sigset_t before;
    catch (SIGBUS);
    os_keep_faults_off();
    SAME(raise(SIGBUS), 0);
    os_mask_sent(&before); /* as the marker does in there */
    os_unmask(&before);
    SAME(handled, 0);
    os_let_faults_in();
    SAME(handled, 1);
    SAME(raise(SIGBUS), 0);
    SAME(handled, 2);
}

static void falls_masked(void *with)
{
    sigset_t before;
    (void)with;
    os_mask_all(&before);
    *(volatile char *)nowhere = 1;
}

static void falls_in_a_pass(void *with)
{
    (void)with;
    os_keep_faults_off();
    *(volatile char *)nowhere = 1;
}

static void falls(void *with)
{
    (void)with;
    *(volatile char *)nowhere = 1;
}

/* A fault there ends the process at once, by what it is, rather than coming for ever. */
TEST(a_fault_there)
{
    if (under_valgrind())
        SKIP("a fault that comes again is an error to valgrind");
    catch_all();
    CHECK(is_fault(death_of(in_child(falls_masked, NULL))));
    CHECK(is_fault(death_of(in_child(falls_in_a_pass, NULL))));
    SAME(in_child(falls, NULL), 3 << 8); /* the control: it is handled, again and again */
}

/* ---- ignored before ---------------------------------------------------------------------- */

static volatile sig_atomic_t forced;

static void asks(int sig, siginfo_t *info, void *context)
{
    entries++;
    if (os_is_forced(sig, info, context, true) && ++forced)
        _exit(entries);
    if (entries > 10)
        _exit(100);
}

TEST(ignored_before)
{
    if (under_valgrind())
        SKIP("a fault that comes again is an error to valgrind");
    catch_all();
    struct sigaction action = {.sa_flags = SA_SIGINFO};
    action.sa_sigaction = asks;
    SAME(sigaction(SIGSEGV, &action, NULL), 0);
    SAME(sigaction(SIGBUS, &action, NULL), 0);
    for (int i = 0; i < 5; i++) { /* sent ones never are */
        entries = 0;
        SAME(raise(SIGSEGV), 0);
        SAME(raise(SIGBUS), 0);
        SAME(raise(SIGBUS), 0);
        SAME(entries, 3);
    }
    SAME(forced, 0);
    entries = 0;
    SAME(in_child(falls, NULL), 2 << 8); /* the second time it is known */
}

TEST(not_ignored)
{
    siginfo_t info = {.si_code = 0};
    CHECK(os_is_forced(SIGSEGV, &info, NULL, false) && os_is_forced(SIGTRAP, &info, NULL, false));
    CHECK(!os_is_forced(SIGSYS, &info, NULL, true) && !os_is_forced(SIGABRT, &info, NULL, false));
}
#else
TEST(linux_does_it)
{
    siginfo_t info = {.si_code = SEGV_MAPERR};
    os_keep_faults_off();
    CHECK(!os_puts_off(SIGSEGV, NULL));
    os_let_faults_in();
    SAME(os_handler_flags(), 0);
    CHECK(os_is_forced(SIGSEGV, &info, NULL, true) && os_is_forced(SIGSEGV, &info, NULL, false));
    info.si_code = SI_USER;
    CHECK(!os_is_forced(SIGSEGV, &info, NULL, false));
}
#endif

int main(int argc, char **argv)
{
    check_begin("test_fault", argc, argv);
#ifdef __linux__
    RUN(linux_does_it);
#else
    RUN(sent_while_masked);
    RUN(sent_in_a_pass);
    RUN(a_fault_there);
    RUN(ignored_before);
    RUN(not_ignored);
#endif
    return check_end();
}
