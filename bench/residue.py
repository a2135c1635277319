"""How fast residue.find looks at memory, on one core: gigabytes a second of processor time.

    python bench/residue.py [--json]

Beside it, over the same memory in the same run: memcpy; process_vm_readv, by which the kernel
copies what a search does not look at in place; memchr for a byte that is not there; and a search
for the secret by bytes.find, which has to hold it in plain bytes. All take turns; a rate is the
best of the rounds.
With --json only what run.py puts into its table.
"""

import ctypes
import json
import mmap
import os
import resource
import sys
import time
from collections.abc import Callable

import secalloc
from secalloc import residue

SIZE = 1 << 31
PIECE = 1 << 16
ROUNDS = 3
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


class Piece(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("at", ctypes.c_void_p), ("bytes", ctypes.c_size_t))


Work = Callable[[], object]


def copied(base: int) -> Work:
    buffer = ctypes.create_string_buffer(PIECE)

    def work() -> None:
        for at in range(0, SIZE, PIECE):
            libc.memcpy(buffer, ctypes.c_void_p(base + at), ctypes.c_size_t(PIECE))

    return work


def read_by_kernel(base: int) -> Work:
    buffer, pid = ctypes.create_string_buffer(PIECE), os.getpid()

    def work() -> None:
        here = Piece(ctypes.addressof(buffer), PIECE)
        for at in range(0, SIZE, PIECE):
            there = Piece(base + at, PIECE)
            got = libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
            if got != PIECE:
                raise SystemExit("bench: process_vm_readv is refused")

    return work


def searched(size: int, *, partial: bool) -> Work:
    secret = secalloc.random(size)

    def work() -> None:
        if residue.find(secret, partial=partial):
            raise SystemExit("a copy of what was never copied")

    return work


def spent() -> float:
    """Seconds of processor time, those of a search's process apart with them."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.thread_time() + children.ru_utime + children.ru_stime


def rates(works: dict[str, Work]) -> dict[str, float]:
    """Gigabytes a second of processor time."""
    least = dict.fromkeys(works, float("inf"))
    for _ in range(ROUNDS):
        for name, work in works.items():
            start = spent()
            work()
            least[name] = min(least[name], spent() - start)
    return {name: SIZE / took / 1e9 for name, took in least.items()}


def main() -> None:
    memory = filled()
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    works: dict[str, Work] = {"memcpy": copied(base), "process_vm_readv": read_by_kernel(base)}
    parts = "residue.find, 32 bytes, parts and forms"
    alone = "residue.find, 32 bytes alone"
    works |= {parts: searched(32, partial=True), alone: searched(32, partial=False)}
    if "--json" in sys.argv:
        found = rates(works)
        names = ("memcpy_rate", "readv_rate", "residue_part_rate", "residue_rate")
        print(json.dumps(dict(zip(names, found.values(), strict=True))))
        return
    there, plain = ctypes.c_void_p(base), os.urandom(32)
    found = rates(
        {
            **works,
            "residue.find, 16 bytes, parts and forms": searched(16, partial=True),
            "residue.find, 8 bytes alone": searched(8, partial=False),
            "memchr": lambda: libc.memchr(there, 0xFF, ctypes.c_size_t(SIZE)),
            "bytes.find of 32 plain bytes": lambda: memory.find(plain),
        }
    )
    print(f"{f'of {SIZE >> 20} MiB':44}  {'GB/s':>6}  {'of memcpy':>9}  {'of memchr':>9}")
    for name, rate in found.items():
        missed = name.startswith("residue") and rate < AT_LEAST
        verdict = f"  MISSED: at least {AT_LEAST:g} GB/s are wanted" if missed else ""
        of = f"{rate / found['memcpy']:>9.2f}  {rate / found['memchr']:>9.2f}"
        print(f"{name:44}  {rate:>6.2f}  {of}{verdict}")


if __name__ == "__main__":
    main()
