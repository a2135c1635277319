#include "registers.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdatomic.h>

/* What the processor has and the kernel saves: cpuid alone may promise more. */
enum vectors { UNKNOWN, SSE, AVX, AVX512 };

static enum vectors ask(void)
{
    enum { OSXSAVE = 1u << 27, AVX512F = 1u << 16, YMM = 0x6, ZMM = 0xe6 };
    unsigned a, b, c, d, saved, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & OSXSAVE))
        return SSE;
    __asm__ __volatile__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    if ((saved & YMM) != YMM)
        return SSE;
    if ((saved & ZMM) != ZMM || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & AVX512F))
        return AVX;
    return AVX512;
}

/* Nothing is said of clobbered vector registers: the compiler counts on none over a call. */
__attribute__((noinline)) void registers_forget(void)
{
    static _Atomic(enum vectors) known; /* cpuid leaves a virtual machine: once */
    enum vectors have = atomic_load_explicit(&known, memory_order_relaxed);
    if (!have)
        atomic_store_explicit(&known, have = ask(), memory_order_relaxed);
    if (have == AVX512)
        __asm__ __volatile__("vpxord %zmm16, %zmm16, %zmm16\n\tvpxord %zmm17, %zmm17, %zmm17\n\t"
                             "vpxord %zmm18, %zmm18, %zmm18\n\tvpxord %zmm19, %zmm19, %zmm19\n\t"
                             "vpxord %zmm20, %zmm20, %zmm20\n\tvpxord %zmm21, %zmm21, %zmm21\n\t"
                             "vpxord %zmm22, %zmm22, %zmm22\n\tvpxord %zmm23, %zmm23, %zmm23\n\t"
                             "vpxord %zmm24, %zmm24, %zmm24\n\tvpxord %zmm25, %zmm25, %zmm25\n\t"
                             "vpxord %zmm26, %zmm26, %zmm26\n\tvpxord %zmm27, %zmm27, %zmm27\n\t"
                             "vpxord %zmm28, %zmm28, %zmm28\n\tvpxord %zmm29, %zmm29, %zmm29\n\t"
                             "vpxord %zmm30, %zmm30, %zmm30\n\tvpxord %zmm31, %zmm31, %zmm31");
    if (have >= AVX) /* the upper parts too, of 512 bits as well */
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
