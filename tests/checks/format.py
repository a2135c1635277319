"""How C files are laid out: what holds of every line, and .clang-format for changed ones.

    python tests/checks/format.py [--since COMMIT] [CLANG_FORMAT]

No line has more than 120 columns (text in quotes may go past them), a tab, or a blank at
its end. What was changed since COMMIT, the last one if none is given, is as .clang-format has
it. Tables that are clearer by hand stand between `clang-format off` and `on`. First of all the
check is tried on lines that it must find.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
COLUMNS = 120


def files() -> list[Path]:
    folders = ("csrc", "tests", "bench")
    found = (p for folder in folders for p in (TREE / folder).rglob("*.[ch]"))
    return sorted(found)


def faults(line: str) -> Iterator[str]:
    """What no line may have."""
    if len(line) > COLUMNS and '"' not in line:
        yield f"{len(line)} columns"
    if "\t" in line:
        yield "a tab"
    if line != line.rstrip():
        yield "blanks at its end"


def changed(since: str) -> dict[Path, list[tuple[int, int]]]:
    """First and last line of each run that is new or another since that commit."""
    command = ["git", "diff", "-U0", "-M", "--no-ext-diff", since, "--", "*.c", "*.h"]
    done = subprocess.run(  # noqa: S603
        command, cwd=TREE, check=True, capture_output=True, text=True
    )
    found: dict[Path, list[tuple[int, int]]] = {}
    path = Path()
    for line in done.stdout.splitlines():
        if line.startswith("+++ b/"):
            path = TREE / line[6:]
        elif hunk := re.match(r"@@ -\S+ \+(\d+)(?:,(\d+))? @@", line):
            start, count = int(hunk[1]), int(hunk[2] or 1)
            if count:
                found.setdefault(path, []).append((start, start + count - 1))
    return found


def differs(tool: str, path: Path, runs: list[tuple[int, int]]) -> list[str]:
    """What the tool would lay out otherwise."""
    lines = [f"--lines={first}:{last}" for first, last in runs]
    command = [tool, "--dry-run", "-Werror", f"--style=file:{TREE / '.clang-format'}", *lines]
    done = subprocess.run(  # noqa: S603
        [*command, str(path)], check=False, capture_output=True, text=True
    )
    return [line for line in done.stderr.splitlines() if ": error:" in line]


def tried(tool: str) -> None:
    """The controls."""
    for line in ("x" * (COLUMNS + 1), "\tint a;", "int a; "):
        if not list(faults(line)):
            sys.exit(f"format: not found out: {line!r}")
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "planted.c"
        path.write_text("int f(int a) { return a; }\n\nint g(int a) {\n  return a;}\n")
        if differs(tool, path, [(1, 1)]) or not differs(tool, path, [(3, 4)]):
            sys.exit("format: what was planted was not found out, or more than that")


def main() -> int:
    """Print each fault; 1 where there is one."""
    parser = argparse.ArgumentParser(description="Looks at how C files are laid out.")
    parser.add_argument("--since", default="HEAD")
    parser.add_argument("tool", nargs="?", default="clang-format-16")
    options = parser.parse_args()
    if not shutil.which(options.tool):
        sys.exit(f"format: {options.tool} is not installed")
    tried(options.tool)
    bad = [
        f"{path.relative_to(TREE)}:{number}: {fault}"
        for path in files()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for fault in faults(line)
    ]
    runs = changed(options.since)
    for path, lines in runs.items():
        bad += differs(options.tool, path, lines)
    print("\n".join(bad) or f"ok: format of {len(files())} files, {len(runs)} of them changed")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
