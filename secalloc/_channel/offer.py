"""What a parent offers over the ends of one child, and to which processes."""

import os
import time
from _socket import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from secalloc._channel import wire
from secalloc._channel.finish import Attempt
from secalloc._channel.peer import Peer, began
from secalloc._core import Arena, WipedError

if TYPE_CHECKING:
    from secalloc._channel.child import Record

MOST_CONNECTIONS = 8
"""Of one process at once: one that asks, and some that are told of news."""


class Refused(Exception):
    """Why a process, or a question, is refused: a verdict, and a reason in words; of another size,
    which it is."""

    def __init__(self, verdict: bytes, reason: str, size: int = 0) -> None:
        super().__init__(reason)
        self.verdict = verdict
        self.size = size


class Asker:
    """A process that came with the ends, and what it has."""

    __slots__ = (
        "connections",
        "enrolled",
        "giving",
        "has",
        "offered",
        "peer",
        "record",
        "todo",
        "watches",
    )

    def __init__(self, peer: Peer, names: Iterable[bytes]) -> None:
        self.peer = peer
        self.todo = set(names)  # what it could have, and has not
        self.has: dict[bytes, Entry] = {}
        self.giving: set[bytes] = set()  # what it is about to have
        self.offered: dict[bytes, Entry] = {}  # to it alone
        self.connections = 0
        self.watches: list[socket] = []
        self.enrolled = False
        self.record: Record | None = None  # where its markers go, if nobody else's do


class Entry:
    """A secret on offer, until it is replaced or its time is over."""

    __slots__ = ("arena", "given", "seconds", "until")

    def __init__(self, arena: Arena, seconds: float | None, *, given: bool = False) -> None:
        """`given`: to a child that runs."""
        self.arena = arena
        self.given = given
        self.seconds = seconds
        self.until: float | None = None

    def begin(self) -> None:
        """Its time begins now."""
        if self.seconds is not None:
            self.until = time.monotonic() + self.seconds

    @property
    def over(self) -> bool:
        """Whether its time is."""
        return self.until is not None and time.monotonic() >= self.until


def usable(name: str, arena: Arena) -> bytes:
    """The name as it travels. TypeError, ValueError: not a name, or not an arena with content."""
    if not isinstance(arena, Arena):
        raise TypeError(f"a secret is an Arena, not {type(arena)!r}")
    encoded = wire.name_bytes(name)
    _ = arena.address  # or it is closed, or the parent's
    if arena.wiped:
        raise WipedError(f"{name!r} cannot be offered: its arena was wiped")
    return encoded


def checked_seconds(timeout: float | None) -> float | None:
    """A time-out. ValueError: it is none."""
    if timeout is not None and not timeout > 0:
        raise ValueError("the timeout is a number of seconds above 0, or None")
    return timeout


