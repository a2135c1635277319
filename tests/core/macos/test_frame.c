/* The frames of macOS: os/macos/frame.c is compiled here, with frames made up. */
#include "check.h"
#include "os/os.h"

#include <sys/mman.h>
#include <sys/ucontext.h>

typedef struct {
    struct {
        unsigned __trapno;
        uint32_t __esr;
    } __es;
    struct {
        uint64_t __rip, __rsp, __sp, __pc;
    } __ss;
    struct {
        uint32_t __fpu_fcw;
        uint8_t __fpu_stmm0[16], __rest[64];
    } __fs;
    struct {
        uint8_t __v[32][16];
    } __ns;
    uint8_t more[128]; /* the upper parts of wider registers */
} *frame_registers;
typedef struct {
    frame_registers uc_mcontext;
    size_t uc_mcsize;
} frame_context;
#define mcontext_t frame_registers
#define ucontext_t frame_context
#define arm_thread_state64_get_sp(state) ((state).__sp)
#define arm_thread_state64_get_pc(state) ((state).__pc)
#if defined(__aarch64__)
#define __arm64__ 1
#endif
#define os_step_back macos_step_back
#define os_clear_registers macos_clear_registers
#define os_stack_pointer macos_stack_pointer
#define os_learn_frame macos_learn_frame
#define os_red_zone macos_red_zone
#define fault_address macos_fault_address
#define os_may_read macos_may_read
#define os_may_write macos_may_write
#include "../../../csrc/core/os/macos/frame.c"

static __typeof__(*(frame_registers)0) registers;
static frame_context context = {&registers, sizeof registers};

TEST(asking)
{
    size_t page = os_page_size();
    uint8_t *at = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    CHECK(at != MAP_FAILED);
    SAME(mprotect(at + page, page, PROT_NONE), 0);
    errno = 4711;
    CHECK(macos_may_read(at) && macos_may_write(at) && macos_may_read(at + page - 8));
    CHECK(macos_may_write(at + page - 8));
    CHECK(!macos_may_read(at + page) && !macos_may_write(at + page));
    memset(at, 0x5a, page);
    SAME(mprotect(at, page, PROT_READ), 0);
    CHECK(macos_may_read(at) && !macos_may_write(at));
    for (size_t i = 0; i < page; i++)
        SAME(at[i], 0x5a);
    SAME(mprotect(at, page, PROT_READ | PROT_WRITE), 0);
    CHECK(macos_may_write(at + 64));
    for (size_t i = 0; i < page; i++) /* of the word asked about, if anything */
        CHECK(at[i] == 0x5a || i / 8 == 64 / 8);
    SAME(munmap(at, 2 * page), 0);
    CHECK(!macos_may_read(at) && !macos_may_write(at));
    SAME(errno, 4711);
}

#if defined(__x86_64__)
static intptr_t stepped(int sig, unsigned trap, const uint8_t *at)
{
    siginfo_t info = {.si_signo = sig};
    registers.__es.__trapno = trap;
    registers.__ss.__rip = (uintptr_t)at;
    macos_step_back(sig, &info, &context);
    return (intptr_t)(registers.__ss.__rip - (uintptr_t)at);
}

TEST(stepping_back)
{
    static const uint8_t code[] = {0x90, 0xcc, 0x90, 0xcd, 0x03, 0x90, 0x90};
    SAME(stepped(SIGTRAP, 3, code + 2), -1);
    SAME(stepped(SIGTRAP, 3, code + 5), -2);
    SAME(stepped(SIGSEGV, 14, code + 2), 0);
    SAME(stepped(SIGILL, 6, code + 2), 0);
    CHECK(stepped(SIGTRAP, 1, code + 7) != 0); /* to where it traps again */
    SAME(registers.__ss.__rip, (uintptr_t)trap_again);
}
#endif

TEST(clearing)
{
    const uint8_t *bytes = (const uint8_t *)&registers;
    memset(&registers, 0x5a, sizeof registers);
    macos_clear_registers(&context);
#if defined(__x86_64__)
    size_t first = (size_t)((const uint8_t *)registers.__fs.__fpu_stmm0 - bytes),
           end = sizeof registers;
#else
    size_t first = (size_t)(registers.__ns.__v[0] - bytes), end = first + sizeof registers.__ns.__v;
#endif
    for (size_t i = 0; i < sizeof registers; i++)
        SAME(bytes[i], i >= first && i < end ? 0 : 0x5a);
#if defined(__x86_64__)
    memset(&registers, 0x5a, sizeof registers);
    context.uc_mcsize = offsetof(__typeof__(registers), more); /* of a thread without them */
    macos_clear_registers(&context);
    SAME(registers.__ns.__v[31][15], 0);
    SAME(registers.more[0], 0x5a);
#endif
}

TEST(stack_pointer)
{
    registers.__ss.__rsp = registers.__ss.__sp = 0x7000;
    SAME(macos_stack_pointer(&context), 0x7000);
    SAME(macos_red_zone(), 128);
}

/* What brought the thread into the kernel: x86's number, AArch64's class of exception. */
TEST(where_a_fault_was)
{
    static const struct {
        unsigned trap, exception;
        bool fault;
    } table[] = {
        {14, 0x24, true}, {14, 0x20, true}, {13, 0x22, true},    {6, 0, true},
        {3, 0x3c, true},  {0, 0x2c, true},  {0x85, 0x15, false}, {0x80, 0x15, false},
    };
    registers.__ss.__rip = registers.__ss.__pc = 0x1234;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        registers.__es.__trapno = table[i].trap;
        registers.__es.__esr = table[i].exception << 26 | 0x1ffffff;
        SAME(macos_fault_address(&context), table[i].fault ? 0x1234 : 0);
    }
}

int main(int argc, char **argv)
{
    check_begin("test_frame", argc, argv);
    RUN(asking);
#if defined(__x86_64__)
    RUN(stepping_back);
#endif
    RUN(clearing);
    RUN(stack_pointer);
    RUN(where_a_fault_was);
    return check_end();
}
