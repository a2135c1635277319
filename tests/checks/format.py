"""How C files are laid out: what holds of every line and file, and .clang-format.

    python tests/checks/format.py [CLANG_FORMAT]

No line has more than 120 columns (text in quotes may go past them), a tab, or a blank at
its end. In csrc each file begins with a comment and has up to 400 lines, and each function up to
40, from its brace to its brace; no format of an argument has a `#`. Tables that are clearer by
hand stand between `clang-format off` and `on`. First of all the check is tried on what it must
find.
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
LINES = 400
FUNCTION = 40


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


LENGTH = re.compile(r'"[^"]*[esuwyz]#[^"]*"')
"""Compiled with the headers of 3.13 it is a SystemError in 3.11 and 3.12: there is one wheel for
all, and PY_SSIZE_T_CLEAN chose another function before 3.13."""


def unfit(text: str) -> Iterator[tuple[int, str]]:
    """What no file of the library may have: the line, and what is wrong there."""
    lines = text.splitlines()
    if not text.startswith("/* "):
        yield 1, "no comment that says what the file is for"
    if len(lines) > LINES:
        yield len(lines), f"a file of {len(lines)} lines"
    begin = 0
    for number, line in enumerate(lines, 1):
        if LENGTH.search(line):
            yield number, "a format with '#', which not every Python takes from one wheel"
        if line == "{":
            begin = number
        elif line == "}" and begin:
            if number - begin + 1 > FUNCTION:
                yield begin, f"a function of {number - begin + 1} lines"
            begin = 0


def differs(tool: str, *paths: Path) -> list[str]:
    """What the tool would lay out otherwise."""
    command = [tool, "--dry-run", "-Werror", f"--style=file:{TREE / '.clang-format'}"]
    done = subprocess.run(  # noqa: S603
        [*command, *map(str, paths)], check=False, capture_output=True, text=True
    )
    return [line for line in done.stderr.splitlines() if ": error:" in line]


def tried(tool: str) -> None:
    """The controls."""
    for line in ("x" * (COLUMNS + 1), "\tint a;", "int a; "):
        if not list(faults(line)):
            sys.exit(f"format: not found out: {line!r}")
    short = "/* x */\n" + "int f(void)\n{\n" + "    x;\n" * (FUNCTION - 2) + "}\n"
    if list(unfit(short)):
        sys.exit("format: found out what is fit")
    planted = short.replace("x;", 'f("iy#");', 1)
    for text in (short.replace("}", "    x;\n}"), short + "\n" * LINES, short[8:], planted):
        if len(list(unfit(text))) != 1:
            sys.exit(f"format: not found out: {text[:20]!r} ...")
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "planted.c"
        path.write_text("int f(int a) { return a; }\n")
        if differs(tool, path):
            sys.exit("format: found out what is right")
        path.write_text("int f(int a) {\n  return a;}\n")
        if not differs(tool, path):
            sys.exit("format: what was planted was not found out")


def main() -> int:
    """Print each fault; 1 where there is one."""
    parser = argparse.ArgumentParser(description="Looks at how C files are laid out.")
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
    bad += [
        f"{path.relative_to(TREE)}:{number}: {fault}"
        for path in files()
        if path.is_relative_to(TREE / "csrc")
        for number, fault in unfit(path.read_text())
    ]
    bad += differs(options.tool, *files())
    print("\n".join(bad) or f"ok: format of {len(files())} files")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
