"""docs/works-with.md, made from the record."""

from collections.abc import Callable
from typing import Any

from works_child import Row

Cells = dict[str, str]
Groups = dict[str, tuple[str, list[Row]]]
"""A heading, what its rows find imported, and the rows."""

HEAD = """# What works with an arena

Tried out by `make works-with`, which writes this page; tests fail where a row changes. `x` is an
arena of 32 bytes, `w` one that is filled. Each call ran in a process of its own, whose parent then
looked through all its writable memory but the arena, for either half of the secret as it is, in
hexadecimal, base64, UTF-16, as an int's digits and as a HMAC pad. (Key schedules and hash states
are not looked for.)

- **takes**: what it takes, best first: the arena itself (or a view of it), only a
  `memoryview(x)`, or only a bytearray, bytes or str, and so a copy. *Mistakes* names what it
  takes without an error and silently turns into something else, mostly the repr.
- **copies**: what was found while the result was alive, and after it was dropped. Where a copy is
  unavoidable before the call there is none to look for: `-`.
- **errors**: what it raises where it refuses an arena; else, what it raises for one that is wiped,
  sealed. *ours* is `WipedError`, `SealedError`; some replace these by their own, and never get
  the bytes.
- **sheltered**: what a [sheltered call](shelter.md) leaves on ordinary memory, of those that leave
  copies else: what they insist on was made of the arena inside. After a stroke, what is left under
  `python -m secalloc run`. Tried with {sheltered}.
- **wiped later**: what a key object made from an arena does once the arena is wiped.

What is left after a call can depend on the allocator, and on what reuses the memory: *none* means
that several looks found nothing, *by chance* that they disagreed. This was {machine}.

Some of it is Python's to say, and no row's: where `b` is a bytearray, `b += x` makes a new arena of
both and binds the name to that, and the bytearray stays as it was. `b[i:j] = x` is a TypeError that
speaks of iterables, as an arena has `__int__` (which refuses: without it `int(x)` would print the
content in its error). An error that is the name of a signal is a fault: CPython read past the end
of what it was given, where an arena has a guard page.
"""


def takes(cells: Cells) -> str:
    text = cells["takes"]
    if text == "gives arena":
        return "gives an arena"
    if text not in ("arena", "memoryview", "nothing", "gives bytes", "only bytearray"):
        text = f"only {text}"
    return text + (f"; *mistakes* {cells['wrongly']}" if "wrongly" in cells else "")


def found(cells: Cells) -> str:
    used, after = cells.get("in use", "-"), cells.get("after", "-")
    if "chance" in cells:
        return f"{after}, by chance"
    if used == "-":
        return "-" if after in ("none", "-") else f"{after}, though it refuses"
    return used if used == after else f"{used}; after: {after}"


def errors(cells: Cells) -> str:
    if "refuses" in cells:
        return cells["refuses"]
    own = {"wiped": "WipedError", "sealed": "SealedError"}
    raised = {scene: cells[scene] for scene in own if scene in cells}
    if raised.get("sealed") == "TAKES IT":
        return "ours; opens a sealed one" if raised["wiped"] == own["wiped"] else "TAKES IT"
    if all(raised[scene] == own[scene] for scene in raised):
        return "ours" if raised else ""
    return ", ".join(dict.fromkeys(raised.values()))


SHELTERED = "3.11"
"""The version with which rows of the standard library are tried sheltered."""

COLUMNS: tuple[Callable[[Cells], str], ...] = (
    takes,
    found,
    errors,
    lambda cells: cells.get("later", ""),
)


def left(cells: Cells) -> str:
    """Of a sheltered call."""
    return cells["error"] if "error" in cells else found(cells)


def sheltered(record: dict[str, Any], part: str, heading: str, call: str) -> str:
    """What a sheltered call leaves, and what it leaves under run; "" where it is not tried."""
    rows = [record.get(f"{how} {part}", {}).get(heading, {}) for how in ("sheltered", "run")]
    return " / ".join(left(row[call]) for row in rows if call in row)


def merged(by_version: dict[str, Cells], column: Callable[[Cells], str]) -> str:
    """One text where all versions agree, else one for each."""
    texts: dict[str, list[str]] = {}
    for one, cells in by_version.items():
        texts.setdefault(column(cells), []).append(one)
    if len(texts) == 1:
        return next(iter(texts))
    return "; ".join(f"**{', '.join(v)}**: {text or 'nothing'}" for text, v in texts.items())


def document(record: dict[str, Any], stdlib: Groups, packages: Groups) -> str:
    """The page, from the record."""
    versions = sorted((k for k in record if k[0].isdigit()), key=lambda v: int(v.split(".")[1]))
    with_one = record["versions"].get(SHELTERED, SHELTERED)
    out = [HEAD.format(machine=record["machine"], sheltered=with_one)]
    for title, groups, sections in (
        ("The standard library", stdlib, versions),
        ("Packages", packages, ["packages"]),
    ):
        out.append(f"## {title}\n")
        where = ", ".join(record["versions"].get(s, s) for s in sections)
        out.append(f"With {where}.\n")
        for heading, (_, rows) in groups.items():
            out.append(f"### {heading}\n")
            out.append("| call | takes | copies | sheltered | errors | wiped later | best road |")
            out.append("| --- | --- | --- | --- | --- | --- | --- |")
            for row in rows:
                by_version = {s: record[s][heading][row.call] for s in sections}
                texts = [merged(by_version, column) for column in COLUMNS]
                part = "packages" if sections == ["packages"] else SHELTERED
                texts.insert(2, sheltered(record, part, heading, row.call))
                call = row.shown or row.call
                out.append(f"| `{call}` | {' | '.join(texts)} | {row.road} |")
            out.append("")
    return "\n".join(out)
