"""What sheltered calls and `python -m secalloc run` cost, in CPU time.

    python bench/shelter.py [--markdown FILE ...]

The same work by interpreters that take turns, --rounds times: a plain one, one that has the hooks
installed and idle, one that works inside of a sheltered call, and `run`. The ratios are those of
the least CPU time that each needed, since others on the machine only ever add to it. Exit status 1
where a bar is missed.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from table import Row, markdown, replace_between_markers

WORK = {
    "JSON there and back": """
import json
data = {str(n): {"name": "x" * n, "list": list(range(n)), "rate": n / 7} for n in range(60)}
def work():
    for _ in range(25):
        assert json.loads(json.dumps(data)) == data
""",
    "a loop that makes objects": """
class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y
def work():
    kept = []
    for n in range(60_000):
        kept.append([Point(n, str(n)), {n: (n, n + 1.5)}])
        if len(kept) > 500:
            del kept[:400]
""",
    "strings": """
def work():
    for n in range(25_000):
        text = f"user{n}=" + "ab" * (n % 40) + ";"
        text.upper().replace("A", "bb").split(";")[0].encode().decode("latin-1").partition("=")
""",
}

NONE = "import secalloc\nkept = secalloc.Arena(1)\n"
IDLE = "import secalloc\nkept = secalloc.Arena(1)\nsecalloc.shelter(int)\n"
TIMED = """
import time
def least(call):
    times = []
    for _ in range(5):
        begin = time.process_time()
        call()
        times.append(time.process_time() - begin)
    print(min(times))
"""

CALL = """
import time, secalloc
def nothing():
    pass
def least(call, f):
    best = 1.0
    for _ in range(60):
        begin = time.thread_time()
        for _ in range(2000):
            call(f)
        best = min(best, (time.thread_time() - begin) / 2000)
    return best
print(least(secalloc.shelter, nothing) * 1e9)
"""


def seconds(code: str, run: bool = False) -> float:
    """What the child prints: the least CPU time of its rounds."""
    command = [sys.executable, "-P", *(["-m", "secalloc", "run"] if run else []), "-c", code]
    env = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env)
    return float(done.stdout)


def ways(code: str) -> dict[str, Callable[[], float]]:
    start = code + TIMED
    return {
        "plain": lambda: seconds(start + "least(work)"),
        "none": lambda: seconds(NONE + start + "least(work)"),
        "idle": lambda: seconds(IDLE + start + "least(work)"),
        "inside": lambda: seconds(IDLE + start + "least(lambda: secalloc.shelter(work))"),
        "run": lambda: seconds(start + "least(work)", run=True),
    }


BARS = {
    "idle": ("hooks idle : none", "none", 1.05),
    "inside": ("inside : plain", "plain", 1.6),
    "run": ("under run : plain", "plain", 1.25),
}


def measure(rounds: int) -> list[Row]:
    rows = []
    for name, code in WORK.items():
        best = dict.fromkeys(ways(code), float("inf"))
        for _ in range(rounds):
            for way, time_it in ways(code).items():
                best[way] = min(best[way], time_it())
        for way, (what, than, bar) in BARS.items():
            figure = f"{best[way] * 1e3:.1f} ms : {best[than] * 1e3:.1f} ms"
            rows.append(Row(f"{name}, {what}", figure, best[way] / best[than], bar))
    call = min(seconds(CALL) for _ in range(rounds))
    rows.append(Row("a sheltered call that does nothing, us", f"{call:.0f} ns", call / 1e3, 2))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", type=Path, nargs="*", default=[])
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    rows = measure(options.rounds)
    width = max(len(r.what) for r in rows)
    for r in rows:
        verdict = "ok" if r.met else "MISSED"
        print(f"{r.what:<{width}}  {r.figure:>20}  {r.value:>6.3f}  {r.limit:<14}  {verdict}")
    for path in options.markdown:
        replace_between_markers(path, "sheltered calls", markdown(rows))
    return 0 if all(r.met for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
