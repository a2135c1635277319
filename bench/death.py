"""From the fault to the parent's wait: what the handler's pass adds to dying.

Each child makes its arenas, notes the time and writes past the end of one. Without
handlers (`disarmed`) the same death gives what the kernel and the wait cost.
"""

import ctypes
import os
import signal
import statistics
import struct
import sys
import time

import secalloc

ROUNDS = 15
SIZES = (1, 100, 1000, 10000)


def die(count: int, armed: bool, report: int) -> None:
    arenas = [secalloc.Arena(32) for _ in range(count)]
    if not armed:
        secalloc.disarm()
    secalloc.set_lockdown_fd(None)
    beyond = arenas[0].address + 32
    memset = ctypes.memset
    os.write(report, struct.pack("d", time.monotonic()))
    memset(beyond, 0, 1)


def one_death(count: int, armed: bool) -> float:
    """Milliseconds from the fault to the end of wait."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        die(count, armed, write_end)
        os._exit(1)
    os.close(write_end)
    _, status = os.waitpid(child, 0)
    end = time.monotonic()
    with os.fdopen(read_end, "rb") as pipe:
        (start,) = struct.unpack("d", pipe.read(8))
    if os.waitstatus_to_exitcode(status) != -signal.SIGSEGV:
        raise SystemExit("a child did not die as it should")
    return float((end - start) * 1e3)


def main() -> int:
    print(f"{'live arenas':>12}  {'disarmed':>10}  {'armed':>10}  difference")
    for count in SIZES:
        times: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(ROUNDS):
            for armed, taken in times.items():
                taken.append(one_death(count, armed))
        off, on = (statistics.median(times[armed]) for armed in (False, True))
        print(f"{count:>12,}  {off:>7.2f} ms  {on:>7.2f} ms  {on - off:.2f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
