"""In a child: asks its parent for secrets, and hears when there are new ones.

The child asks by name, on a connection of its own; the parent answers how large it is; the
extension moves the content from arena to arena. See docs/channels.md.
"""

import math
import os
import sys
import time
from _socket import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from secalloc._channel import takeover, wire
from secalloc._channel.patched import blocks, let_others_run
from secalloc._core import Arena, Error, ForkedError, ProtectionError, WipedError, _take_over
from secalloc._kind import Kind
from secalloc._values import Protection

if TYPE_CHECKING:
    from threading import Thread
else:
    Thread = object  # who asks for hints when the program runs gets one without the import

__all__ = ["AdoptError", "adopt", "on_offer"]

_REASONS = {
    wire.UNKNOWN: "unknown",
    wire.TAKEN: "taken",
    wire.NOT_MEANT: "not meant",
    wire.UNUSABLE: "wiped",
    wire.GONE: "gone",
}


class AdoptError(Error, ValueError):
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

AGAIN = 6
"""How often it is asked for what the parent could not read when it came to that."""


class _Overtaken(Exception):
    """The parent had the secret, and then could not read it."""


class _Mine:
    """What this process asks by: a lock, a connection that is kept while there is more, and
    a number that nobody else knows."""

    def __init__(self) -> None:
        self.lock = wire.allocate_lock()
        self.kept: socket | None = None
        self.open: set[socket] = set()
        self.token = b""

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
        end.close()


_mine = _Mine()
os.register_at_fork(after_in_child=_mine.forked)


def adopt(
    offered: str,
    /,
    *,
    size: int | None = None,
    timeout: float = wire.PATIENCE,
    require: Protection | None = None,
    name: str | None = None,
) -> Arena:
    """The secret that the parent offers this process by that name, as a new Arena.

    The copy is this process's own. Each secret can be adopted once, and again when the parent
    gives a new one of that name. With `size`, in bytes, a secret of another size is refused,
    and stays on offer. AdoptError: its reason tells why; it is raised, too, if this process was
    given no secrets. ForkedError: they were given to the process that this one was forked from.
    MemoryError, ProtectionError: as for Arena(size), and the secret stays on offer. require and
    name are as for Arena(), too. TimeoutError: the parent did not answer within `timeout`
    seconds. ValueError: a name of more than 255 bytes, or a timeout that is endless or not
    above 0.
    """
    asked = wire.name_bytes(offered)
    if not 0 < timeout < math.inf:
        raise ValueError("the timeout is a number of seconds above 0")
    kind = Kind(require, name)
    kind.arena(0).close()  # what cannot be had costs no secret
    until = time.monotonic() + timeout
    if not _mine.lock.acquire(timeout=min(timeout, wire.LONGEST)):
        raise TimeoutError(
            f"another thread of this process adopts, and did not end within {timeout:g} s"
        )
    lock = _mine.lock
    try:
        for again in range(AGAIN):
            try:
                return _adopt(asked, size, kind, timeout, until)
            except _Overtaken:  # or sealed at that moment: the next answer tells
                wire.sleep(0.001 * 2**again)
        raise AdoptError(f"{offered!r} was wiped while it was handed over", "wiped")
    finally:
        lock.release()


def _adopt(asked: bytes, size: int | None, kind: Kind, timeout: float, until: float) -> Arena:
    name = asked.decode()
    fd = _end()
    verdict, offered, left, text, end = _asked(fd, wire.ASK, asked, timeout, until)
    more = False  # whether the connection is of use again
    try:
        if verdict != wire.OFFERED:
            more = left > 0
            reason = _REASONS.get(verdict, "gone")
            raise AdoptError(f"{name!r}: {text or 'the parent refused'}", reason)
        if size is not None and offered != size:
            raise AdoptError(f"{name!r} has {offered} bytes, not {size}", "size")
        if offered > sys.maxsize:
            raise AdoptError("the other end offers more than there is memory", "gone")
        kind.arena(offered).close()  # fails as this one would, while the secret can stay
        ms = math.ceil(max(until - time.monotonic(), 0.001) * 1000)
        ms = min(ms, 2**31 - 1)
        arena = _take_over(offered, end.fileno(), ms, require=kind.require, name=kind.name)
        more = left > 0
    except WipedError:
        more = True
        raise _Overtaken from None
    except ProtectionError:
        raise
    except TimeoutError:
        raise TimeoutError(_late(timeout)) from None
    except OSError as error:
        raise AdoptError("the parent is gone, or closed the channel", "gone") from error
    finally:
        if more:
            _mine.kept = end
        else:  # in the middle, or there is nothing else
            _mine.close(end)
    return arena


def _late(timeout: float) -> str:
    return (
        f"the parent did not answer within {timeout:g} s: it is stopped, or very busy; "
        "adopt(timeout=...) waits longer"
    )


