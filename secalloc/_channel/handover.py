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
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from secalloc._channel import takeover, wire
from secalloc._channel.asking import asking
from secalloc._channel.patched import blocks, let_others_run
from secalloc._core import Arena, Error, ForkedError, ProtectionError, WipedError, _ask
from secalloc._kind import Kind
from secalloc._values import Protection

if TYPE_CHECKING:
    from threading import Thread
else:
    Thread = object  # who asks for hints when the program runs gets one without the import

__all__ = ["AdoptError", "adopt", "on_offer"]

_T = TypeVar("_T")

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


AT_ONCE = 1 << 20
"""Bytes up to which a size that the caller names is believed, and asked for at once."""


class _Overtaken(Exception):
    """The parent had the secret, and then could not read it."""


_KEY = Kind(Protection.SECRETMEM, wire.KEY_NAME)
"""Of a key: without secretmem it would come as secrets do then."""


class _Said(NamedTuple):
    """The parent's answer."""

    verdict: bytes
    size: int
    left: int
    text: str


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
    if not asking.warned:
        kind.arena(0).close()  # what cannot be had, and a warning that is an error, cost no secret
        asking.warned = True
    until = time.monotonic() + timeout
    if not asking.lock.acquire(timeout=min(timeout, wire.LONGEST)):
        raise TimeoutError(
            f"another thread of this process adopts, and did not end within {timeout:g} s"
        )
    lock = asking.lock
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
    wanted = wire.UNKNOWN_SIZE
    if type(size) is int and 0 <= size <= AT_ONCE:
        wanted = size
    else:  # first of all how large it is: what was made in vain would cost the most
        wanted = _size_of(asked, size, timeout, until)
    if asking.wants_key(wanted):
        _get_key(timeout, until)
    question = _question(wire.ASK, asked, wanted)
    taken, said, end, _ = _taken(question, wanted, kind, timeout, until)
    if isinstance(taken, Arena):
        asking.keep(end, said.left, more=said.left > 0)
        return taken
    if isinstance(taken, Exception):
        asking.close(end)
        if isinstance(taken, WipedError):  # with the rest of the answer
            raise _Overtaken
        raise _told(taken, timeout)
    asking.keep(end, said.left, more=said.left > 0 or said.verdict == wire.OFFERED)
    if said.verdict == wire.OFFERED:
        asking.drop_key()  # it may be what was wiped
        raise _Overtaken
    if said.verdict == wire.SIZE and size is None:
        raise _Overtaken
    raise _refusal(name, size, said)


def _get_key(timeout: float, until: float) -> None:
    """Have a key for the connection, if it can be had by way of secretmem."""
    try:
        question = _question(wire.KEY, b"", wire.KEY_BYTES)
        taken, said, end, shared = _taken(question, wire.KEY_BYTES, _KEY, timeout, until)
    except (MemoryError, ProtectionError, AdoptError):  # a parent that is gone is told of next
        asking.keyless = True
        return
    asking.keep(end, said.left, more=not isinstance(taken, Exception))
    if isinstance(taken, Arena) and shared:
        asking.key = taken
        return
    asking.keyless = True
    if isinstance(taken, Arena):
        taken.close()  # the kernel's buffers had it


def _size_of(asked: bytes, size: int | None, timeout: float, until: float) -> int:
    """How many bytes it has; the question costs nothing of it."""
    said, end = _asked(wire.ASK, asked, timeout, until)
    asking.keep(end, said.left, more=said.left > 0 or said.verdict == wire.SIZE)
    if said.verdict != wire.SIZE or (size is not None and said.size != size):
        raise _refusal(asked.decode(), size, said)
    if said.size > sys.maxsize:
        raise AdoptError("the other end offers more than there is memory", "gone")
    return said.size


def _refusal(name: str, size: int | None, said: _Said) -> AdoptError:
    if said.verdict == wire.SIZE:
        return AdoptError(f"{name!r} has {said.size} bytes, not {size}", "size")
    reason = _REASONS.get(said.verdict, "gone")
    return AdoptError(f"{name!r}: {said.text or 'the parent refused'}", reason)


def _told(error: BaseException, timeout: float) -> BaseException:
    """What the caller is told of what came of a question."""
    told = error
    if isinstance(error, TimeoutError):
        told = TimeoutError(_late(timeout))
    elif isinstance(error, OSError) and not isinstance(error, ProtectionError):
        told = AdoptError("the parent is gone, or closed the channel", "gone")
        told.__cause__ = error
    return told


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


