"""How fast residue.find looks at memory, on one core: gigabytes a second of processor time.

Beside it, over the same memory in the same run: memcpy, memchr for a byte that is not
there, and a search for the secret by bytes.find, which has to hold it in plain bytes.
"""

import ctypes
import mmap
import os
import statistics
import time
from collections.abc import Callable

import secalloc
from secalloc import residue

SIZE = 1 << 29
ROUNDS = 5
AT_LEAST = 2.0  # GB/s

libc = ctypes.CDLL(None)
for function in (libc.memcpy, libc.memchr):
    function.restype = ctypes.c_void_p


def filled() -> mmap.mmap:
    """Memory as a program has it: much of it other, some of it zero."""
    memory = mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    block = bytearray(os.urandom(1 << 20)).replace(b"\xff", b"\xfe")
    block[1 << 19 : 1 << 19 | 1 << 18] = bytes(1 << 18)
    for at in range(0, SIZE, 1 << 20):
        memory[at : at + (1 << 20)] = block
    return memory


def gigabytes_a_second(work: Callable[[], object], size: int) -> float:
    times = []
    for _ in range(ROUNDS):
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return size / statistics.median(times) / 1e9


def main() -> None:
    memory = filled()
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    there, buffer = ctypes.c_void_p(base), ctypes.create_string_buffer(1 << 16)

    def copy() -> None:
        for at in range(0, SIZE, 1 << 16):
            libc.memcpy(buffer, ctypes.c_void_p(base + at), ctypes.c_size_t(1 << 16))

    memcpy = gigabytes_a_second(copy, SIZE)
    memchr = gigabytes_a_second(lambda: libc.memchr(there, 0xFF, ctypes.c_size_t(SIZE)), SIZE)
    plain = os.urandom(32)
    find = gigabytes_a_second(lambda: memory.find(plain), SIZE)
    print(f"{'of 512 MiB':44}  {'GB/s':>6}  {'of memcpy':>9}  {'of memchr':>9}")
    rows = [("memcpy", memcpy), ("memchr", memchr), ("bytes.find of 32 plain bytes", find)]
    for size, partial in ((32, True), (32, False), (16, True), (8, False)):
        name = f"residue.find, {size} bytes{', parts and forms' if partial else ' alone'}"
        with secalloc.random(size) as secret:

            def work(secret: secalloc.Arena = secret, partial: bool = partial) -> None:
                if residue.find(secret, partial=partial):
                    raise SystemExit("a copy of what was never copied")

            rows.append((name, gigabytes_a_second(work, SIZE)))
    for name, rate in rows:
        missed = name.startswith("residue") and rate < AT_LEAST
        verdict = f"  MISSED: at least {AT_LEAST:g} GB/s are wanted" if missed else ""
        print(f"{name:44}  {rate:>6.2f}  {rate / memcpy:>9.2f}  {rate / memchr:>9.2f}{verdict}")


if __name__ == "__main__":
    main()
