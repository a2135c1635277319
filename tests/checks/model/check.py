"""Checks slot.pml by spin, and that each of its mutants is found out."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

MODEL = Path(__file__).with_name("slot.pml")

# Who runs beside the owner, or beside the two copiers, and what may fail.
SOUND = (
    "OPS=2 ON_OWNER ON_ANOTHER",
    "OPS=1 ON_OWNER ON_ANOTHER FAILS",
    "OPS=1 LOCKS_DOWN ON_OWNER",
    "OPS=1 LOCKS_DOWN ON_LOCKDOWN FAILS",
    "OPS=1 LOCKS_DOWN ON_ANOTHER",
    "OPS=1 ON_OWNER ON_ANOTHER GIVES_UP",
    "COPY ON_OWNER ON_ANOTHER",
    "COPY ON_OWNER LOCKS_DOWN",
    "COPY ON_LOCKDOWN LOCKS_DOWN",
)

FAULT = "assertion violated (mapped"
LEFT = "assertion violated ((content"
OPEN = "assertion violated (( !(got)"  # pages that have another access than their word says
STUCK = "invalid end state"

# One rule left out each, and what must come of it.
MUTANTS = (
    ("the pin check removed", "OPS=1 ON_ANOTHER NO_PIN_CHECK", FAULT),
    ("the busy bit removed", "OPS=1 ON_ANOTHER NO_BUSY", FAULT),
    ("the busy bit removed, copying", "COPY ON_ANOTHER NO_BUSY", LEFT),
    ("a rotation without the signal mask", "OPS=1 ON_OWNER NO_MASK", STUCK),
    ("a handler that lets go of nothing", "OPS=1 ON_OWNER NO_LET_GO", STUCK),
    ("letting go without a word of the access", "OPS=1 ON_OWNER KNOWN_STILL", FAULT),
    ("letting go for good", "OPS=1 ON_OWNER ON_ANOTHER LET_GO_FOR_GOOD", FAULT),
    ("an owner that is not told that its slot was let go of", "OPS=1 ON_OWNER UNTOUCHED", OPEN),
    ("busy without the signal mask, copying", "COPY ON_OWNER NO_MASK", STUCK),
    ("an owner that waits while busy", "OPS=1 ON_ANOTHER BUSY_WAITS", STUCK),
    ("a copier that waits while busy", "COPY ON_ANOTHER BUSY_WAITS", STUCK),
    ("a rotation that does not look for wipers", "OPS=1 ON_ANOTHER NO_LOOK", LEFT),
    ("a copier that does not look for wipers", "COPY ON_ANOTHER NO_LOOK", LEFT),
    ("a secret before its slot is live", "OPS=1 ON_ANOTHER UNPUBLISHED", LEFT),
    ("dropping left to who saw it first", "OPS=1 ON_OWNER ON_ANOTHER FAILS DROP_ONCE", LEFT),
)


def search(flags: str, where: Path) -> tuple[int, str]:
    """States visited, and the error that was found, or nothing."""
    defines = [f"-D{flag}" for flag in flags.split()]
    subprocess.run(["spin", "-a", *defines, MODEL], cwd=where, check=True)  # noqa: S603, S607
    # Priorities of a handler over its thread, by `provided`, forbid reduction.
    options = ["-DSAFETY", "-DNOREDUCE", "-DCOLLAPSE", "-DMEMLIM=4000", "-w"]
    # Not optimised, which would take longer than it saves.
    subprocess.run(["gcc", *options, "-o", "pan", "pan.c"], cwd=where, check=True)  # noqa: S603, S607
    run = [str(where / "pan"), "-m1000000", "-n"]
    out = subprocess.run(run, cwd=where, check=True, capture_output=True, text=True).stdout  # noqa: S603
    states = re.search(r"(\d+) states, stored", out)
    error = re.search(r"^pan:\d+: (.*)", out, re.MULTILINE)
    if not states or ("Search not completed" in out and not error):
        sys.exit(f"{flags}: no answer\n{out}")
    return int(states[1]), error[1] if error else ""


def main() -> int:
    """Print a line for each search; 1 where one came out wrong."""
    bad = total = 0
    with tempfile.TemporaryDirectory(prefix="secalloc-model-") as name:
        for flags in SOUND:
            states, error = search(flags, Path(name))
            total += states
            bad += bool(error)
            print(f"{flags}: {states:,} states, {error or 'sound'}", flush=True)
        for what, flags, want in MUTANTS:
            states, error = search(flags, Path(name))
            bad += not error.startswith(want)
            verdict = "found out" if error.startswith(want) else "NOT FOUND OUT AS IT SHOULD"
            print(f"mutant, {what}: {verdict}: {error or 'no error'}", flush=True)
    print(f"{'FAILED' if bad else 'ok'}: {total:,} states, {len(MUTANTS)} mutants")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
