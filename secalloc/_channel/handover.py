"""Handing secrets to a child: what the parent offers, what the child adopts.

The child asks by name; the parent answers how large it is; the child says whether it
wants it; the extension moves the content from arena to arena. See docs/channels.md.
"""

import _socket
import math
import os
import struct
import sys
import time
from _socket import socket
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING

from secalloc._channel import takeover
from secalloc._core import (
    Arena,
    ForkedError,
    ProtectionError,
    SealedError,
    WipedError,
    _hand_over,
    _take_over,
)
from secalloc._original import original

if TYPE_CHECKING:
    from secalloc._channel.child import Record

__all__ = ["AdoptError", "adopt"]

ASK = struct.Struct("=4s256p")  # the same wherever both ends run the same protocol
ANSWER = struct.Struct("=4scQI")
HELLO = b"SAC1"
YES, NO = b"Y", b"N"
OFFERED, UNKNOWN, TAKEN, NOT_MEANT, UNUSABLE = b"O", b"U", b"T", b"M", b"W"
NAME_BYTES = 255
PATIENCE = 10.0
"""Seconds for a step of the other side that takes no waiting for a person or a program."""
LONGEST = 1e6
"""Seconds that a socket may be told to wait: as an int of milliseconds more are few again."""

_REFUSALS = {
    UNKNOWN: ("unknown", "the parent offers no secret of that name to this process"),
    TAKEN: ("taken", "it was adopted already: a secret is given once"),
    NOT_MEANT: ("not meant", "it is meant for another process"),
    UNUSABLE: ("wiped", "the parent's arena is closed or wiped"),
}


class AdoptError(ValueError):
    """A secret was not adopted; nothing of it was received, unless it says so.

    `reason` is "unknown" (the parent offers none of that name), "taken" (adopted before),
    "not meant" (for another process), "wiped" (the parent's arena cannot be read), "size"
    (another than was asked for), "gone" (the parent, the channel, or the time it was offered)
    or "none" (this process was given no secrets).
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


AdoptError.__module__ = "secalloc"


def name_bytes(name: str) -> bytes:
    """A secret's name as it travels. TypeError, ValueError: it cannot."""
    if not isinstance(name, str):
        raise TypeError(f"a secret's name is a str, not {type(name)!r}")
    encoded = name.encode()
    if len(encoded) > NAME_BYTES:
        raise ValueError(f"a secret's name is at most {NAME_BYTES} bytes of UTF-8")
    return encoded


_allocate_lock = original("_thread", "allocate_lock")
_rlock = original("_thread", "RLock")
_start_thread = original("_thread", "start_new_thread")


# ---- the child ---------------------------------------------------------------------------

_one_at_a_time = _allocate_lock()


def _in_child() -> None:
    global _one_at_a_time  # noqa: PLW0603
    _one_at_a_time = _allocate_lock()  # its holder may not exist here


os.register_at_fork(after_in_child=_in_child)


def adopt(name: str, *, size: int | None = None, timeout: float = PATIENCE) -> Arena:
    """The secret that the parent offered this process by that name, as a new Arena.

    The copy is this process's own. Each can be adopted once. With `size` in bytes any
    other size is refused, and can be adopted still. AdoptError: see its reason; also where
    this process was given no secrets. ForkedError: they were given to the process that this
    one was forked from. MemoryError, ProtectionError: as for Arena(size), and the secret can
    be adopted still. TimeoutError: the parent did not answer within `timeout` seconds.
    ValueError: a name of more than 255 bytes, or a timeout that is endless or not above 0.
    """
    asked = name_bytes(name)
    if not 0 < timeout < math.inf:
        raise ValueError("the timeout is a number of seconds above 0")
    with _one_at_a_time:
        if takeover.owner not in (0, os.getpid()):
            raise ForkedError("the secrets were given to the process that this one comes from")
        fd = takeover.secrets_fd()
        if fd is None:
            raise AdoptError(
                "no secrets are left for this process: its parent names them in "
                "LockdownChannel.child(secrets=...), and each is given once",
                "taken" if takeover.had_secrets else "none",
            )
        # Another object on the same descriptor, which stays takeover's.
        with closing(socket(fileno=os.dup(fd))) as end:
            end.settimeout(min(timeout, LONGEST))
            try:
                arena, left = _adopt(end, asked, size, timeout)
            except (AdoptError, ProtectionError, MemoryError):
                raise
            except BaseException as error:
                takeover.drop_secrets()  # in the middle: it is of no use any more
                if isinstance(error, OSError) and not isinstance(error, TimeoutError):
                    raise AdoptError(
                        "the parent is gone, closed the channel, or waited too long", "gone"
                    ) from error
                raise
        if not left:
            takeover.drop_secrets()
        return arena


