"""Sealed arenas that are open while they are handed over."""

import os
from contextlib import suppress
from typing import Any

from secalloc._channel import wire
from secalloc._core import Arena

__all__ = ["opened"]


class _Opened:
    """Sealed arenas and pools that are open while they are handed over: for the first of those
    that come together, until the last. Else one would seal what another is copying."""

    def __init__(self) -> None:
        self.lock = wire.allocate_lock()
        self.blocks: dict[int, list[Any]] = {}  # how many, and the block
        os.register_at_fork(after_in_child=self.forked)

    def forked(self) -> None:
        """In a child, where nothing is handed over."""
        self.lock = wire.allocate_lock()
        self.blocks.clear()

    def begin(self, arena: Arena) -> int | None:
        """None: it is open as it is, or it cannot be opened, and the child is told so."""
        whole = arena.pool or arena
        with self.lock:
            known = self.blocks.get(id(whole))
            if known:
                known[0] += 1
                return id(whole)
            if not arena.sealed:
                return None
            block = whole.open("r")
            try:
                block.__enter__()
            except (ValueError, BufferError):
                return None
            self.blocks[id(whole)] = [1, block]
            return id(whole)

    def end(self, key: int | None) -> None:
        """A wipe meanwhile, or a buffer that keeps it open, is none of the child's."""
        if key is None:
            return
        with self.lock:
            known = self.blocks[key]
            known[0] -= 1
            if not known[0]:
                del self.blocks[key]
                with suppress(ValueError, BufferError):
                    known[1].__exit__(None, None, None)


opened = _Opened()
