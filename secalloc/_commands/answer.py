"""What all commands share of their words: JSON for programs, and help as wide as the terminal."""

import argparse
import json
import sys
import textwrap
from collections.abc import Mapping
from typing import Any, TextIO

from secalloc import __version__
from secalloc._commands.paint import width_to_fill


def print_json(answer: Mapping[str, object], file: TextIO | None = None) -> None:
    """Print an answer for programs, the version first.

    On standard output as many lines as it takes. In another file, where the words of others
    stand too, it is one line.
    """
    indent = 2 if file is None else None
    print(json.dumps({"version": __version__, **answer}, indent=indent), file=file)


class Help(argparse.HelpFormatter):
    """Help as wide as the terminal, its paragraphs kept apart."""

    def __init__(self, prog: str, **others: Any) -> None:
        super().__init__(prog, **{**others, "width": width_to_fill(sys.stdout)})

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(
            textwrap.fill(
                " ".join(paragraph.split()),
                width,
                initial_indent=indent,
                subsequent_indent=indent,
                break_on_hyphens=False,
            )
            for paragraph in text.split("\n\n")
        )
