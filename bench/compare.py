"""Two builds of the package beside each other, row by row, in one interleaved run.

    python bench/compare.py BEFORE AFTER [--rounds N] [--bar 1.05]

Both are directories with the package in it, as `pip install --target` makes them. Each build runs
in a process of its own, and the two take turns every few milliseconds, so that what disturbs one
disturbs the other. A figure is processor time a call; a row is the median of the rounds' ratios.
Rows above the bar are measured once more, three times as long. Exit status 1: one stays above it.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
import timeit

SLICE = 0.004  # seconds of one turn
SETUP = """
import hashlib, hmac, secalloc
from secalloc import Arena, Pool
plain = bytes(range(1, 33)); page = plain * 2048; mib = plain * 32768
small, large, mine, big, latch = Arena(plain), Arena(mib), Arena(plain), Arena(page), Arena(plain)
view, pool = small[4:20], Pool()
cell, hexed, coded = pool.alloc(plain), plain.hex(), secalloc.b64encode(small)
sealed = Arena(plain); sealed.seal()
"""
ROWS = {
    "make and close, 32 bytes": "Arena(plain).close()",
    "make and close, 64 KiB": "Arena(page).close()",
    "make and close, 1 MiB": "Arena(mib).close()",
    "make and close, zeros": "Arena(60000).close()",
    "make and close in a pool": "pool.alloc(plain).close()",
    "random": "secalloc.random(32).close()",
    "take": "secalloc.take(bytearray(plain)).close()",
    "concat": "secalloc.concat(small, plain).close()",
    "compare, 32 bytes": "secalloc.compare_digest(small, plain)",
    "compare, 1 MiB": "secalloc.compare_digest(large, mib)",
    "==": "small == plain",
    "memoryview": "memoryview(small)",
    "memoryview of a view": "memoryview(view)",
    "memoryview in a pool": "memoryview(cell)",
    "a slice": "small[4:20]",
    "one byte": "small[4]",
    "store": "mine[:] = plain",
    "bytes": "bytes(small)",
    "sha256, 64 KiB": "hashlib.sha256(big)",
    "hmac": "hmac.digest(small, plain, 'sha256')",
    "block for reading": "with mine.open('r'): pass",
    "block of a sealed one": "with sealed.open('r'): pass",
    "block for writing": "with mine.open('w') as w: w[:] = plain",
    "seal and unseal": "latch.seal()\nwith latch.open('r'): pass",
    "rotate": "small.rotate()",
    "rotate, 1 MiB": "large.rotate()",
    "rotate in a pool": "cell.rotate()",
    "replace": "small.replace(plain)",
    "clear and write": "mine.clear(); mine[:] = plain",
    "check": "small.check()",
    "hexlify": "secalloc.hexlify(small).close()",
    "hexlify, 64 KiB": "secalloc.hexlify(big).close()",
    "fromhex": "secalloc.fromhex(hexed).close()",
    "b64encode": "secalloc.b64encode(small).close()",
    "b64decode": "secalloc.b64decode(coded).close()",
    "is_secure": "secalloc.is_secure(small)",
    "status": "secalloc.status()",
    "protection": "small.protection",
    "repr": "repr(small)",
    "search for copies": "secalloc.residue.find(small)",
    "lockdown of 1,000": "many = [Arena(8) for _ in range(1000)]; secalloc.lockdown(); del many\n"
    "small[:] = plain; large[:] = mib; mine[:] = plain; big[:] = page; cell[:] = plain",
}


def serve() -> None:
    """One build: a row's name comes in, processor time a call goes out."""
    given: dict[str, object] = {}
    exec(SETUP, given)  # noqa: S102 - the text above
    import secalloc.residue  # noqa: PLC0415 - of the build that is measured

    secalloc.set_lockdown_fd(None)
    numbers: dict[str, int] = {}
    for line in sys.stdin:
        name, scale = json.loads(line)
        timer = timeit.Timer(ROWS[name], timer=time.process_time, globals=given)
        if name not in numbers:
            try:
                once = min(timer.timeit(1) for _ in range(3))
            except AttributeError:  # an older build lacks it
                print("nan", flush=True)
                continue
            numbers[name] = max(1, min(20000, round(SLICE / max(once, 1e-7))))
            timer.timeit(numbers[name])
        number = numbers[name] * scale
        print(timer.timeit(number) / number, flush=True)


class Build:
    """A process that runs one of the two."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.child = subprocess.Popen(
            [sys.executable, "-P", __file__, "--serve"],
            env=os.environ | {"PYTHONPATH": where},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, name: str, scale: int) -> float:
        print(json.dumps([name, scale]), file=self.child.stdin, flush=True)
        answer = self.child.stdout.readline() if self.child.stdout else ""
        if not answer:  # what it said itself stands above
            code = self.child.wait(60)
            raise SystemExit(f"bench: {self.where} ended with {code} (minus a signal) in: {name}")
        return float(answer)


def ratio(before: Build, after: Build, name: str, rounds: int, scale: int) -> tuple[float, float]:
    """The median of after : before, and what the call takes before, in seconds."""
    pairs = []
    for turn in range(rounds):
        one, two = (before, after) if turn % 2 else (after, before)
        first, second = one.ask(name, scale), two.ask(name, scale)
        pairs.append((first, second) if one is before else (second, first))
    return statistics.median(b / a for a, b in pairs), statistics.median(a for a, _ in pairs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--bar", type=float, default=1.05)
    asked = parser.parse_args()
    before, after = Build(asked.before), Build(asked.after)
    slower = []
    for name in ROWS:
        if math.isnan(before.ask(name, 1)):
            print(f"   new  {name}")
            continue
        value, seconds = ratio(before, after, name, asked.rounds, 1)
        again = ""
        if value > asked.bar:
            again = f", at first {value:.3f}"
            value, seconds = ratio(before, after, name, 2 * asked.rounds, 3)
        if value > asked.bar:
            slower.append(name)
        print(f"{value:6.3f}  {name} ({seconds * 1e6:,.2f} us before{again})", flush=True)
    print(f"{len(ROWS)} rows, {len(slower)} above {asked.bar}: {', '.join(slower) or 'none'}")
    return 1 if slower else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        sys.exit(main())
