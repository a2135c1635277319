"""From the fault in a child to the event in its parent, beside a byte sent by hand.

All children are programs of their own that hold an arena. After the same pause each notes
the time, in C, and then faults, the channel telling; or writes a byte to a plain pipe; or
faults into a handler of its own that does nothing but write that byte. The parent waits in a
thread, with wait() or a blocking read, or in an asyncio loop, with `async for` or
add_reader. Rounds of all six take turns.

The bar is held to the plain byte, which nothing has to precede: neither the kernel's signal
nor a wipe. The handler by hand shows how much of the ratio the kernel's signal alone is.
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

ROUNDS = 100
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
if how == "handler" and library.arm_by_hand(pipe):
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


def main() -> None:
    times: dict[str, tuple[list[float], list[float], list[float]]] = {
        "waiting thread": ([], [], []),
        "asyncio loop": ([], [], []),
    }
    with asyncio.Runner() as runner:
        for _ in range(ROUNDS):
            channel, byte, handler = times["waiting thread"]
            channel.append(thread_channel())
            byte.append(thread_pipe("byte"))
            handler.append(thread_pipe("handler"))
            channel, byte, handler = times["asyncio loop"]
            channel.append(runner.run(loop_channel()))
            byte.append(runner.run(loop_pipe("byte")))
            handler.append(runner.run(loop_pipe("handler")))
    print(
        f"{'':14}  {'channel':>10}  {'byte':>10}  {'ratio':>6}  {'handler':>10}  {'ratio':>6}"
        f"  (medians of {ROUNDS})"
    )
    for name, taken in times.items():
        event, plain, signal = (statistics.median(each) for each in taken)
        verdict = "" if event / plain <= AT_MOST else f"  MISSED: at most {AT_MOST} is wanted"
        print(
            f"{name:14}  {event:>7.1f} us  {plain:>7.1f} us  {event / plain:>6.2f}"
            f"  {signal:>7.1f} us  {event / signal:>6.2f}{verdict}"
        )


if __name__ == "__main__":
    main()
