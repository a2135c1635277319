"""What `python -m secalloc run` costs: the same work by the plain interpreter and by it.

    python bench/heap.py

Prints seconds of each, least of five rounds taken in turns, and their ratio.
"""

import os
import subprocess
import sys
import time

ROUNDS = 5
WORK = {
    "nothing: to start and to end": "pass",
    "small objects: dicts, lists, strings": """
kept = []
for i in range(400):
    kept.append({str(n): [n, str(n) * 3] for n in range(500)})
    if len(kept) > 20:
        del kept[0]
""",
    "JSON there and back": """
import json
data = {str(n): {"name": "x" * n, "list": list(range(n))} for n in range(120)}
for i in range(60):
    assert json.loads(json.dumps(data)) == data
""",
    "blocks of 64 KiB": """
for i in range(60_000):
    b = bytearray(65_536)
    b[0] = 1
""",
    "arithmetic": """
x = 0
for i in range(3_000_000):
    x = (x * 3 + i) % 1000003
""",
}


def seconds(command: list[str], code: str) -> float:
    begin = time.perf_counter()
    subprocess.run([*command, "-c", code], check=True)
    return time.perf_counter() - begin


def main() -> None:
    plain = [sys.executable, "-P"]
    ways = {"plain": plain, "run": [*plain, "-m", "secalloc", "run"]}
    print(f"python -m secalloc run : the plain interpreter ({os.uname().sysname})")
    for name, code in WORK.items():
        best = {way: float("inf") for way in ways}
        for _ in range(ROUNDS):
            for way, command in ways.items():
                best[way] = min(best[way], seconds(command, code))
        ratio = best["run"] / best["plain"]
        print(f"  {name:<38} {best['run']:6.3f} s : {best['plain']:6.3f} s   {ratio:5.2f}")


if __name__ == "__main__":
    main()
