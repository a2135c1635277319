"""How secrets are asked for: what both sides of an end say, and how a connection gets there.

A process that asks makes a pair of sockets. It sends one of them, by a single message, over the end
that the child was given. All that follows is said on that pair, which nobody else has.
"""

import _socket
import math
import os
import struct
import sys
import time
from _socket import socket
from contextlib import suppress

from secalloc._original import original

HELLO = b"SAC3"
QUESTION = struct.Struct("=4sc16s256pQ")
"""The protocol, a verb, the asker's token (drawn once for each process), a name, how many bytes
that has."""
OFFER_BYTES = 24
"""What the extension says after it, with the pages that the secret is to come into; zeros where a
question is not for a secret."""
UNKNOWN_SIZE = 2**64 - 1
ANSWER = struct.Struct("=4scQI256p")
"""The protocol, a verdict, the size in bytes, how many are left, a reason or a name."""
NOTHING_FOLLOWS = b"N"
"""What stands after it, where no secret does: else the extension says that it is there."""

ASK, KEY, ENROL, WATCH = b"A", b"K", b"E", b"W"
"""Verbs: give me; give me a key, under which small secrets come from now on; tell me where my
markers go; tell me of what is offered from now on."""
KEY_BYTES, KEY_NAME = 32, "a channel's key"
OFFERED, WELCOME, NEWS = b"O", b"H", b"N"
UNKNOWN, TAKEN, NOT_MEANT, UNUSABLE, GONE, SIZE = b"U", b"T", b"M", b"W", b"G", b"S"
"""Verdicts: here is the secret; enrolled or watching; one is offered; and refusals, the last of
them that it has another size."""

NAME_BYTES = 255
PATIENCE = 10.0
"""Seconds for a step of the other side that takes no waiting for a person or a program."""
LONGEST = 1e6
"""Seconds that a socket may be told to wait: as an int of milliseconds more are few again."""

DONTWAIT = _socket.MSG_DONTWAIT
_NOSIGNAL = getattr(_socket, "MSG_NOSIGNAL", 0)
_CLOEXEC = getattr(_socket, "MSG_CMSG_CLOEXEC", 0)
_PASSCRED = getattr(_socket, "SO_PASSCRED", None)
_SO_NOSIGPIPE = 0x1022
"""From sys/socket.h of macOS: Python's module has no name for it."""

allocate_lock = original("_thread", "allocate_lock")
rlock = original("_thread", "RLock")
start_thread = original("_thread", "start_new_thread")
sleep = original("time", "sleep")


class _Gate:
    """Held while a descriptor comes to be that a forked child must know of, to close it."""

    WAITS = 10.0  # seconds: a fork is kept waiting no longer

    def __init__(self) -> None:
        self.lock = rlock()

    def before(self) -> None:
        """Fork waits; not for its own thread, whose signal handler it may be in."""
        self.lock.acquire(timeout=self.WAITS)

    def after(self) -> None:
        """In the parent."""
        with suppress(RuntimeError):  # it was not to be had in time
            self.lock.release()

    def in_child(self) -> None:
        """Its holder may not exist there."""
        self.lock = rlock()


gate = _Gate()
os.register_at_fork(before=gate.before, after_in_parent=gate.after, after_in_child=gate.in_child)


def name_bytes(name: str) -> bytes:
    """A secret's name as it travels. TypeError, ValueError: it cannot."""
    if not isinstance(name, str):
        raise TypeError(f"a secret's name is a str, not {type(name)!r}")
    encoded = name.encode()
    if len(encoded) > NAME_BYTES:
        raise ValueError(f"a secret's name is at most {NAME_BYTES} bytes of UTF-8")
    return encoded


def text_bytes(text: str) -> bytes:
    """A reason as it travels, cut where it is too long."""
    return text.encode()[:NAME_BYTES].decode(errors="ignore").encode()


def socket_pair() -> tuple[socket, socket]:
    """A stream in both directions whose writer gets an error, not SIGPIPE, at its end."""
    pair = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    if sys.platform == "darwin":
        for end in pair:
            end.setsockopt(_socket.SOL_SOCKET, _SO_NOSIGPIPE, 1)
    return pair


def tell_sender(end: socket) -> None:
    """Have the kernel say of each message that comes to this end which process sent it."""
    if _PASSCRED is not None:
        end.setsockopt(_socket.SOL_SOCKET, _PASSCRED, 1)


def send_end(fd: int, end: socket, until: float) -> None:
    """Send a socket over a descriptor that other processes may share: whose flags stay as they
    are. TimeoutError, OSError: nobody takes it."""
    through = socket(fileno=fd)
    try:
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("=i", end.fileno()))]
        while True:
            try:
                through.sendmsg([HELLO[-1:]], rights, DONTWAIT | _NOSIGNAL)
                return
            except BlockingIOError:  # full of what others sent
                if time.monotonic() >= until:
                    raise TimeoutError("the parent takes no requests") from None
                sleep(0.001)
    finally:
        through.detach()


def receive_end(end: socket) -> tuple[bool, list[int]]:
    """Whether anything came over an end, and the descriptors with it, which are the caller's.

    BlockingIOError: nothing did yet. With the gate held.
    """
    data, extras, _flags, _address = end.recvmsg(4096, _socket.CMSG_SPACE(4), DONTWAIT | _CLOEXEC)
    fds = descriptors(extras)
    return bool(data or fds), fds


def descriptors(extras: list[tuple[int, int, bytes]]) -> list[int]:
    """Those that came with a message, close-on-exec."""
    fds: list[int] = []
    for level, kind, value in extras:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            count = len(value) // 4
            fds += struct.unpack(f"={count}i", value[: 4 * count])
    if not _CLOEXEC:
        for fd in fds:
            os.set_inheritable(fd, False)
    return fds


def send(end: socket, data: bytes, fd: int | None = None) -> None:
    """All of it, by the end's time-out, whether or not the other side made the end one that
    waits."""
    if fd is not None:
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("=i", fd))]
        data = data[end.sendmsg([data], rights, DONTWAIT | _NOSIGNAL) :]
    if data:
        end.sendall(data, DONTWAIT | _NOSIGNAL)


def receive(end: socket, count: int, until: float) -> tuple[bytes, list[int]]:
    """So many bytes, and the descriptors that came with them.

    TimeoutError: none came. ConnectionError: not all did; descriptors that did are closed.
    """
    got, fds = b"", list[int]()
    try:
        while len(got) < count:
            left = until - time.monotonic()
            if left <= 0 and got:
                raise ConnectionAbortedError("the other end stopped in the middle")
            end.settimeout(min(max(left, 0.001), LONGEST))
            try:
                part, extras, _flags, _address = end.recvmsg(
                    count - len(got), _socket.CMSG_SPACE(4), DONTWAIT | _CLOEXEC
                )
            except TimeoutError:
                if got or left > LONGEST:
                    continue
                raise
            fds += descriptors(extras)
            if not part:
                raise ConnectionResetError("the other end is closed")
            got += part
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
    return got, fds


def milliseconds(seconds: float) -> int:
    """Rounded up, and as many as the extension takes."""
    return min(math.ceil(max(seconds, 0.001) * 1000), 2**31 - 1)
