"""A picture of the arenas that live in this process: ``python -m secalloc map``.

A program draws its own with `secalloc.map.draw()`, wherever it likes. The command draws an
example, or runs a script and draws what still lives when that ends. No content is read:
only addresses, sizes, states and protections.
"""

import sys
import textwrap
from collections.abc import Callable
from typing import NamedTuple, TextIO

import secalloc
from secalloc import Protection, _core
from secalloc._commands.paint import NARROWEST, has_colour, paint, width_to_fill
from secalloc._commands.script import run

__all__ = ["Pages", "census", "draw"]

_WIDEST_BAR = 72
_MOST_NAMES = 8
_ALL = list(Protection)
if sys.platform == "darwin":  # which has not the others
    _ALL = [Protection.GUARD, Protection.LOCK, Protection.NOFORK]


class Pages(NamedTuple):
    """A run of pages between two guards: an arena's, a pool's, or kept for the next arena."""

    pages: int
    """Address of the first."""
    data: int
    """Their bytes."""
    address: int
    """Of the arena's first byte; 0 of a pool's pages, and of such as are kept."""
    size: int
    """Bytes of the arena, or of all arenas in a pool's pages together."""
    arenas: int
    """How many live there; 0: kept for the next arena, holding noise or nothing."""
    exports: int
    """Buffers lent out, memoryviews for instance; not counted in a pool."""
    protection: Protection
    """What the kernel granted."""
    pooled: bool
    """They are a pool's."""
    wiped: bool
    """There is nothing to read; not known of a pool."""
    sealed: bool
    """Sealed, open just now or not; a pool's: and not open."""
    may_read: bool
    """The pages can be read."""
    may_write: bool
    """They can be written to."""
    name: str | None = None
    """The arena's; None of a pool's pages."""
    names: tuple[str, ...] = ()
    """Of a pool's pages: those of the arenas there that have one, by address."""

    @property
    def state(self) -> str:
        """ "usable", "read-only", "sealed", "wiped" or "kept"."""
        if not self.arenas and not self.pooled:
            return "kept"
        if self.wiped:
            return "wiped"
        if not self.may_read:
            return "sealed"
        return "usable" if self.may_write else "read-only"


def census() -> list[Pages]:
    """All pages that live in this process's vault, by address.

    Not of one instant: what other threads make or close meanwhile may be left out.
    """
    found = []
    in_pools: dict[int, list[str]] = {}
    for first, called in _core._census_names():
        in_pools.setdefault(first, []).append(called)
    for *numbers, protection, pooled, wiped, sealed, may_read, may_write, name in _core._census():
        pages, data, address, size, arenas, exports = numbers
        found.append(
            Pages(  # mypy knows no more of a star among others
                *(pages, data, address, size, arenas, exports),
                protection=Protection(protection),
                pooled=pooled,
                wiped=wiped,
                sealed=sealed,
                may_read=may_read,
                may_write=may_write,
                name=name,
                names=tuple(in_pools.get(pages, ())) if pooled else (),
            )
        )
    return sorted(found, key=lambda entry: entry.pages)


_COLOURS = {"usable": "green", "read-only": "cyan", "sealed": "cyan", "wiped": "yellow"}
_DRAWN = {"usable": "█", "read-only": "▓", "sealed": "▒", "wiped": "~", "slack": "·", "guard": "▚"}
_PLAIN = {"usable": "#", "read-only": "=", "sealed": "s", "wiped": "~", "slack": ".", "guard": "X"}