class Offer:
    """The secrets that the processes of one child's ends may adopt.

    A lock guards all of it; a garbage collection may come in between, so that its holder may
    take it again.
    """

    def __init__(
        self,
        secrets: Mapping[str, Arena],
        timeout: float | None,
        uses: int | None = 1,
        *,
        any_namespace: bool = False,
    ) -> None:
        """TypeError, ValueError: not names and usable arenas, or no time, or no number."""
        if not isinstance(secrets, Mapping):
            raise TypeError(f"secrets are a mapping of names to arenas, not {type(secrets)!r}")
        self.lock = wire.rlock()
        self.locks = [Attempt(partial(self.lock.acquire, blocking=False), self.lock.release)]
        self.timeout = checked_seconds(timeout)
        self.entries: dict[bytes, Entry] = {}
        for name, arena in secrets.items():
            self.entries[usable(name, arena)] = Entry(arena, timeout)
        self.largest = max((entry.arena.size for entry in self.entries.values()), default=0)
        self.uses = uses
        self.any_namespace = any_namespace
        self.began = False
        self.closed = False
        self.spent = 0
        self.expected: dict[int, int | None] = {}
        self.askers: dict[object, Asker] = {}
        self.record: Record | None = None
        self.serve: Callable[[Offer], None] | None = None

    # ---- in the parent's own code ----------------------------------------------------------

    def start(self) -> None:
        """The child is started, or about to be; where this is repeated the time begins anew."""
        with self.lock:
            if self.closed:
                return
            self.began = True
            for entry in self.entries.values():
                entry.begin()
            serve = self.serve
        if serve:
            serve(self)

    def give(self, name: str, arena: Arena, seconds: float | None, to: Asker | None) -> None:
        """Offer another, or a new one by that name, to all or to one process."""
        encoded = usable(name, arena)
        entry = Entry(arena, checked_seconds(seconds), given=True)
        entry.begin()
        with self.lock:
            if self.closed:
                raise ValueError(
                    "nobody is there to take it: the child is gone, or its channel closed"
                )
            (to.offered if to else self.entries)[encoded] = entry
            self.largest = max(self.largest, arena.size)
            told = [to] if to else list(self.askers.values())
            for asker in told:
                asker.todo.add(encoded)
                if not to:
                    asker.offered.pop(encoded, None)
            watches = [(asker, watch) for asker in told for watch in asker.watches]
        for asker, watch in watches:
            self.announce(asker, watch, encoded)

    def expect(self, pid: int, *, more: bool) -> None:
        """Serve that process, and none that is not expected; `more`: besides those before.

        ValueError: those are as many as the ends are for.
        """
        if not isinstance(pid, int) or isinstance(pid, bool):
            raise TypeError(f"a process id is an int, not {type(pid)!r}")
        try:
            since = began(pid)
        except ProcessLookupError:
            since = None
        with self.lock:
            expected = dict(self.expected) if more else {}
            expected[pid] = since
            if self.uses is not None and len(expected) > self.uses:
                raise ValueError(
                    f"{len(self.expected)} processes are expected already, "
                    f"{_listed(self.expected)}: child(uses=...) says how many may come"
                )
            self.expected = expected

    def expect_any(self) -> None:
        """Serve who comes first."""
        with self.lock:
            self.expected = {}

    def holders(self) -> dict[int, tuple[str, ...]]:
        """Which processes asked, and what each has."""
        with self.lock:
            return {
                asker.peer.pid: tuple(sorted(name.decode() for name in asker.has))
                for asker in self.askers.values()
            }

    def close(self) -> None:
        """Offer nothing any more; harmless when repeated."""
        with self.lock:
            self.closed = True
            self.entries.clear()
            for asker in self.askers.values():
                asker.offered.clear()

    def forked(self) -> None:
        """In a child, where the lock's holder may not exist."""
        self.lock = wire.rlock()
        self.closed = True
        self.entries.clear()

    # ---- for a process that asks ---------------------------------------------------------------

    def admit(self, peer: Peer, token: bytes | None) -> Asker | None:
        """The process, if it may ask at all; None: its token is needed. Refused: it may not."""
        if peer.user is not None and peer.user != os.geteuid():
            raise Refused(
                wire.NOT_MEANT,
                f"this process runs as user {peer.user}, and its parent as {os.geteuid()}: adopt "
                "before a change of user",
            )
        if peer.pid == 0 and not self.any_namespace:
            raise Refused(
                wire.NOT_MEANT,
                "this process is in another PID namespace, where the parent cannot tell who it "
                "is: child(any_namespace=True) lets it in",
            )
        if peer.pid == 0 and token is None:
            return None
        key: object = peer.pid or token
        with self.lock:
            self._check_expected(peer)
            asker = self.askers.get(key)
            if asker is None or asker.peer != peer:  # or a later one of the same number
                asker = self._newcomer(peer)
                self.askers[key] = asker
            if asker.connections >= MOST_CONNECTIONS:
                raise Refused(
                    wire.GONE, f"this process has {asker.connections} connections already"
                )
            asker.connections += 1
        return asker

    def _check_expected(self, peer: Peer) -> None:
        if self.expected:
            since = self.expected.get(peer.pid, -1)
            if since is None:
                self.expected[peer.pid] = peer.began
            elif since != peer.began:
                raise Refused(
                    wire.NOT_MEANT,
                    f"it is meant for process {_listed(self.expected)}, and this is {peer.pid}",
                )
        elif peer.pid == os.getpid():
            raise Refused(wire.NOT_MEANT, "the process that offers does not ask itself")

    def _newcomer(self, peer: Peer) -> Asker:
        if not self.expected and self.uses is not None and self.spent >= self.uses:
            there = _listed(asker.peer.pid for asker in self.askers.values())
            raise Refused(
                wire.NOT_MEANT,
                f"it is for {self.uses} process{'es' if self.uses > 1 else ''}, and went to "
                f"{there}: child(uses=...) says how many may come, and this is {peer.pid}",
            )
        self.spent += 1
        return Asker(peer, self.entries)

    def first(self, asker: Asker) -> bool:
        """Whether the process is to be told where its markers go, which it is once."""
        with self.lock:
            first, asker.enrolled = not asker.enrolled, True
            return first

    def left(self, asker: Asker) -> None:
        """One connection of that process less."""
        with self.lock:
            asker.connections -= 1

    def forget(self, asker: Asker) -> None:
        """That process is gone. With a number of uses it stays counted, and known."""
        with self.lock:
            if self.uses is None:
                for key, known in list(self.askers.items()):
                    if known is asker:
                        del self.askers[key]

    def verdict(self, asker: Asker, name: bytes, size: int) -> Entry:
        """What it is to be given, which counts as given until given() is told. Refused: also where
        it has another size.

        Where another connection of that process is being given it, it is waited how that ends:
        the process may have let go of it, and come anew.
        """
        end = time.monotonic() + wire.PATIENCE
        while True:
            with self.lock:
                if name not in asker.giving or time.monotonic() >= end:
                    return self._verdict(asker, name, size)
            wire.sleep(0.001)

    def _verdict(self, asker: Asker, name: bytes, size: int) -> Entry:
        entry = asker.offered.get(name) or self.entries.get(name)
        if self.closed:
            raise Refused(wire.GONE, "the child's ends or the channel were closed")
        if entry is None:
            raise Refused(wire.UNKNOWN, self._known(asker))
        if asker.has.get(name) is entry:
            raise Refused(
                wire.TAKEN,
                "this process adopted it already: a secret is given once, and anew by the "
                "parent's child.give()",
            )
        if entry.over:
            raise Refused(
                wire.GONE,
                f"it was on offer for {entry.seconds:g} s: child(timeout=...) says how long",
            )
        if entry.arena.closed or entry.arena.wiped:
            raise Refused(
                wire.UNUSABLE,
                f"the parent's arena is {'closed' if entry.arena.closed else 'wiped'}: it "
                "must keep it until it is adopted",
            )
        if entry.arena.size != size:
            raise Refused(wire.SIZE, "it has another size", entry.arena.size)
        asker.has[name] = entry
        asker.giving.add(name)
        asker.todo.discard(name)
        return entry

    def _known(self, asker: Asker) -> str:
        names = sorted(name.decode() for name in {**self.entries, **asker.offered})
        return f"the parent offers {', '.join(map(repr, names)) or 'nothing'} to this process"

    def given(self, asker: Asker, name: bytes, entry: Entry, *, well: bool) -> None:
        """It was, or it was not after all."""
        with self.lock:
            asker.giving.discard(name)
            if not well and asker.has.get(name) is entry:
                del asker.has[name]
                asker.todo.add(name)

    def watch(self, asker: Asker, end: socket) -> None:
        """Tell it of what it can have, from now on."""
        with self.lock:
            if end not in asker.watches:
                asker.watches.append(end)
            names = sorted(asker.todo)
        for name in names:
            self.announce(asker, end, name)

    def unwatch(self, asker: Asker, end: socket) -> None:
        """No more on this connection."""
        with self.lock:
            if end in asker.watches:
                asker.watches.remove(end)

    def announce(self, asker: Asker, end: socket, name: bytes) -> None:
        """That there is one by that name. A connection that takes no more is given up."""
        try:
            end.settimeout(0)
            wire.send(end, answer(wire.NEWS, 0, 0, name) + wire.NOTHING_FOLLOWS)
        except OSError:
            self.unwatch(asker, end)
            with suppress(OSError):
                end.shutdown(2)


def answer(verdict: bytes, size: int, left: int, text: bytes) -> bytes:
    """The words of an answer."""
    return wire.ANSWER.pack(wire.HELLO, verdict, size, left, text)


def _listed(pids: Iterable[int]) -> str:
    return ", ".join(str(pid or "(of another namespace)") for pid in pids)
