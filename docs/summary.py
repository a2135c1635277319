"""Writes README's summary of the figures from the pages that have all of them.

summary.py            write it anew, between the marks in README.md
summary.py --check    exit status 1 where it is not what the pages say
"""

import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
README = DOCS.parent / "README.md"
BEGIN, END = "<!-- summary -->", "<!-- end of summary -->"

FIGURES = {
    "the same from Python : the C pair of libsodium": (
        "an arena made, written and closed, from Python : `sodium_malloc`, `sodium_free` in C"
    ),
    "locked bytes a live 32-byte secret in a pool": "locked bytes a 32-byte secret in a pool",
    "isolated arenas before failure, lock limit lifted": "arenas at once, the lock limit lifted",
    "sha256 of 64 KiB, arena : bytes": "`hashlib.sha256` of 64 KiB, arena : bytes",
    "wipe of a 1 GiB arena, one page of it touched, ms": (
        "wipe of an arena of 1 GiB, of which one page was touched"
    ),
}
"""Rows of docs/performance.md, with the words that README has for each; of two, the first."""

HOLDERS = ["bytes", "bytearray, wiped by hand", "libsodium", "OpenSSL secure heap",
           "secalloc, anonymous", "secalloc, secretmem", "secalloc, pooled"]  # fmt: skip
"""Columns of docs/attacks.md."""


def rows(page: str, mark: str) -> list[list[str]]:
    """The cells of the table between two marks of a page, its head first."""
    text = (DOCS / page).read_text().split(f"<!-- {mark} -->")[1].split("<!-- end")[0]
    lines = re.findall(r"^\| (.*) \|$", text, re.M)
    return [line.split(" | ") for line in lines if not line.startswith("---")]


def figures() -> list[str]:
    found: dict[str, str] = {}
    for what, value, *_ in rows("performance.md", "figures"):
        found.setdefault(what, value)
    if missing := FIGURES.keys() - found.keys():
        raise SystemExit(f"summary: docs/performance.md has no row: {sorted(missing)}")
    return [f"| {words} | {found[what]} |" for what, words in FIGURES.items()]


def attacks() -> list[str]:
    head, *tried = rows("attacks.md", "attacks")
    told = []
    for holder in HOLDERS:
        column = head.index(holder)
        lost = sum(row[column].startswith("**yes**") for row in tried)
        told.append(f"{holder} {lost}")
    return [f"| attacks of {len(tried)} that get the key, by what holds it | {'; '.join(told)} |"]


def summary() -> str:
    lines = ["| what | figure |", "| --- | --- |", *figures(), *attacks()]
    return "\n".join(lines)


def renewed(text: str) -> str:
    """README's text with the summary as it should be."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"summary: README.md lacks {BEGIN} or {END}")
    return f"{before}{BEGIN}\n{summary()}\n{END}{after}"


def main() -> int:
    text = README.read_text()
    if "--check" in sys.argv:
        stale = renewed(text) != text
        print("README.md: the summary is stale" if stale else "ok: the summary is current")
        return int(stale)
    README.write_text(renewed(text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
