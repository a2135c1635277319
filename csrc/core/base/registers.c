/* This file clears what a copy or a comparison left in the processor's registers. */
#include "base/registers.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdatomic.h>

enum registers_held registers_held(unsigned features, unsigned extended, unsigned saved)
{
    enum { OSXSAVE = 1u << 27, AVX512F = 1u << 16, YMM = 0x6, ZMM = 0xe6 };
    if (!(features & OSXSAVE) || (saved & YMM) != YMM)
        return HELD_SSE;
    return (saved & ZMM) == ZMM && extended & AVX512F ? HELD_AVX512 : HELD_AVX;
}

/* What the kernel saves, of this thread. */
static unsigned ask_saved(void)
{
    unsigned saved, high;
    __asm__ __volatile__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    return saved;
}

/* On Darwin a thread has AVX-512 from its first such instruction on (fpu.c of XNU), so that
 * each has to be asked anew; the bits that it turns on then. */
#ifdef __APPLE__
enum { TURNED_ON = 0xe0 };
#else
enum { TURNED_ON = 0 };
#endif

static enum registers_held ask(void)
{
    unsigned a, b, c, d, features, extended;
    if (!__get_cpuid(1, &a, &b, &features, &d))
        return HELD_SSE;
    if (registers_held(features, 0, ~0u) == HELD_SSE) /* has no xgetbv */
        return HELD_SSE;
    if (!__get_cpuid_count(7, 0, &a, &extended, &c, &d))
        extended = 0;
    return registers_held(features, extended, ask_saved() | TURNED_ON);
}

/* Nothing is said of clobbered vector registers: the compiler counts on none over a call. */
__attribute__((noinline)) void registers_forget(void)
{
    static _Atomic(enum registers_held) known; /* cpuid leaves a virtual machine: once */
    enum registers_held have = atomic_load_explicit(&known, memory_order_relaxed);
    if (!have)
        atomic_store_explicit(&known, have = ask(), memory_order_relaxed);
    if (have == HELD_AVX512 && (!TURNED_ON || (ask_saved() & TURNED_ON) == TURNED_ON))
        __asm__ __volatile__("vpxord %zmm16, %zmm16, %zmm16\n\tvpxord %zmm17, %zmm17, %zmm17\n\t"
                             "vpxord %zmm18, %zmm18, %zmm18\n\tvpxord %zmm19, %zmm19, %zmm19\n\t"
                             "vpxord %zmm20, %zmm20, %zmm20\n\tvpxord %zmm21, %zmm21, %zmm21\n\t"
                             "vpxord %zmm22, %zmm22, %zmm22\n\tvpxord %zmm23, %zmm23, %zmm23\n\t"
                             "vpxord %zmm24, %zmm24, %zmm24\n\tvpxord %zmm25, %zmm25, %zmm25\n\t"
                             "vpxord %zmm26, %zmm26, %zmm26\n\tvpxord %zmm27, %zmm27, %zmm27\n\t"
                             "vpxord %zmm28, %zmm28, %zmm28\n\tvpxord %zmm29, %zmm29, %zmm29\n\t"
                             "vpxord %zmm30, %zmm30, %zmm30\n\tvpxord %zmm31, %zmm31, %zmm31");
    if (have >= HELD_AVX) /* the upper parts too, of 512 bits as well */
        __asm__ __volatile__("vzeroall");
    else
        __asm__ __volatile__("pxor %xmm0, %xmm0\n\tpxor %xmm1, %xmm1\n\tpxor %xmm2, %xmm2\n\t"
                             "pxor %xmm3, %xmm3\n\tpxor %xmm4, %xmm4\n\tpxor %xmm5, %xmm5\n\t"
                             "pxor %xmm6, %xmm6\n\tpxor %xmm7, %xmm7\n\tpxor %xmm8, %xmm8\n\t"
                             "pxor %xmm9, %xmm9\n\tpxor %xmm10, %xmm10\n\t"
                             "pxor %xmm11, %xmm11\n\tpxor %xmm12, %xmm12\n\t"
                             "pxor %xmm13, %xmm13\n\tpxor %xmm14, %xmm14\n\t"
                             "pxor %xmm15, %xmm15");
    __asm__ __volatile__("xor %%eax, %%eax\n\txor %%ecx, %%ecx\n\txor %%edx, %%edx\n\t"
                         "xor %%esi, %%esi\n\txor %%edi, %%edi\n\txor %%r8d, %%r8d\n\t"
                         "xor %%r9d, %%r9d\n\txor %%r10d, %%r10d\n\txor %%r11d, %%r11d" ::
                             : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "cc");
}
#elif defined(__aarch64__)
/* Of v8 to v15 the lower halves are the caller's; writing v clears what SVE adds to it. */
__attribute__((noinline)) void registers_forget(void)
{
    __asm__ __volatile__(
        "movi v0.2d, #0\n\tmovi v1.2d, #0\n\tmovi v2.2d, #0\n\tmovi v3.2d, #0\n\t"
        "movi v4.2d, #0\n\tmovi v5.2d, #0\n\tmovi v6.2d, #0\n\tmovi v7.2d, #0\n\t"
        "movi v16.2d, #0\n\tmovi v17.2d, #0\n\tmovi v18.2d, #0\n\tmovi v19.2d, #0\n\t"
        "movi v20.2d, #0\n\tmovi v21.2d, #0\n\tmovi v22.2d, #0\n\tmovi v23.2d, #0\n\t"
        "movi v24.2d, #0\n\tmovi v25.2d, #0\n\tmovi v26.2d, #0\n\tmovi v27.2d, #0\n\t"
        "movi v28.2d, #0\n\tmovi v29.2d, #0\n\tmovi v30.2d, #0\n\tmovi v31.2d, #0\n\t"
        "mov x1, xzr\n\tmov x2, xzr\n\tmov x3, xzr\n\tmov x4, xzr\n\tmov x5, xzr\n\t"
        "mov x6, xzr\n\tmov x7, xzr\n\tmov x8, xzr\n\tmov x9, xzr\n\tmov x10, xzr\n\t"
        "mov x11, xzr\n\tmov x12, xzr\n\tmov x13, xzr\n\tmov x14, xzr\n\tmov x15, xzr\n\t"
        "mov x16, xzr\n\tmov x17, xzr" ::
            : "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13",
              "x14", "x15", "x16", "x17");
}
#else
#error "secalloc supports x86-64 and AArch64"
#endif