def _adopt(end: socket, asked: bytes, size: int | None, timeout: float) -> tuple[Arena, int]:
    """The arena, and how many secrets are left."""
    end.sendall(ASK.pack(HELLO, asked))
    hello, answer, offered, left = ANSWER.unpack(_exactly(end, ANSWER.size))
    if hello != HELLO:
        raise ConnectionError("the other end speaks another protocol")
    if answer != OFFERED:
        reason, message = _REFUSALS.get(answer, ("gone", "the parent refused"))
        raise AdoptError(f"{asked.decode()!r}: {message}", reason)
    if size is not None and offered != size:
        end.sendall(NO)
        raise AdoptError(f"{asked.decode()!r} has {offered} bytes, not {size}", "size")
    if offered > sys.maxsize:
        raise ConnectionError("the other end offers more than there is memory")
    try:
        Arena(offered).close()  # fails as this one would, while the secret can stay
    except BaseException:
        end.sendall(NO)
        raise
    end.sendall(YES)
    try:
        arena = _take_over(offered, end.fileno(), min(math.ceil(timeout * 1000), 2**31 - 1))
    except WipedError:
        raise AdoptError(
            f"{asked.decode()!r} was wiped while it was handed over", "wiped"
        ) from None
    return arena, left - 1


def _exactly(end: socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        more = end.recv(count - len(got))
        if not more:
            raise ConnectionResetError("the other end is closed")
        got += more
    return got


# ---- the parent -----------------------------------------------------------------------------


class Offer:
    """The secrets that one child may adopt, and the thread that gives them.

    The thread runs from the moment when the child may be started until all are adopted, the
    time is over, or the child or the channel is gone.
    """

    def __init__(self, secrets: Mapping[str, Arena], timeout: float | None) -> None:
        """TypeError, ValueError: not names and usable arenas, or no time."""
        if not isinstance(secrets, Mapping):
            raise TypeError(f"secrets are a mapping of names to arenas, not {type(secrets)!r}")
        self._arenas: dict[bytes, Arena] = {}
        for name, arena in secrets.items():
            if not isinstance(arena, Arena):
                raise TypeError(f"a secret is an Arena, not {type(arena)!r}")
            self._arenas[name_bytes(name)] = arena
            _ = arena.address  # or it is closed, or the parent's
            if arena.wiped:
                raise WipedError(f"{name!r} cannot be offered: its arena was wiped")
        if timeout is not None and not timeout > 0:
            raise ValueError("the timeout is a number of seconds above 0, or None")
        self._taken: set[bytes] = set()
        self._timeout = timeout
        self._until: float | None = None
        self._lock = _rlock()  # a garbage collection may come in between, and start it
        self._started = False
        self._end: socket | None = None
        self._record: Record | None = None
        self._asker: int | None = None

    def connect(self, end: socket, record: "Record") -> None:
        """The parent's end, which is the offer's from here on."""
        passcred = getattr(_socket, "SO_PASSCRED", None)
        if passcred is not None:
            end.setsockopt(_socket.SOL_SOCKET, passcred, 1)
        self._end = end
        self._record = record

    def start(self) -> None:
        """The child is started, or about to be; where this is repeated the time begins anew."""
        with self._lock:
            end = self._end
            if end is None:
                return
            if self._timeout is not None:
                self._until = time.monotonic() + self._timeout
            if self._started:
                return
            self._started = True
        try:
            _start_thread(self._serve, (end,))
        except RuntimeError:  # no thread to be had, as at the interpreter's end
            self._started = False
            self.close()

    def close(self) -> None:
        """Offer nothing any more; harmless when repeated."""
        with self._lock:
            end = self._end
            if end is None:
                return
            if self._started:
                with suppress(OSError):
                    end.shutdown(_socket.SHUT_RDWR)  # its thread wakes up and closes it
                return
            self._end = None
        end.close()
        self._arenas.clear()

    def forked(self) -> None:
        """In a child: close the copy, without a word to the other end."""
        end, self._end = self._end, None
        self._lock = _rlock()
        if end is not None:
            end.close()

    def _serve(self, end: socket) -> None:
        try:
            with suppress(OSError):  # also TimeoutError: the child is gone, or never asked
                while self._answer(end):
                    pass
        finally:
            with self._lock:
                self._end = None
            end.close()
            self._arenas.clear()

    def _answer(self, end: socket) -> bool:
        """One question; False: it was the last."""
        question, asker = self._question(end)
        if question is None:
            return False
        end.settimeout(PATIENCE)
        hello, asked = ASK.unpack(question)
        if hello != HELLO:
            return False
        answer, size = self._verdict(asked, asker)
        left = len(self._arenas) - len(self._taken)
        end.sendall(ANSWER.pack(HELLO, answer, size, left))
        if answer != OFFERED or _exactly(end, 1) != YES:
            return True
        try:
            _give(self._arenas[asked], end)
        except (WipedError, SealedError):
            return True  # the child was told
        except ValueError:
            return False  # closed in between
        self._taken.add(asked)
        return left > 1

    def _question(self, end: socket) -> tuple[bytes | None, int | None]:
        """As _question() below. TimeoutError: nothing was asked in time."""
        while True:
            left = None if self._until is None else self._until - time.monotonic()
            end.settimeout(None if left is None else min(max(left, 0.001), LONGEST))
            try:
                return _question(end)
            except TimeoutError:
                if self._until is not None and self._until <= time.monotonic():
                    raise

    def _verdict(self, asked: bytes, asker: int | None) -> tuple[bytes, int]:
        meant = self._record.pid if self._record else None
        if meant is None:
            meant = self._asker = asker if self._asker is None else self._asker
        if asker is not None and asker != meant:
            return NOT_MEANT, 0
        arena = self._arenas.get(asked)
        if arena is None:
            return UNKNOWN, 0
        if asked in self._taken:
            return TAKEN, 0
        if arena.closed or arena.wiped:
            return UNUSABLE, 0
        return OFFERED, arena.size


def _give(arena: Arena, end: socket) -> None:
    """A sealed one is open meanwhile. WipedError, SealedError: the child was told so."""
    given = False
    try:
        with ExitStack() as stack:
            if arena.sealed:
                with suppress(ValueError, BufferError):  # else the child is told below
                    stack.enter_context((arena.pool or arena).open("r"))
            _hand_over(arena, end.fileno(), math.ceil(PATIENCE * 1000))
            given = True
    except (WipedError, BufferError):
        if not given:  # after that a wipe, or a buffer that keeps it open, is none of the child's
            raise


def _question(end: socket) -> tuple[bytes | None, int | None]:
    """What was asked, and by which process, where the kernel tells; None: the end."""
    question, asker = b"", None
    kind = getattr(_socket, "SCM_CREDENTIALS", None)
    while len(question) < ASK.size:
        part, extras, _flags, _address = end.recvmsg(
            ASK.size - len(question), _socket.CMSG_SPACE(12) if kind is not None else 0
        )
        if not part:
            return None, None
        question += part
        for _level, found, value in extras:
            if found == kind:
                asker = struct.unpack("=iII", value)[0]
    return question, asker
