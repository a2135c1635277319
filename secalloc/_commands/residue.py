"""Copies of secrets that a program left: ``python -m secalloc residue``.

A script is run, and each arena that lives when it ends is searched for in the whole process.
"""

import gc
import sys
import textwrap
from collections.abc import Iterator
from types import FrameType
from typing import NamedTuple, TextIO

import secalloc
from secalloc import Arena
from secalloc._commands.answer import print_json
from secalloc._commands.paint import has_colour, paint, width_to_fill
from secalloc._commands.script import run
from secalloc.residue import MOST, Copy, find


class Looked(NamedTuple):
    """What a search for one arena gave."""

    name: str | None
    address: int
    size: int
    why_not: str | None
    """Why it was not searched for."""
    copies: list[Copy]

    def told(self) -> dict[str, object]:
        """For programs."""
        return {**self._asdict(), "copies": [copy._asdict() for copy in self.copies]}


def _objects() -> Iterator[object]:
    """What the interpreter can reach: containers, what they hold, and running functions' names."""
    for found in gc.get_objects():
        if found.__class__ is Arena:
            yield found
        yield from gc.get_referents(found)
    for running in sys._current_frames().values():
        frame: FrameType | None = running
        while frame is not None:
            yield from frame.f_locals.values()
            frame = frame.f_back


def living() -> list[Arena]:
    """The arenas that live, by address, as far as Python reaches them."""
    found = {id(each): each for each in _objects() if isinstance(each, Arena)}
    return sorted((a for a in found.values() if not a.closed), key=lambda a: a.address)


def look(arena: Arena) -> Looked:
    """Search for one of them."""
    facts = (arena.name, arena.address, arena.size)
    try:
        with arena.open("r") as view:
            return Looked(*facts, None, find(view))
    except secalloc.WipedError:
        return Looked(*facts, "it is wiped", [])
    except (ValueError, BufferError, OSError) as error:  # too short, too much the same
        return Looked(*facts, str(error), [])


def _paragraph(text: str, indent: int, file: TextIO) -> None:
    print(
        textwrap.fill(
            text,
            width_to_fill(file),
            initial_indent=" " * indent,
            subsequent_indent=" " * (indent + 2),
            break_on_hyphens=False,
        ),
        file=file,
    )


def show(looked: list[Looked], others: int, file: TextIO) -> None:
    """Tell what was found to a person."""
    many = f"{len(looked)} arena{'' if len(looked) == 1 else 's'}"
    _paragraph(f"copies of {many}, outside of every arena:", 0, file)
    for each in looked:
        who = f"{each.address:#x}" if each.name is None else repr(each.name)
        who += f", {each.size} byte{'' if each.size == 1 else 's'}: "
        if each.why_not is not None:
            _paragraph(f"{who}not searched for: {each.why_not}", 2, file)
            continue
        count = len(each.copies)
        copies = f"{count} cop{'y' if count == 1 else 'ies'}" if count else "none"
        copies += " or more" if count == MOST else ""
        on = has_colour(file)
        print(f"  {who}{paint(copies, 'red' if count else 'green', on=on)}", file=file)
        for copy in each.copies:
            _paragraph(str(copy), 4, file)
    if others:
        _paragraph(f"and {others} more that no Python object leads to: not searched for", 2, file)


def _report(arenas: list[Arena], file: TextIO | None, *, as_json: bool) -> int:
    """Search for them, and tell; how many copies there are. `file`: None for standard output."""
    looked = [look(arena) for arena in arenas]
    others = max(secalloc.status().arenas - len(arenas), 0) if file else 0
    count = sum(len(each.copies) for each in looked)
    if as_json:
        told = [each.told() for each in looked]
        print_json({"copies": count, "arenas": told, "others": others}, file)
    else:
        show(looked, others, file or sys.stdout)
    return count


def _example(*, as_json: bool) -> int:
    """A key of which somebody made text; 1: it was not found."""
    with Arena(secalloc.random(32), name="key") as key:
        text = bytes(key).hex()
        if not as_json:
            about = "An example: a key, and a str that bytes(key).hex() made of it."
            print(textwrap.fill(about, width_to_fill(sys.stdout)) + "\n")
        found = _report([key], None, as_json=as_json)
        del text
    return 0 if found else 1


def main(
    script: str | None = None,
    arguments: list[str] | None = None,
    *,
    by_script: bool = False,
    as_json: bool = False,
) -> int:
    """Search for copies of an example, or of a script's arenas at its end.

    1: a copy was found; of the example: none was. `by_script`: the installed `secalloc`
    called it, rather than ``-m secalloc``. `as_json`: for programs; at a script's end that
    is one line.
    """
    if script is None:
        return _example(as_json=as_json)

    def at_end() -> int:
        return 1 if _report(living(), sys.stderr, as_json=as_json) else 0

    return run(script, arguments or [], at_end, command="residue", by_script=by_script)
