"""Colour for people who look at a terminal, and how wide that is."""

import os
from typing import TextIO

NARROWEST = 24
COLOURS = {"green": 32, "yellow": 33, "red": 31, "cyan": 36, "dim": 2, "bold": 1}


def has_colour(file: TextIO) -> bool:
    """Whether to write colour to a file: one that is a terminal which shows it.

    A person decides otherwise by NO_COLOR (no-color.org), or else by FORCE_COLOR.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    if os.environ.get("TERM", "") in ("", "dumb"):
        return False
    try:
        return file.isatty()
    except (AttributeError, ValueError):  # something that only has write(), or is closed
        return False


def paint(text: str, colour: str, *, on: bool) -> str:
    """The text in that colour, or as it is."""
    return f"\033[{COLOURS[colour]}m{text}\033[0m" if on else text


def width_of(file: TextIO) -> int:
    """Columns of the terminal that a file is; 80 where it is none."""
    try:
        fd = file.fileno()
        if os.isatty(fd):
            return os.get_terminal_size(fd).columns or 80
    except (AttributeError, OSError, ValueError):
        pass
    try:
        return max(int(os.environ.get("COLUMNS", "")), 0) or 80
    except ValueError:
        return 80


def width_to_fill(file: TextIO) -> int:
    """Columns to be filled in a file, of which there are never too few for a word."""
    return max(width_of(file), NARROWEST)
