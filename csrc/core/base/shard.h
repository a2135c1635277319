/* Spreading threads over a few copies of what they would else all write to. */
#ifndef SECALLOC_SHARD_H
#define SECALLOC_SHARD_H

#include <stdint.h>

enum { SHARDS = 16 };

/* The calling thread's shard, told by where its stack lies: a thread-local could
 * be allocated lazily, which a handler must not do. Stacks side by side, of the usual
 * sizes, get different ones: that is so for few shifts. [signal] */
static inline unsigned shard_here(void)
{
    uint64_t here = (uintptr_t)__builtin_frame_address(0) >> 16;
    return (unsigned)(here * 0x9e3779b97f4a7c15u >> 60);
}

#endif
