"""What queries answer with: the extension keeps these from the first answer, or arena, on."""

from enum import IntFlag
from signal import Signals
from typing import Literal, NamedTuple

_NUMBERS = "bcdoxXneEfFgG%"


class Protection(IntFlag):
    """What the kernel granted an arena, or is to grant: flags, to be combined with `|`.

    The bits are those of csrc/core/secalloc.h.
    """

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

    def __str__(self) -> str:
        """Names, as "GUARD|LOCK"; "none"."""
        return self.name or (repr(int(self)) if self else "none")

    def __format__(self, spec: str) -> str:
        """The names; by a format of numbers the bits."""
        if spec and spec[-1] in _NUMBERS:
            return int.__format__(self, spec)
        return str(self).__format__(spec)


class Sheltered(NamedTuple):
    """What sheltered calls have taken, and nobody has freed yet."""

    blocks: int
    """Blocks of memory: an object is one or more."""
    size: int
    """Their bytes together, as they were cut."""


class Status(NamedTuple):
    """What holds in this process at one moment: the answer of status()."""

    arenas: int
    """Live arenas."""
    bytes: int
    """Their sizes together."""
    locked_bytes: int
    """All that this process has locked, secretmem and pages kept for reuse too."""
    lock_limit: int | None
    """Bytes that this process may lock; None: no limit."""
    backend: Literal["none", "secretmem", "anonymous"]
    """Where new arenas come from; "none" before the first."""
    handlers: dict[Signals | int, Literal["armed", "shadowed", "off"]]
    """Each fatal signal, and others that arm() was told of; a real-time one without a name is
    an int. "armed": our handler runs first; "shadowed": another's runs before it; "off": ours
    is not there."""
    lockdown_fd: int | None
    """Where the marker goes; None: nowhere."""
    rekeys: int
    """How often the noise was made anew."""
    lockdowns: int
    """How often lockdown() ran."""
    alt_stack: Literal["none", "ours", "foreign", "small"]
    """The calling thread's signal stack; "small": another's, too small for the handler."""
    secretmem_bytes: int
    """How many of the locked bytes are secretmem of this process."""
    secretmem_limit: int | None
    """How many bytes of secretmem there may be; secretmem_shared says for whom. None: no
    limit."""
    secretmem_shared: bool
    """Whether all processes of this user share that limit (Linux since the fix of
    CVE-2026-93243), or it is part of this process's lock_limit. It is True, and not known,
    until an arena lies in secretmem."""
    sheltered: Sheltered
    """Memory of sheltered calls that lives."""


class Hardening(NamedTuple):
    """What harden() achieved; true where nothing was refused."""

    no_core_files: bool
    """The limit on core files is 0, soft and hard, for this process and its children."""
    not_dumpable: bool
    """The kernel writes no core of it, not even to a program. Always False on macOS."""
    no_debugger: bool
    """No process without privilege can attach to it or read its memory, and none has."""
    refused: tuple[str, ...]
    """What failed: the call, why, and what mends it."""

    def __bool__(self) -> bool:
        return not self.refused


for _each in (Hardening, Protection, Sheltered, Status):
    _each.__module__ = "secalloc"

ANSWERS = Protection, Status, Hardening, Signals, Sheltered
"""In the order in which the extension takes them."""
