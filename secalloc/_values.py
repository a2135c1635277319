"""What queries answer with: the extension imports this at the first answer."""

from enum import IntFlag
from signal import Signals
from typing import Literal, NamedTuple


class Protection(IntFlag):
    """What the kernel granted an arena. The bits are those of csrc/core/secalloc.h."""

    GUARD = 1
    """Inaccessible pages on both sides."""
    LOCK = 2
    """Never written to swap."""
    SECRETMEM = 4
    """Unmapped from the kernel's own address space (Linux memfd_secret)."""
    NODUMP = 8
    """Left out of core files."""
    NOFORK = 16
    """Not inherited by a child process."""


class Status(NamedTuple):
    """What holds in this process at one moment: the answer of status()."""

    arenas: int
    """Live arenas."""
    bytes: int
    """Their sizes together."""
    locked_bytes: int
    """All that counts against the lock limit, pages kept for reuse too."""
    lock_limit: int | None
    """Bytes that may be locked; None: no limit."""
    backend: Literal["none", "secretmem", "anonymous"]
    """Where new arenas come from; "none" before the first."""
    handlers: dict[Signals, Literal["armed", "shadowed", "off"]]
    """Each fatal signal: ours outermost, ours below another's, or not ours."""
    lockdown_fd: int | None
    """Where the marker goes; None: nowhere."""
    rekeys: int
    """How often the noise was made anew."""
    lockdowns: int
    """How often lockdown() ran."""
    alt_stack: Literal["none", "ours", "foreign", "small"]
    """The calling thread's signal stack; "small": another's, too small for the handler."""


Protection.__module__ = Status.__module__ = "secalloc"
