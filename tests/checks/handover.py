"""How a process ends with the library armed and without it: the same in every row.

    handover.py PROGRAM [--markdown FILE]

PROGRAM is tests/core/handover/handover.c, built; faulthandler's rows run in the Python
that runs this. With --markdown the table, in short, goes into FILE.
"""

import os
import re
import resource
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).resolve().parents[1]


class Row(NamedTuple):
    case: str
    signal: str
    disposition: str
    thread: str
    without: str
    with_: str


def native(program: str, scratch: str) -> list[Row]:
    """All rows of the C program."""
    end = subprocess.run(  # noqa: S603
        [program], cwd=scratch, capture_output=True, text=True, check=False
    )
    if end.returncode not in (0, 1):
        raise SystemExit(f"{program}: {end.returncode}\n{end.stderr}")
    return [Row(*line.split("|")) for line in end.stdout.splitlines()]


FAULTS = {"segv": "SIGSEGV", "bus": "SIGBUS", "ill": "SIGILL", "fpe": "SIGFPE", "abrt": "SIGABRT"}
ORDERS = {
    "enabled before": ("faulthandler.enable()", ""),
    "enabled after": ("", "faulthandler.enable()"),
    "enabled before, disabled after": ("faulthandler.enable()", "faulthandler.disable()"),
    "enabled and disabled after": ("", "faulthandler.enable(); faulthandler.disable()"),
    "enabled before, and a user signal": (
        "faulthandler.enable(); faulthandler.register(signal.SIGUSR1)",
        "os.kill(os.getpid(), signal.SIGUSR1)",
    ),
}
WAYS = {"main": "fault({kind!r})", "thread": "on_thread(fault, {kind!r})"}


def python(plan: tuple[str, str, str], armed: bool) -> str:
    """How a Python with faulthandler ends, and what that printed."""
    kind, order, thread = plan
    before, after = ORDERS[order]
    code = f"""
        from crash import *
        import faulthandler
        {before or "pass"}
        secalloc.set_lockdown_fd(None)
        {"pass" if armed else "secalloc.disarm()"}
        a = secret()
        {after or "pass"}
        limit(resource.RLIMIT_CORE, resource.getrlimit(resource.RLIMIT_CORE)[1])
        {WAYS[thread].format(kind=kind)}
    """
    with tempfile.TemporaryDirectory() as scratch:
        child = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-c", textwrap.dedent(code)],
            cwd=scratch,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert child.stderr is not None
        said = child.stderr.read()
        _, status = os.waitpid(child.pid, 0)
        child.returncode = 0
    headline = re.search(r"Fatal Python error: [A-Z][^\n]*", said)
    end = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"status {status}"
    core = ", core" if os.WCOREDUMP(status) else ""
    # Where the other threads are is chance.
    current = re.search(r"^Current thread .*\n((?:  File .*\n)*)", said, re.MULTILINE)
    frames = current[1].count("\n") if current else 0
    told = f", {headline[0]}, {frames} frames" if headline else ", no traceback"
    return f"{end}{core}{told if headline or not said else ', ' + said}"


def faulthandler_rows() -> Iterator[Row]:
    plans = [(kind, order, thread) for kind in FAULTS for order in ORDERS for thread in WAYS]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        without = pool.map(lambda plan: python(plan, False), plans)
        with_ = pool.map(lambda plan: python(plan, True), plans)
        for (kind, order, thread), one, two in zip(plans, without, with_, strict=True):
            yield Row("faulthandler", FAULTS[kind], order, thread, one, two)


def short(outcome: str, row: Row) -> str:
    """An outcome as the document has it: the signal by its role, addresses by kind."""
    outcome = re.sub(r" at 0x(?!8\b|10000000\b|7654321000\b)[0-9a-f]+", " and address", outcome)
    outcome = outcome.replace(row.signal, "dies of it")
    number = {"SIGSEGV": 11, "SIGBUS": 7, "SIGILL": 4, "SIGFPE": 8, "SIGABRT": 6}
    if row.case == "faulthandler":
        outcome = outcome.replace(f"signal {number[row.signal]}", "dies of it")
        outcome = re.sub(
            r"Fatal Python error: [^,]*, \d+ frames", "headline and traceback", outcome
        )
    return outcome


def markdown(rows: list[Row]) -> str:
    """The table, one line for each case and disposition."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.case, row.disposition), []).append(row)
    lines = ["| case | disposition | without | with | rows |", "| --- | --- | --- | --- | --- |"]
    for (case, disposition), group in groups.items():
        columns = []
        for field in ("without", "with_"):
            ends: dict[str, None] = {}
            init: dict[str, None] = {}
            for row in group:
                which = init if row.thread.endswith("process 1") else ends
                which[short(getattr(row, field), row)] = None
            text = " / ".join(ends)
            if init and list(init) != list(ends):
                text += "; process 1: " + " / ".join(init)
            columns.append(text)
        name = case.replace("\\", "\\\\")
        lines.append(f"| {name} | {disposition} | {columns[0]} | {columns[1]} | {len(group)} |")
    return "\n".join(lines)


def main() -> int:
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    with tempfile.TemporaryDirectory() as scratch:
        rows = [*native(sys.argv[1], scratch), *faulthandler_rows()]
    for row in rows:
        print(" | ".join(row) if row.without != row.with_ else " | ".join((*row[:5], "the same")))
    broken = [row for row in rows if "exit 101" in row.without]  # the program itself failed
    different = [row for row in rows if row.without != row.with_] + broken
    refused = [row for row in rows if "refused" in row.without]
    print(f"{len(rows)} rows, {len(refused)} refused by this machine, {len(different)} different")
    for row in different:
        print("DIFFERENT:", " | ".join(row), file=sys.stderr)
    if sys.argv[2:3] == ["--markdown"]:
        document = Path(sys.argv[3])
        text = re.sub(
            r"(<!-- handover -->\n).*?(<!-- end of handover -->)",
            lambda match: f"{match[1]}{markdown(rows)}\n{match[2]}",
            document.read_text(),
            flags=re.DOTALL,
        )
        document.write_text(text)
    return 1 if different or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