def _end() -> int:
    """The descriptor to ask over. ForkedError, AdoptError: there is none."""
    if takeover.owner not in (0, os.getpid()):
        raise ForkedError("the secrets were given to the process that this one comes from")
    fd = takeover.secrets_fd()
    if fd is None:
        raise AdoptError(
            "this process was given no secrets: its parent names them in "
            "LockdownChannel.child(secrets=...), or .offer(...) whose install() the child calls",
            "none",
        )
    return fd


def _connected(fd: int, until: float) -> socket:
    """A connection of this process's own: its end of a pair, the parent has the other."""
    with wire.gate.lock:
        ours, theirs = wire.socket_pair()
        _mine.open.add(ours)
    try:
        try:
            wire.tell_sender(theirs)
            wire.send_end(fd, theirs, until)
        finally:
            theirs.close()
    except BaseException:
        _mine.close(ours)
        raise
    return ours


def _asked(
    fd: int, verb: bytes, name: bytes, timeout: float, until: float
) -> tuple[bytes, int, int, str, socket]:
    """The parent's answer, and the connection that it came by, which stays open."""
    if not _mine.token:
        _mine.token = os.urandom(16)
    question = wire.QUESTION.pack(wire.HELLO, verb, _mine.token, name)
    while True:
        end = kept = _mine.kept if verb == wire.ASK else None
        try:
            if end is None:
                end = _connected(fd, until)
            with suppress(BrokenPipeError, ConnectionResetError):  # why, it said before
                end.settimeout(min(max(until - time.monotonic(), 0.001), wire.LONGEST))
                wire.send(end, question)
            return *_answered(end, until), end
        except BaseException as error:
            if end is not None:
                _mine.close(end)
            if kept is not None and isinstance(error, ConnectionError):
                continue  # the parent let go of it: by another
            if isinstance(error, TimeoutError):
                raise TimeoutError(_late(timeout)) from None
            if isinstance(error, OSError):
                raise AdoptError("the parent is gone, or closed the channel", "gone") from error
            raise


def _answered(end: socket, until: float) -> tuple[bytes, int, int, str]:
    data, _, fds = wire.receive(end, wire.ANSWER.size, until, rights=True)
    hello, verdict, size, left, text = wire.ANSWER.unpack(data)
    if len(fds) == 1 and hello == wire.HELLO:
        takeover.take_own(fds[0])
    else:
        for fd in fds:
            os.close(fd)
    if hello != wire.HELLO:
        raise ConnectionAbortedError("the other end speaks another protocol")
    return verdict, size, left, text.decode()


def enrol() -> None:
    """Have this process's markers go where no other's do, of ends that several come with. Where
    the parent does not answer they go where they went."""
    with suppress(OSError, ValueError), _mine.lock:
        if takeover.shared and not takeover.alone:
            until = time.monotonic() + wire.PATIENCE
            *_, end = _asked(_end(), wire.ENROL, b"", wire.PATIENCE, until)
            if _mine.kept is None:
                _mine.kept = end
            else:
                _mine.close(end)


# ---- new ones ------------------------------------------------------------------------------


def on_offer(callback: Callable[[str], object]) -> Thread:
    """Call `callback` with the name of each secret that the parent offers this process, on a
    daemon thread of its own, until the parent or the channel is gone; returns the thread.

    It is called, too, for secrets that are on offer already and that this process has not
    adopted. An exception in the callback goes to threading.excepthook, and the thread goes on.
    The callback is not called again for the same offer: a secret that it did not adopt stays on
    offer, and the next on_offer() names it. TypeError: it cannot be called. AdoptError,
    ForkedError, TimeoutError: as adopt().
    """
    import threading  # noqa: PLC0415 - as a channel has; who only adopts can do without

    if not callable(callback):
        raise TypeError(f"a callback is a callable, not {type(callback)!r}")
    until = time.monotonic() + wire.PATIENCE
    with _mine.lock:
        verdict, _, _, text, end = _asked(_end(), wire.WATCH, b"", wire.PATIENCE, until)
    if verdict != wire.WELCOME:
        _mine.close(end)
        raise AdoptError(text, _REASONS.get(verdict, "gone"))
    thread = threading.Thread(
        target=_hear, args=(end, callback), name="secalloc-offers", daemon=True
    )
    thread.start()
    return thread


def _hear(end: socket, callback: Callable[[str], object]) -> None:
    from secalloc._channel.callback import report  # noqa: PLC0415 - as above

    try:
        while True:
            if not blocks():
                let_others_run(end.fileno(), None)
            verdict, _, _, name = _answered(end, math.inf)
            if verdict != wire.NEWS:
                return
            try:
                callback(name)
            except BaseException:
                report()
    except (OSError, ValueError):
        return  # the parent is gone, or this is another process
    finally:
        _mine.close(end)