def _connected(until: float) -> socket:
    """A connection of this process's own: its end of a pair, the parent has the other."""
    fd = _end()
    with wire.gate.lock:
        ours, theirs = wire.socket_pair()
        asking.open.add(ours)
    try:
        try:
            wire.tell_sender(theirs)
            wire.send_end(fd, theirs, until)
        finally:
            theirs.close()
    except BaseException:
        asking.close(ours)
        raise
    return ours


def _question(verb: bytes, name: bytes, size: int) -> bytes:
    if not asking.token:
        asking.token = os.urandom(16)
    return wire.QUESTION.pack(wire.HELLO, verb, asking.token, name, size)


def _over_one(
    timeout: float, until: float, kept: socket | None, say: Callable[[socket], _T]
) -> tuple[_T, socket]:
    """What comes of a question, over the connection that is kept, or else a new one, which stays
    open."""
    end = kept
    while True:
        try:
            if end is None:
                end = _connected(until)
            return say(end), end
        except BaseException as error:
            if end is not None:
                asking.close(end)
            again, kept, end = kept is not None and isinstance(error, ConnectionError), None, None
            if again:
                continue  # the parent let go of it: over another
            told = _told(error, timeout)
            if told is error:
                raise
            raise told from told.__cause__


def _asked(verb: bytes, name: bytes, timeout: float, until: float) -> tuple[_Said, socket]:
    """The parent's answer to what asks for no secret yet, and the connection."""
    question = _question(verb, name, wire.UNKNOWN_SIZE) + bytes(wire.OFFER_BYTES)

    def say(end: socket) -> _Said:
        with suppress(BrokenPipeError, ConnectionResetError):  # why, it said before
            end.settimeout(min(max(until - time.monotonic(), 0.001), wire.LONGEST))
            wire.send(end, question)
        return _answered(end, until)

    return _over_one(timeout, until, asking.kept if verb == wire.ASK else None, say)


def _taken(
    question: bytes, size: int, kind: Kind, timeout: float, until: float
) -> tuple[Arena | Exception | None, _Said, socket, bool]:
    """What the extension makes of it, the answer, the connection, and whether it came by way of
    secretmem."""

    def say(end: socket) -> tuple[Arena | Exception | None, _Said, bool]:
        ms = wire.milliseconds(until - time.monotonic())
        taken, words, came, shared = _ask(
            size,
            end.fileno(),
            ms,
            question,
            wire.ANSWER.size,
            key=asking.key if end is asking.kept else None,
            require=kind.require,
            name=kind.name,
        )
        return taken, _read(words, [] if came < 0 else [came]), shared

    (taken, said, shared), end = _over_one(timeout, until, asking.kept, say)
    return taken, said, end, shared


def _answered(end: socket, until: float) -> _Said:
    data, fds = wire.receive(end, wire.ANSWER.size + len(wire.NOTHING_FOLLOWS), until)
    return _read(data[: wire.ANSWER.size], fds)


def _read(words: bytes, fds: list[int]) -> _Said:
    hello, verdict, size, left, text = wire.ANSWER.unpack(words)
    if len(fds) == 1 and hello == wire.HELLO:
        takeover.take_own(fds[0])
    else:
        for fd in fds:
            os.close(fd)
    if hello != wire.HELLO:
        raise ConnectionAbortedError("the other end speaks another protocol")
    return _Said(verdict, size, left, text.decode())


def enrol() -> None:
    """Have this process's markers go where no other's do, of ends that several come with. Where
    the parent does not answer they go where they went."""
    with suppress(OSError, ValueError), asking.lock:
        if takeover.shared and not takeover.alone:
            until = time.monotonic() + wire.PATIENCE
            _, end = _asked(wire.ENROL, b"", wire.PATIENCE, until)
            if asking.kept is None:
                asking.kept = end
            else:
                asking.close(end)


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
    with asking.lock:
        said, end = _asked(wire.WATCH, b"", wire.PATIENCE, until)
    if said.verdict != wire.WELCOME:
        asking.close(end)
        raise AdoptError(said.text, _REASONS.get(said.verdict, "gone"))
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
            said = _answered(end, math.inf)
            if said.verdict != wire.NEWS:
                return
            try:
                callback(said.text)
            except BaseException:
                report()
    except (OSError, ValueError):
        return  # the parent is gone, or this is another process
    finally:
        asking.close(end)
