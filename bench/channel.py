"""From the fault in a child to the event in its parent, beside a byte sent by hand.

All children are programs of their own that hold an arena. After the same pause each notes
the time, in C, and then faults, the channel telling; or writes a byte to a plain pipe; or
faults into a handler of its own that does nothing but write that byte; or into one that
overwrites the arena's page with memcpy before. The parent waits in a thread, with wait() or a
blocking read, or in an asyncio loop, with `async for` or add_reader. Rounds of all eight take
turns.

The bar is held to the plain byte, which nothing has to precede: neither the kernel's signal
nor a wipe. The handlers by hand show how much of the ratio the kernel's signal alone is, and
what no wipe can do without, read by the least that a parent can do: the floor.
"""

import asyncio
import mmap
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import secalloc
from secalloc import LockdownChannel, LockdownKind

ROUNDS = 200
AT_MOST = 1.5
LIBRARY = sys.argv[1]

CHILD = """
import ctypes, mmap, os, sys, time
import secalloc
shared = mmap.mmap(int(sys.argv[1]), mmap.PAGESIZE)
pipe, how, library = int(sys.argv[2]), sys.argv[3], ctypes.CDLL(sys.argv[4])
noted = ctypes.byref(ctypes.c_char.from_buffer(shared))
arena = secalloc.Arena(b"secret")
within, beyond = (ctypes.c_void_p(arena.address + at) for at in (0, arena.size))
library.fault(noted, within)  # what leads to the instant is not what is measured
with open(os.devnull, "wb", buffering=0) as null:
    library.write_by_hand(noted, null.fileno())
if how != "channel":
    secalloc.disarm()
size = mmap.PAGESIZE if how == "wipe" else 0
page = ctypes.c_void_p(beyond.value - size)  # an arena ends with its page
if how in ("handler", "wipe") and library.arm_by_hand(pipe, page, ctypes.c_size_t(size)):
    raise SystemExit("no handler")
time.sleep(0.02)  # in which the parent comes to wait
if how == "byte":
    library.write_by_hand(noted, pipe)
    noted = ctypes.byref(ctypes.c_int64())
library.fault(noted, beyond)
"""

shared = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the program
shared.truncate(mmap.PAGESIZE)
page = mmap.mmap(shared.fileno(), mmap.PAGESIZE)


def since() -> float:
    """Microseconds since the child noted the time."""
    end = time.monotonic_ns()
    return float(end - struct.unpack_from("q", page)[0]) / 1000


def start(args: dict[str, object], how: str, pipe: int = -1) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-P", "-c", CHILD, str(shared.fileno()), str(pipe), how, LIBRARY]
    return subprocess.Popen(command, **args)  # type: ignore[call-overload,no-any-return]


def over_channel(channel: LockdownChannel) -> "subprocess.Popen[bytes]":
    return start({**channel.popen_args(pass_fds=[shared.fileno()])}, "channel")


def over_pipe(how: str) -> tuple["subprocess.Popen[bytes]", int]:
    read, write = os.pipe()
    process = start({"pass_fds": [shared.fileno(), write]}, how, write)
    os.close(write)
    return process, read


def heard(event: secalloc.LockdownEvent | None, process: "subprocess.Popen[bytes]") -> None:
    process.wait()
    if event is None or event.kind is not LockdownKind.FATAL:
        raise SystemExit(f"a child did not fall as it should: {event}")


def read(byte: bytes, process: "subprocess.Popen[bytes]") -> None:
    process.wait()
    if byte != b"F":
        raise SystemExit(f"a child did not write as it should: {byte!r}")


def thread_channel() -> float:
    with LockdownChannel() as channel:
        process = over_channel(channel)
        event = channel.wait()
        taken = since()
    heard(event, process)
    return taken


def thread_pipe(how: str) -> float:
    process, fd = over_pipe(how)
    byte = os.read(fd, 1)
    taken = since()
    os.close(fd)
    read(byte, process)
    return taken


async def loop_channel() -> float:
    with LockdownChannel() as channel:
        process = over_channel(channel)
        event = await anext(channel)
        taken = since()
    heard(event, process)
    return taken


async def loop_pipe(how: str) -> float:
    process, fd = over_pipe(how)
    os.set_blocking(fd, False)
    loop = asyncio.get_running_loop()
    future: asyncio.Future[bytes] = loop.create_future()
    loop.add_reader(fd, lambda: future.set_result(os.read(fd, 1)))
    byte = await future
    taken = since()
    loop.remove_reader(fd)
    os.close(fd)
    read(byte, process)
    return taken


BY_HAND = "byte", "handler", "wipe"


def main() -> None:
    thread: dict[str, list[float]] = {how: [] for how in ("channel", *BY_HAND)}
    loop: dict[str, list[float]] = {how: [] for how in thread}
    with asyncio.Runner() as runner:
        for _ in range(ROUNDS):
            thread["channel"].append(thread_channel())
            loop["channel"].append(runner.run(loop_channel()))
            for how in BY_HAND:
                thread[how].append(thread_pipe(how))
                loop[how].append(runner.run(loop_pipe(how)))
    print(f"medians of {ROUNDS}, in us, and each over the plain byte's")
    print(
        f"{'':14}  {'plain byte':>10}  {'signal, byte':>15}  {'signal, wipe, byte':>18}"
        f"  {'channel':>15}"
    )
    for name, taken in (("waiting thread", thread), ("asyncio loop", loop)):
        byte, signal, floor, event = (
            statistics.median(taken[how]) for how in (*BY_HAND, "channel")
        )
        verdict = "" if event / byte <= AT_MOST else f"  MISSED: at most {AT_MOST} is wanted"
        print(
            f"{name:14}  {byte:>10.1f}  {signal:>8.1f} ({signal / byte:.2f})"
            f"  {floor:>11.1f} ({floor / byte:.2f})  {event:>8.1f} ({event / byte:.2f})"
            f"  {event / floor:.2f} of the floor{verdict}"
        )


if __name__ == "__main__":
    main()
