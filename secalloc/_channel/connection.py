"""A process's own connection, as the parent has it."""

from _socket import socket
from collections.abc import Callable
from functools import partial

from secalloc._channel.offer import Asker, Entry, Offer
from secalloc._core import Arena

__all__ = ["Connection", "Decide"]

Decide = Callable[["Connection", bytes, int], tuple[Arena, bytes, int] | None]
"""What is to be given to a connection's question, and before it the words and the descriptor; None:
it was answered."""


class Connection:
    """A process's own pair of sockets: the parent's of them."""

    __slots__ = (
        "after",
        "answered",
        "asker",
        "decide",
        "end",
        "giving",
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
        self.opened: int | None = None  # what is open while it is given
        self.sent: int | None = None  # a descriptor that goes with the answer
        self.watching = False
        self.after: Callable[[], None] | None = None  # to be called when it is closed
