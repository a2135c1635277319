"""From the fault in a child to the event in its parent, beside a byte sent by hand.

Both children are programs of their own that hold an arena. They note the time and then
either fault, the channel telling, or write a byte to a plain pipe and fault without
handlers. Both parents wait: in a thread, with wait() or a blocking read; in an asyncio loop,
with `async for` or add_reader. Rounds of all four take turns.
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

ROUNDS = 60
AT_MOST = 1.5

CHILD = """
import ctypes, mmap, os, struct, sys, time
import secalloc
shared, byte = mmap.mmap(int(sys.argv[1]), mmap.PAGESIZE), int(sys.argv[2])
arena = secalloc.Arena(b"secret")
beyond, memset, write = arena.address + arena.size, ctypes.memset, os.write
pack, now = struct.Struct("q").pack_into, time.monotonic_ns
memset(arena.address, 0, 1)  # what leads to the fault is not what is measured
with open(os.devnull, "wb", buffering=0) as null:
    write(null.fileno(), b"F")
pack(shared, 0, now())
if byte >= 0:
    secalloc.disarm()
time.sleep(0.02)  # in which the parent comes to wait
if byte >= 0:
    pack(shared, 0, now())
    write(byte, b"F")
else:
    pack(shared, 0, now())
memset(beyond, 0, 1)
"""

shared = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the program
shared.truncate(mmap.PAGESIZE)
page = mmap.mmap(shared.fileno(), mmap.PAGESIZE)


def since() -> float:
    """Microseconds since the child noted the time."""
    end = time.monotonic_ns()
    return float(end - struct.unpack_from("q", page)[0]) / 1000


def start(args: dict[str, object], byte: int = -1) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-P", "-c", CHILD, str(shared.fileno()), str(byte)]
    return subprocess.Popen(command, **args)  # type: ignore[call-overload,no-any-return]


def over_channel(channel: LockdownChannel) -> "subprocess.Popen[bytes]":
    return start({**channel.popen_args(pass_fds=[shared.fileno()])})


def over_pipe() -> tuple["subprocess.Popen[bytes]", int]:
    read, write = os.pipe()
    process = start({"pass_fds": [shared.fileno(), write]}, write)
    os.close(write)
    return process, read


def heard(event: secalloc.LockdownEvent | None, process: "subprocess.Popen[bytes]") -> None:
    process.wait()
    if event is None or event.kind is not LockdownKind.FATAL:
        raise SystemExit(f"a child did not fall as it should: {event}")


def thread_channel() -> float:
    with LockdownChannel() as channel:
        process = over_channel(channel)
        event = channel.wait()
        taken = since()
    heard(event, process)
    return taken


def thread_pipe() -> float:
    process, read = over_pipe()
    os.read(read, 1)
    taken = since()
    os.close(read)
    process.wait()
    return taken


async def loop_channel() -> float:
    with LockdownChannel() as channel:
        process = over_channel(channel)
        event = await anext(channel)
        taken = since()
    heard(event, process)
    return taken


async def loop_pipe() -> float:
    process, read = over_pipe()
    os.set_blocking(read, False)
    loop = asyncio.get_running_loop()
    future: asyncio.Future[bytes] = loop.create_future()
    loop.add_reader(read, lambda: future.set_result(os.read(read, 1)))
    await future
    taken = since()
    loop.remove_reader(read)
    os.close(read)
    process.wait()
    return taken


def main() -> None:
    times: dict[str, tuple[list[float], list[float]]] = {
        "waiting thread": ([], []),
        "asyncio loop": ([], []),
    }
    with asyncio.Runner() as runner:
        for _ in range(ROUNDS):
            times["waiting thread"][0].append(thread_channel())
            times["waiting thread"][1].append(thread_pipe())
            times["asyncio loop"][0].append(runner.run(loop_channel()))
            times["asyncio loop"][1].append(runner.run(loop_pipe()))
    print(f"{'':14}  {'channel':>10}  {'by hand':>10}  {'ratio':>6}  (medians of {ROUNDS})")
    for name, (ours, theirs) in times.items():
        event, byte = statistics.median(ours), statistics.median(theirs)
        verdict = "" if event / byte <= AT_MOST else f"  MISSED: at most {AT_MOST} is wanted"
        print(f"{name:14}  {event:>7.1f} us  {byte:>7.1f} us  {event / byte:>6.2f}{verdict}")


if __name__ == "__main__":
    main()