def _signs(file: TextIO) -> dict[str, str]:
    """What to draw with: signs that the file's encoding has."""
    try:
        "".join(_DRAWN.values()).encode(getattr(file, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return _PLAIN
    return _DRAWN


def _number(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _bytes(n: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if n >= size:
            return f"{n / size:.4g} {unit}"
    return _number(n, "byte")


def _columns(part: int, whole: int, width: int) -> int:
    """How many of `width` columns a part takes: at least one, if it is anything."""
    return max(1, round(part * width / whole)) if part else 0


def _bar(entry: Pages, signs: dict[str, str], width: int, *, colour: bool) -> str:
    """Guard, slack, the bytes, slack, guard; to scale, but that nothing vanishes."""
    inner = width - 4
    tail = 0 if entry.pooled else entry.pages + entry.data - entry.address - entry.size
    behind = _columns(tail, entry.data, inner)
    filled = min(_columns(entry.size, entry.data, inner), inner - behind)
    before = inner - behind - filled
    if before == 0 and entry.size + tail < entry.data and filled > 1:
        before, filled = 1, filled - 1
    guard = paint(2 * signs["guard"], "red", on=colour)
    content = paint(filled * signs[entry.state], _COLOURS[entry.state], on=colour)
    parts = [paint(n * signs["slack"], "dim", on=colour and n > 0) for n in (before, behind)]
    if entry.pooled:
        return guard + content + parts[0] + guard
    return guard + parts[0] + content + parts[1] + guard


def _words(entry: Pages) -> str:
    """What there is to say of an entry in one line."""
    where = f"0x{entry.address or entry.pages:x}  {entry.state}"
    if entry.pooled:
        many = _number(entry.arenas, "arena")
        return f"{where}  a pool's: {many}, {_bytes(entry.size)} in {_bytes(entry.data)}"
    called = "" if entry.name is None else f"{entry.name!r}, "
    words = f"{where}  {called}{_bytes(entry.size)} in {_bytes(entry.data)}"
    if entry.sealed and entry.state != "sealed":
        words += ", a sealed one, open"
    if entry.exports:
        words += f", {_number(entry.exports, 'buffer')} lent"
    return words


def _line(entry: Pages, room: int) -> str:
    """What there is to say, as far as it fits in so many columns; what matters, if none does."""
    if entry.pooled:
        less = f"{entry.state}  {_number(entry.arenas, 'arena')} of a pool"
    else:
        less = f"{entry.state}  {_bytes(entry.size)} in {_bytes(entry.data)}"
        if entry.name is not None:
            less = f"{entry.state}  {entry.name!r}, {_bytes(entry.size)}"
    whole = _words(entry)
    told = (whole, whole.partition("  ")[2], f"0x{entry.address or entry.pages:x}  {less}")
    return next((words for words in told if len(words) <= room), less)


def _names(entry: Pages, *, verbose: bool) -> str:
    """Names of arenas in a pool's pages, all of them or the first."""
    shown = entry.names if verbose else entry.names[:_MOST_NAMES]
    told = ", ".join(map(repr, shown))
    more = len(entry.names) - len(shown)
    return f"{told} and {more} more" if more else told


def _say(text: str, width: int, file: TextIO) -> None:
    """Print it wrapped."""
    indent = "  " if text.startswith(" ") else ""
    wrapped = textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False)
    print("\n".join(wrapped), file=file)


def _draw_line(entry: Pages, width: int, file: TextIO) -> None:
    """A bar and what there is to say beside it."""
    size = min(max(width // 5, 8), _WIDEST_BAR)
    words = textwrap.wrap(_line(entry, width - size - 2), width - size - 2)
    words += textwrap.wrap(_names(entry, verbose=False), width - size - 2)
    bars = [_bar(entry, _signs(file), size, colour=has_colour(file))]
    bars += [" " * size] * (len(words) - 1)
    for bar, text in zip(bars, words, strict=True):
        print(f"{bar}  {text}", file=file)


def _draw_whole(entry: Pages, width: int, file: TextIO, *, verbose: bool) -> None:
    """What there is to say, the protections, and a bar below."""
    print(file=file)
    _say(_words(entry), width, file)
    if entry.names:
        _say(f"  {_names(entry, verbose=verbose)}", width, file)
    _say("  " + " ".join(str(p.name) for p in Protection if p in entry.protection), width, file)
    lacking = [str(p.name) for p in Protection if p not in entry.protection]
    if lacking:
        _say(f"  without {' '.join(lacking)}", width, file)
    size = min(width - 2, _WIDEST_BAR)
    print(f"  {_bar(entry, _signs(file), size, colour=has_colour(file))}", file=file)


def draw(
    file: TextIO | None = None,
    *,
    width: int | None = None,
    most: int = 40,
    verbose: bool = False,
) -> None:
    """Draw the arenas that live in this process.

    To `file`, standard output by default, `width` columns wide: as wide as the terminal, or
    80 where it is none. An arena that has every protection of the platform is a line; those
    that lack some follow in full, and so does every one where `verbose` is true. Arenas and
    pools beyond the first `most` are only counted, and so are a pool's names beyond the first
    eight, but where `verbose` is true. There is colour on a terminal alone, never where NO_COLOR
    is set, and always where FORCE_COLOR is. ValueError: a negative number.
    """
    file = sys.stdout if file is None else file
    if most < 0 or (width is not None and width < 0):
        raise ValueError("width and most are not negative")
    width = width_to_fill(file) if width is None else max(width, NARROWEST)
    entries, status = census(), secalloc.status()
    live = [entry for entry in entries if entry.state != "kept"]
    shown = live[:most]
    lines: list[Pages] = []
    whole: list[Pages] = []
    for entry in shown:
        well = not verbose and all(flag in entry.protection for flag in _ALL)
        (lines if well else whole).append(entry)
    limit = "no limit" if status.lock_limit is None else f"of {_bytes(status.lock_limit)}"
    _say(
        f"{_number(sum(e.arenas for e in live), 'arena')}, {_bytes(sum(e.size for e in live))}; "
        f"{_bytes(status.locked_bytes)} locked, {limit}",
        *(width, file),
    )
    if lines:
        _say(f"each with {' '.join(str(p.name) for p in _ALL)}:", width, file)
        print(file=file)
    for entry in lines:
        _draw_line(entry, width, file)
    for entry in whole:
        _draw_whole(entry, width, file, verbose=verbose)
    _legend(entries, shown, len(live) - len(shown), width, file)


def _legend(entries: list[Pages], shown: list[Pages], more: int, width: int, file: TextIO) -> None:
    """What is not drawn, and what the signs mean."""
    print(file=file)
    if more:
        _say(f"and {more} more", width, file)
    kept = sum(entry.data for entry in entries if entry.state == "kept")
    if kept:
        _say(f"kept for the next: {_bytes(kept)}, wiped", width, file)
    if shown:
        signs = _signs(file)
        names = ["guard", "slack", *dict.fromkeys(entry.state for entry in shown)]
        _say("   ".join(f"{signs[name]} {name}" for name in names), width, file)


def _printer() -> Callable[..., None]:
    """What tells programs: a program that draws has no use for it."""
    from secalloc._commands.answer import print_json  # noqa: PLC0415

    return print_json


def _example(print_json: Callable[..., None] | None, *, verbose: bool) -> None:
    """Arenas in each state, drawn, or told by that function."""
    password, key, old, session = (secalloc.Arena(n) for n in (12, 32, 1500, 2000))
    spilled = secalloc.random(3000)
    aligned = secalloc.Arena(1000, align=64)
    key.seal()
    old.clear()
    with (
        secalloc.Pool() as pool,
        password,
        spilled,
        aligned,
        session.open("r"),
        memoryview(password),
    ):
        tokens = [pool.random(32) for _ in range(40)]
        if print_json:
            print_json(_told())
            return
        about = (
            "An example: a password that is lent out, a sealed key, an old one that is wiped, "
            f"one open for reading alone, one aligned to 64 bytes, and a pool of {len(tokens)} "
            "tokens."
        )
        print(textwrap.fill(about, width_to_fill(sys.stdout)) + "\n")
        draw(verbose=verbose)


def _told() -> dict[str, object]:
    """What is drawn, for programs."""
    status = secalloc.status()
    return {
        "arenas": status.arenas,
        "bytes": status.bytes,
        "locked_bytes": status.locked_bytes,
        "lock_limit": status.lock_limit,
        "pages": [
            {
                **entry._asdict(),
                "protection": [str(p.name) for p in Protection if p in entry.protection],
                "state": entry.state,
            }
            for entry in census()
        ],
    }


def main(
    script: str | None = None,
    arguments: list[str] | None = None,
    *,
    by_script: bool = False,
    verbose: bool = False,
    as_json: bool = False,
) -> int:
    """Draw the example, or a script's arenas at its end, on standard error.

    `by_script`: the installed `secalloc` called it, rather than ``-m secalloc``. `as_json`:
    what would be drawn, for programs; at a script's end that is one line.
    """
    # Before a script may have changed the root directory.
    print_json = _printer() if as_json else None
    if script is None:
        _example(print_json, verbose=verbose)
        return 0

    def at_end() -> int:
        if print_json:
            print_json(_told(), sys.stderr)
        else:
            draw(sys.stderr, verbose=verbose)
        return 0

    return run(script, arguments or [], at_end, command="map", by_script=by_script)
