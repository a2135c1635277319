"""What doctor found, as it is told to people."""

import sys
import textwrap
from typing import Literal, NamedTuple

from secalloc._commands.paint import has_colour, paint, width_to_fill

State = Literal["ok", "note", "missing"]


class Check(NamedTuple):
    """One thing that was looked at."""

    name: str
    state: State
    """"note": worth knowing, and no fault. "missing": the exit status is 1."""
    what: str
    why: str
    mend: str
    brief: str = ""
    """`what` in few words, for a line of a narrow terminal; "": up to its first semicolon."""

    def told(self) -> dict[str, str]:
        """For programs."""
        return {name: text for name, text in self._asdict().items() if name != "brief"}


_NARROW = 72
_STATE, _NAME = 8, 14
_COLOURS = {"ok": "green", "note": "yellow", "missing": "red"}


def _line(check: Check, width: int) -> str:
    """A check in a line: the whole of it where that fits, else what matters of it."""
    lead = f"{check.state:<{_STATE}}{check.name:<{_NAME}}"
    room = width - len(lead)
    told = [check.what, check.brief or check.what.partition("; ")[0]]
    if check.state == "note":
        told.insert(0, f"{check.what}; {check.mend}")
    return lead + next((text for text in told if len(text) <= room), told[-1])


def _wrapped(lead: str, text: str, indent: int, width: int) -> str:
    """As many lines as it takes, the lead hanging out to the left."""
    return textwrap.fill(
        text,
        width,
        initial_indent=lead.ljust(indent),
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
    )


def _detail(check: Check, width: int) -> str:
    """A check with its reason and what mends it."""
    lead, margin = f"{check.state:<{_STATE}}{check.name:<{_NAME}}", " " * _STATE
    if width < _NARROW:
        margin, indent = "  ", 7
        first = f"{lead.rstrip()}\n{_wrapped('', check.what, indent, width)}"
    else:
        indent = len(lead)
        first = _wrapped(lead, check.what, indent, width)
    why = _wrapped(f"{margin}why", check.why, indent, width)
    return "\n".join((first, why, _wrapped(f"{margin}mend", check.mend, indent, width)))


def show(head: str, checks: list[Check], *, verbose: bool) -> None:
    """Print them, as wide as the terminal is: what is missing whole, a line for the others;
    `verbose`: all whole."""
    colour = has_colour(sys.stdout)
    width = width_to_fill(sys.stdout)
    print(textwrap.fill(head, width, break_on_hyphens=False) + "\n")
    for check in checks:
        whole = verbose or check.state == "missing"
        text = _detail(check, width) if whole else _line(check, width)
        if len(text) > width and not whole:  # narrower than what matters
            text = _wrapped("", text, 2, width)
        rest = text.removeprefix(check.state)
        print(paint(check.state, _COLOURS[check.state], on=colour) + rest)
    missing = [check.name for check in checks if check.state == "missing"]
    end = f"missing: {', '.join(missing)}" if missing else "all is well"
    if not verbose:
        end += "; -v tells why of each"
    print("\n" + textwrap.fill(end, width))
