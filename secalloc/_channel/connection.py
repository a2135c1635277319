"""A process's own connection, as the parent has it."""

from _socket import socket
from collections.abc import Callable
from functools import partial

from secalloc._channel import wire
from secalloc._channel.offer import Asker, Entry, Offer, Refused, answer
from secalloc._core import Arena

__all__ = ["Connection", "Decide", "Given"]

Given = tuple[Arena, bytes, int, Arena | None]
"""What is to be given, before it the words and a descriptor or -1, and the key for its way."""
Decide = Callable[["Connection", bytes, int], Given | None]
"""What is to be given to a connection's question; None: it was answered."""


class Connection:
    """A process's own pair of sockets: the parent's of them."""

    __slots__ = (
        "after",
        "answered",
        "asker",
        "decide",
        "end",
        "giving",
        "key",
        "more",
        "offer",
        "opened",
        "sent",
        "watching",
    )

    def __init__(self, end: socket, offer: Offer, decide: "Decide") -> None:
        self.end = end
        self.offer = offer
        self.decide = partial(decide, self)
        self.asker: Asker | None = None
        self.answered = False
        self.more = False  # whether another question is to come
        self.giving: tuple[Asker, bytes, Entry] | None = None
        self.key: Arena | None = None  # of which the process has a copy
        self.opened: int | None = None  # what is open while it is given
        self.sent: int | None = None  # a descriptor that goes with the answer
        self.watching = False
        self.after: Callable[[], None] | None = None  # to be called when it is closed

    def say(self, data: bytes, fd: int | None = None, patience: float = wire.PATIENCE) -> None:
        """Send it. OSError: the process does not take it in time, or is gone."""
        self.end.settimeout(patience)
        wire.send(self.end, data, fd)

    def refuse(self, refused: Refused, patience: float = wire.PATIENCE) -> None:
        """Say why."""
        words = answer(refused.verdict, refused.size, 0, wire.text_bytes(str(refused)))
        self.say(words + wire.NOTHING_FOLLOWS, patience=patience)

    def hand(self, arena: Arena, words: bytes, key: Arena | None) -> Given:
        """What is to be given, with what is to be sent."""
        return arena, words, -1 if self.sent is None else self.sent, key
