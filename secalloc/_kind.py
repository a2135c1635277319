"""What an arena must have, and what it is called: what every call that makes one is told."""

from typing import NamedTuple

from secalloc._core import Arena, ArenaView, encode
from secalloc._values import Protection


class Kind(NamedTuple):
    """The arguments require and name."""

    require: Protection | None = None
    name: str | None = None

    def arena(self, source: int | Arena | ArenaView) -> Arena:
        """As Arena(source)."""
        return Arena(source, require=self.require, name=self.name)

    def encode(self, text: str) -> Arena:
        """As encode(text)."""
        return encode(text, require=self.require, name=self.name)
