"""What this process asks its parent by: a connection that is kept while there is more to come, and
the key for what comes over it."""

import os
from _socket import socket

from secalloc._channel import wire
from secalloc._channel.room import has_room
from secalloc._core import Arena, status

__all__ = ["Asking", "asking"]

SMALL = 4096
"""Bytes of a secret that comes under a key: more is quicker by pages."""
SEVERAL = 2
"""So many still to come are worth a key, which costs about as much as a secret without one."""


class Asking:
    """A lock, the connection and its key, and a number that nobody else knows."""

    def __init__(self) -> None:
        self.lock = wire.allocate_lock()
        self.kept: socket | None = None
        self.left = 0  # what the parent has for this process, by its last answer
        self.key: Arena | None = None
        self.keyless = False  # none is to be had
        self.open: set[socket] = set()
        self.token = b""
        self.warned = False

    def forked(self) -> None:
        """In a child: the connections are its parent's, and the lock's holder may not exist."""
        ends = list(self.open)
        self.__init__()  # type: ignore[misc]
        for end in ends:
            end.close()

    def close(self, end: socket) -> None:
        """Give a connection up; harmless when repeated."""
        self.open.discard(end)
        if self.kept is end:
            self.kept = None
            self.drop_key()
        end.close()

    def keep(self, end: socket, left: int, *, more: bool) -> None:
        """A connection over which there is more to be had; another is closed."""
        if more:
            self.kept, self.left = end, left
        else:
            self.close(end)

    def drop_key(self) -> None:
        """It is of no use any more."""
        if self.key:
            self.key.close()
        self.key = None

    def wants_key(self, size: int) -> bool:
        """Whether to ask for one, before so many bytes are asked for."""
        if self.key and self.key.wiped:
            self.drop_key()
        if size > SMALL or self.kept is None or self.key or self.keyless or self.left < SEVERAL:
            return False
        return status().backend == "secretmem" and has_room()  # else the kernel would see it


asking = Asking()
os.register_at_fork(after_in_child=asking.forked)
