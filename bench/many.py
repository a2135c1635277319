"""A million pooled secrets: what each takes of locked and of ordinary memory; and an import, warm.

Lifts RLIMIT_MEMLOCK where it may. Status 1 where a bar is missed.
"""

import contextlib
import os
import resource
import statistics
import subprocess
import sys

import secalloc

SECRETS = 1_000_000
LOCKED, ORDINARY = 49, 136  # bytes each, at most
IMPORT_MS = 1.0
WHAT = """
import time
start = time.process_time(); import secalloc; print((time.process_time() - start) * 1e3)
"""


def resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def locked() -> int:
    return secalloc.status().locked_bytes


def imported() -> float:
    """Milliseconds of processor time, the median of processes, with the bytecode that the first of
    them leaves."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    call = [sys.executable, "-P", "-c", WHAT]
    times = [float(subprocess.check_output(call, env=env)) for _ in range(21)]
    return statistics.median(times)


def main() -> int:
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY,) * 2)
    pool = secalloc.Pool()
    secrets = [pool.random(32)] * SECRETS  # the list itself is not counted
    before = resident(), locked()
    for i in range(SECRETS):
        secrets[i] = pool.random(32)
    held = (locked() - before[1]) / SECRETS
    rest = (resident() - before[0]) / SECRETS - (0 if secret_pages_are_apart() else held)
    took = imported()
    rows = (("locked bytes each", held, LOCKED), ("ordinary bytes each", rest, ORDINARY))
    rows = (*rows, ("import, warm, ms", took, IMPORT_MS))
    for what, value, bar in rows:
        print(f"{what:<24} {value:8.1f}  at most {bar}  {'ok' if value <= bar else 'MISSED'}")
    return 0 if all(value <= bar for _, value, bar in rows) else 1


def secret_pages_are_apart() -> bool:
    """Whether resident memory, as the kernel counts it, leaves secretmem out."""
    before = resident()
    with secalloc.random(1 << 24):
        return resident() - before < 1 << 23


if __name__ == "__main__":
    sys.exit(main())
