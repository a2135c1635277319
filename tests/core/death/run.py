"""Runs every program in a directory, armed and disarmed, and judges how it ends.

    run.py DIRECTORY [TRIALS]

Judged are the exact signal, the exact bytes of the marker (descriptor 3) and of
the observer (descriptor 4), and what was said on standard error; death.h tells
what the programs do. Each trial has arenas of other sizes.
"""

import fcntl
import os
import resource
import select
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

PATIENCE = 300.0
TOLD = b"secalloc: canary damaged: "


class Ending(NamedTuple):
    code: int
    marker: bytes
    verdict: bytes
    said: bytes

    def __str__(self) -> str:
        how = signal.Signals(-self.code).name if self.code < 0 else f"exit {self.code}"
        return f"{how}, marker {self.marker!r}, observer {self.verdict!r}, said {self.said!r}"


class Expected(NamedTuple):
    number: int
    marker: bytes
    verdict: bytes
    how: str

    def fits(self, end: Ending) -> bool:
        said = end.said.startswith(TOLD) if self.how == "told" else end.said == b""
        if self.how == "storm":  # lockdowns may have told before, and strangers stored
            same = self.fits_storm(end)
        elif self.how == "many":  # a run of each counts as one
            same = same_run(end.marker, self.marker) and same_run(end.verdict, self.verdict)
        else:
            same = (end.marker, end.verdict) == (self.marker, self.verdict)
        return same and said and end.code == -self.number

    def fits_storm(self, end: Ending) -> bool:
        armed = self.marker != b""
        told = set(end.marker) <= set(b"FL") and (b"F" in end.marker) is armed
        return told and end.verdict[:1] in ((b"N", b"O") if armed else (b"S",))


def milliseconds(end: Ending) -> float:
    """What a storm's observer says that the handler took."""
    return int(end.verdict[1:] or 0) / 1e6


def same_run(have: bytes, want: bytes) -> bool:
    """Whether `have` is `want`, or its one byte repeated."""
    return have == want or (len(want) == 1 and set(have) == set(want))


def high_pipe() -> tuple[int, int]:
    """A pipe whose descriptors are out of the way of those to be given."""
    low = os.pipe()
    high = tuple(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in low)
    for fd in low:
        os.close(fd)
    return high[0], high[1]


def run(program: Path, args: list[str], kill_with: int = 0) -> Ending:
    """Start a program with pipes at 2, 3 and 4 and see it to its end."""
    pipes = {number: high_pipe() for number in (2, 3, 4)}
    actions: list[tuple[int, int, int]] = [
        (os.POSIX_SPAWN_DUP2, writer, number) for number, (_, writer) in pipes.items()
    ]
    pid = os.posix_spawn(program, [str(program), *args], os.environ, file_actions=actions)
    got = dict.fromkeys(pipes, b"")
    waiting = {reader: number for number, (reader, _) in pipes.items()}
    for _, writer in pipes.values():
        os.close(writer)
    deadline = time.monotonic() + PATIENCE
    while waiting:
        ready, _, _ = select.select(list(waiting), [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            os.kill(pid, signal.SIGKILL)
            deadline += PATIENCE
        for reader in ready:
            piece = os.read(reader, 4096)
            got[waiting[reader]] = (got[waiting[reader]] + piece)[:4096]
            if not piece:
                del waiting[reader]
                os.close(reader)
            elif kill_with and got[4] == b"R":
                os.kill(pid, kill_with)
                kill_with = 0
    _, status = os.waitpid(pid, 0)
    return Ending(os.waitstatus_to_exitcode(status), got[3], got[4], got[2])


def expectations(program: Path) -> tuple[Expected, Expected]:
    """What the program itself says: armed, and disarmed."""
    number, *bytes_, how = run(program, ["expect"]).said.decode().split()
    marker, verdict, marker_off, verdict_off = (b"" if b == "-" else b.encode() for b in bytes_)
    return (
        Expected(int(number), marker, verdict, how),
        Expected(int(number), marker_off, verdict_off, how),
    )


def main() -> int:
    directory = Path(sys.argv[1])
    trials = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    programs = sorted(p for p in directory.iterdir() if p.suffix == "" and os.access(p, os.X_OK))
    passed = failed = seen = outside = 0
    slowest = 0.0
    print(f"{'fault':24} {'signal':8} {'armed':>9} {'disarmed':>9}")
    for program in programs:
        columns = []
        for mode, expected in zip(("armed", "disarmed"), expectations(program), strict=True):
            good = 0
            for seed in range(trials):
                kill_with = expected.number if expected.how == "killed" else 0
                end = run(program, [mode, str(seed)], kill_with)
                if mode == "armed":
                    seen += b"S" in end.verdict
                    outside += b"O" in end.verdict
                    slowest = max(slowest, milliseconds(end) if expected.how == "storm" else 0)
                if expected.fits(end):
                    good += 1
                else:
                    print(f"{program.name} {mode} {seed}: {end}", file=sys.stderr)
            passed += good
            failed += trials - good
            columns.append(f"{good}/{trials}")
        name = signal.Signals(expected.number).name
        print(f"{program.name:24} {name:8} {columns[0]:>9} {columns[1]:>9}", flush=True)
    armed_deaths = (passed + failed) // 2
    print(f"{armed_deaths} deaths armed: secrets seen: {seen}; stored from outside: {outside}")
    print(f"slowest from fault to hand-over: {slowest:.2f} ms")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
