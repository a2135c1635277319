"""What a channel tells of a child."""

from enum import StrEnum
from typing import NamedTuple

from secalloc._channel.child import LockdownChild, Record


class LockdownKind(StrEnum):
    """What became of a child's secrets."""

    FATAL = "FATAL"
    """A fatal signal wiped them, and the child dies. Markers that follow each other, of
    threads that fault together, are one event, and so is the end after them."""
    LOCKDOWN = "LOCKDOWN"
    """The child called lockdown(), and lives on; each call is an event, in order."""
    CLOSED = "CLOSED"
    """The child is gone without a word (a clean exit, SIGKILL, the OOM killer), or closed
    its descriptor. After a lockdown too: that was no word of its end."""
    GARBAGE = "GARBAGE"
    """The child wrote something else. It is not listened to any more."""
    ADOPTED = "ADOPTED"
    """A process adopted a secret: one whose ends are for several did, or what child.give() gave."""


class LockdownEvent(NamedTuple):
    """Something became of a child's secrets."""

    kind: LockdownKind
    """What became of them; compares equal to its name, as "FATAL"."""
    child: LockdownChild
    """Whose they were: equal to what child() returned, or one of those that came with its
    ends, whose `origin` that is."""

    @property
    def secret(self) -> str | None:
        """Of ADOPTED, the name of what was; else None."""
        return None


class _Adopted(LockdownEvent):
    """The same pair, and the name beside it."""

    name: str

    @property
    def secret(self) -> str:
        """As the class it is of says."""
        return self.name

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, secret={self.name!r})"


_Adopted.__name__ = _Adopted.__qualname__ = "LockdownEvent"


def event(kind: LockdownKind, record: Record) -> LockdownEvent:
    """What is told of the child that a record is of."""
    return LockdownEvent(kind, LockdownChild(record, None))


def adopted(record: Record, name: str) -> LockdownEvent:
    """That a process has a secret by that name."""
    told = _Adopted(LockdownKind.ADOPTED, LockdownChild(record, None))
    told.name = name
    return told
