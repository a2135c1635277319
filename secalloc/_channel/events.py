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


class LockdownEvent(NamedTuple):
    """Something became of a child's secrets."""

    kind: LockdownKind
    """What became of them; compares equal to its name, as "FATAL"."""
    child: LockdownChild
    """Whose they were: equal to what child() returned."""


def event(kind: LockdownKind, record: Record) -> LockdownEvent:
    """What is told of the child that a record is of."""
    return LockdownEvent(kind, LockdownChild(record, None))
