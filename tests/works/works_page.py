"""docs/works-with.md, made from the record."""

from collections.abc import Callable
from typing import Any

from works_child import Row

Cells = dict[str, str]
Groups = dict[str, tuple[str, list[Row]]]
"""A heading, what its rows find imported, and the rows."""

HEAD = """# What works with an arena

`make works-with` tries these calls and writes this page. A test fails if a row changes. `x` is an
arena of 32 bytes, and `w` is one that gets filled. Each call ran in a process of its own. Its
parent then searched all of that process's writable memory, except the arena, for either half of the
secret: as it is, in hexadecimal, base64 and UTF-16, as an int's digits and as a HMAC pad. (It did
not search for key schedules and hash states.)

- **takes**: what the call accepts, best first: the arena itself (or a view of it), only a
  `memoryview(x)`, or only a bytearray, bytes or str, which is a copy. *Mistakes* names what it
  accepts without an error but turns into something else, mostly the repr.
- **copies**: what was found while the result was alive, and after it was dropped. `-` means that
  the call needs a copy beforehand, so there was nothing to search for.
- **errors**: what the call raises if it refuses an arena, or else what it raises for a wiped and
  for a sealed one. *ours* stands for `WipedError` and `SealedError`. Some calls replace these by
  errors of their own, and never get the bytes.
- **sheltered**: what a [sheltered call](shelter.md) leaves on ordinary memory. It is told of calls
  that leave copies otherwise; the object that they insist on was made inside. Behind the slash is
  what is left under `python -m secalloc run`. Tried with {sheltered}.
- **wiped later**: what a key object that was made from an arena does after the arena is wiped.

What is left after a call can depend on the allocator, and on what reuses the memory. *none* means
that several searches found nothing, and *by chance* that they disagreed. This was {machine}.

Some facts are Python's, and belong to no row. If `b` is a bytearray, `b += x` makes a new arena of
both and binds the name to it; the bytearray stays as it was. `b[i:j] = x` raises a TypeError that
speaks of iterables, because an arena has `__int__`. (That refuses; without it, `int(x)` would print
the content in its error.) An error that is the name of a signal is a fault: CPython read past the
end of its input, where an arena has a guard page.
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
