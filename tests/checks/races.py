"""Whose races ThreadSanitizer reported: those with the extension's code in them fail.

    python tests/checks/races.py EXTENSION REPORT...

A free-threaded CPython has races of its own, and each run meets others. A report counts
as the interpreter's where both accesses are known and no frame of EXTENSION, the start of a
file's name, is among theirs or in what else is told, but for how the threads began. All
else counts as the extension's. What the extension did wrong long before, as to drop a
reference that it did not own, is not seen here.
"""

import re
import sys
from pathlib import Path

BETWEEN = re.compile(r"^(?:=+|ThreadSanitizer: reported \d+ warnings)$", re.MULTILINE)
FRAME = re.compile(r"^ +#0 (\S+)", re.MULTILINE)
ACCESS = re.compile(r" +(?:previous )?(?:atomic )?(?:read|write) of size ", re.IGNORECASE)
THREAD = re.compile(r" +Thread T\d+ .*created by")


def reports(log: str) -> list[str]:
    """What was reported, one by one."""
    return [text for part in BETWEEN.split(log) if (text := part.strip())]


def is_the_interpreters(report: str, extension: str) -> bool:
    """Whether both accesses are known, and the extension has no frame in it."""
    title, _, rest = report.partition("\n")
    sections = [section for section in rest.split("\n\n") if not THREAD.match(section)]
    known = [section for section in sections if ACCESS.match(section) and FRAME.search(section)]
    return (
        "ThreadSanitizer: data race" in title
        and len(known) == 2
        and not any(extension in section for section in sections)
    )


def main(extension: str, *files: str) -> int:
    """0: nothing of the extension's."""
    found = [report for file in files for report in reports(Path(file).read_text("utf-8"))]
    ours = [report for report in found if not is_the_interpreters(report, extension)]
    for report in ours:
        print(report, end="\n\n")
    others = {str(FRAME.findall(report)[:2]) for report in found if report not in ours}
    print(f"races of the interpreter's own: {', '.join(sorted(others)) or 'none'}")
    print(f"races with {extension} in them: {len(ours) or 'none'}")
    return bool(ours)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
