"""A child's ends of a channel, on their way from the parent to the child."""

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, Self, TypedDict

from secalloc._channel import takeover
from secalloc._channel.finish import Attempt, finish
from secalloc._channel.handover import enrol
from secalloc._core import Arena


class Copy:
    """The parent's own copy of the ends that a child is given.

    As long as it is open the parent cannot see that the child is gone.
    """

    __slots__ = ("__weakref__", "_fds", "_locks", "_process", "_serve", "kept", "thread")

    def __init__(
        self,
        fds: Iterable[int],
        serve: Callable[[], None] | None,
        locks: Iterable[Attempt] = (),
        *,
        kept: bool = False,
    ) -> None:
        """`locks`: that `serve` takes. `kept`: for several children, until the caller closes it."""
        self._fds = list(fds)
        self._serve = serve
        self._locks = locks
        self.kept = kept
        self._process = os.getpid()
        self.thread = threading.get_ident()
        pending.add(self)

    def fds(self) -> tuple[int, ...]:
        """For a child that is about to be started. ValueError: the copy was closed."""
        fds = tuple(self._fds)
        if not fds:
            raise ValueError(
                "these ends were passed on or closed: ask the channel for another child"
            )
        self.serve()
        return fds

    def serve(self, *, _getpid: Callable[[], int] = os.getpid) -> None:
        """The child may ask from now on, however long this copy lives; in its parent."""
        if self._serve and self._process == _getpid():
            self._serve()

    def detach(self) -> tuple[int, ...]:
        """Leave the descriptors to the caller, once; then there are none."""
        fds: list[int] = []
        while True:
            try:
                fds.append(self._fds.pop(0))  # two threads never get the same one
            except IndexError:
                return tuple(fds)

    def close(
        self,
        *,
        _close: Callable[[int], None] = os.close,
    ) -> None:
        """The child has its own; harmless when repeated. Needs nothing of the module: it may run
        at the interpreter's end."""
        fds = self.detach()
        try:
            if fds:
                self.serve()  # before: where no child has them either, all is over with the last
        finally:
            for fd in fds:
                _close(fd)

    def __del__(
        self,
        *,
        _finish: Callable[[Iterable[Attempt], Callable[[], None]], None] = finish,
        _getpid: Callable[[], int] = os.getpid,
    ) -> None:
        if not self._fds:
            return
        if self._serve and self._process == _getpid():
            _finish(self._locks, self.close)
        else:
            self.close()

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("the ends of a channel cannot be copied: each would close the same ones")


pending: "weakref.WeakSet[Copy]" = weakref.WeakSet()


def _forked() -> None:
    """In the parent, where any child that has no thread of its own to disturb may be the one."""
    for copy in list(pending):
        copy.serve()


os.register_at_fork(after_in_parent=_forked)


class _End(int):
    """A descriptor's number that keeps it open, whatever container the caller moves it to."""

    copy_kept: Copy


class PopenArgs(TypedDict):
    """What goes to subprocess.Popen and asyncio.create_subprocess_exec."""

    env: dict[str, str]
    pass_fds: tuple[int, ...]


class Giver(Protocol):
    """What gives a child its secrets: the part of it that is called from here."""

    def give(self, name: str, arena: Arena, seconds: float | None, to: Any) -> None:
        """Offer one more."""

    def expect(self, pid: int, *, more: bool) -> None:
        """Serve that process, and none that is not expected."""

    def expect_any(self) -> None:
        """Serve who comes first."""

    def holders(self) -> dict[int, tuple[str, ...]]:
        """Which processes asked, and what each has."""


class Record:
    """What the parent knows of one child."""

    __slots__ = ("__weakref__", "asker", "giver", "name", "origin", "pid", "process", "uses")

    def __init__(self, name: str, uses: int | None = 1) -> None:
        self.name = name
        self.uses = uses
        self.pid: int | None = None
        self.process = os.getpid()
        self.giver: weakref.ref[Giver] | None = None
        self.origin: Record | None = None
        self.asker: object = None  # who it is to the giver


class LockdownChild:
    """One child of a LockdownChannel: what it is given at its start, and who it is later.

    Made by LockdownChannel.child() alone. The parent's copy of the ends is closed when its with
    block ends, by release(), when it is dropped, and when the thread that made it waits on the
    channel. Only then can the parent see that the child is gone. Two are equal if they stand
    for the same child.
    """

    __slots__ = ("__weakref__", "_copy", "_record")

    def __init__(self, record: Record, copy: Copy | None) -> None:
        self._record = record
        self._copy = copy

    @property
    def name(self) -> str:
        """As given to child(), else "child-" and a number."""
        return self._record.name

    @property
    def pid(self) -> int | None:
        """Its process, where the caller set it, secrets then go to no other; else the first
        that asked for one, or the one whose markers these are."""
        if self._record.pid is None:
            return next(iter(self.holders), None)
        return self._record.pid

    @pid.setter
    def pid(self, pid: int | None) -> None:
        giver = self._giver()
        if giver and pid is None:
            giver.expect_any()
        elif giver and pid is not None:
            giver.expect(pid, more=False)
        self._record.pid = pid

    @property
    def origin(self) -> "LockdownChild | None":
        """The child whose ends it came with, where those are for several: what child(uses=...) or
        offer() returned. None: it has ends of its own."""
        origin = self._record.origin
        return None if origin is None else LockdownChild(origin, None)

    @property
    def holders(self) -> dict[int, tuple[str, ...]]:
        """The processes that asked for secrets over these ends, each with the names of those
        that it adopted."""
        giver = self._giver()
        holders = giver.holders() if giver else {}
        if self._record.origin is None:
            return holders
        return {pid: names for pid, names in holders.items() if pid == self._record.pid}

    def expect(self, pid: int) -> None:
        """Give secrets to that process, and to none that is not expected; called again, to one
        more, up to `uses`.

        ValueError: so many are expected already.
        """
        giver = self._giver()
        if giver:
            giver.expect(pid, more=True)
        if self._record.pid is None:
            self._record.pid = pid

    def give(self, name: str, arena: Arena, *, timeout: float | None = 60) -> None:
        """Offer a secret to a child that runs, in place of one by that name or besides: its
        adopt(name) returns it, and its on_offer() callbacks are told.

        It goes to all processes that these ends are for, later ones too, or to the one that an
        event names. It is on offer for `timeout` seconds (None: no limit). Leave the arena as
        it is for that time, or until ADOPTED tells that it is no longer needed. ValueError: the
        child is gone, was made without `secrets`, or the arena is closed. WipedError: it is
        wiped.
        """
        record = self._record
        if record.giver is None:
            raise ValueError(
                f"{record.name!r} was made without secrets: child(secrets={{}}) makes one that "
                "can be given some later"
            )
        giver = self._giver()
        if giver is None:
            raise ValueError(f"{record.name!r} is gone, or its channel closed")
        giver.give(name, arena, timeout, record.asker)

    def _giver(self) -> Giver | None:
        return self._record.giver() if self._record.giver else None

    @property
    def fds(self) -> tuple[int, ...]:
        """The descriptors that the child must inherit under the same numbers.

        They are close-on-exec: the code that spawns lets them through. ValueError: passed on
        already, or closed.
        """
        if self._copy is None:
            raise ValueError("this child was started already: ask the channel for another")
        return self._copy.fds()

    @property
    def fd(self) -> int:
        """The first of fds, where the marker goes."""
        return self.fds[0]

    @property
    def env(self) -> dict[str, str]:
        """The variables that tell the child, to be merged with an environment."""
        fds = self.fds
        variables = {
            takeover.LOCKDOWN_FD: str(fds[0]),
            takeover.LOCKDOWN_FILE: ",".join(takeover.identity(fd) for fd in fds),
        }
        if len(fds) > 1:
            variables[takeover.SECRETS_FD] = str(fds[1])
            if self._record.uses != 1:
                variables[takeover.SECRETS_USES] = str(self._record.uses or "any")
        return variables

    @property
    def file_actions(self) -> list[tuple[int, int, int]]:
        """What os.posix_spawn takes to let the descriptors through."""
        return [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in self.fds]

    def popen_args(
        self, env: Mapping[str, str] | None = None, pass_fds: Iterable[int] = ()
    ) -> PopenArgs:
        """Keyword arguments for subprocess.Popen, the caller's own merged in.

        `env` None: the environment of this process. For one start; the parent's copy of
        the ends is closed when the last of its descriptors in `pass_fds` is dropped, as
        Popen does. Both may be merged into others first, but not by way of int().
        """
        copy = self._copy
        if copy is None:
            raise ValueError("this child was started already: ask the channel for another")
        ends = [_End(fd) for fd in copy.fds()]
        for end in ends:
            end.copy_kept = copy
        merged = {**(os.environ if env is None else env), **self.env}
        return {"env": merged, "pass_fds": (*pass_fds, *ends)}

    def release(self) -> None:
        """Close the parent's copy of the ends: the child has its own. Harmless when
        repeated."""
        if self._copy:
            self._copy.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self.release()

    def install(self) -> None:
        """In a child that was forked and got this object: send the markers over it.

        A child that multiprocessing spawned has done so when it unpickled the object, and
        doing it again is harmless. ValueError: called in the parent, or the ends are gone.
        """
        process = os.getpid()
        if process == self._record.process:
            if takeover.owner == process and self._copy is None:
                return
            raise ValueError("install() is called in the child, not where the channel was made")
        copy = self._copy
        if copy is None:
            raise ValueError("this child was started already: ask the channel for another")
        copy.fds()
        fds = copy.detach()
        self._copy = None
        self._record.process = process
        for other in list(pending):
            other.close()
        several = self._record.uses != 1
        takeover.take(fds[0], fds[1] if len(fds) > 1 else None, uses=several)
        if several and len(fds) > 1:
            enrol()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LockdownChild):
            return NotImplemented
        return self._record is other._record

    def __hash__(self) -> int:
        return hash(id(self._record))

    def __repr__(self) -> str:
        pid = "" if self.pid is None else f", pid {self.pid}"
        return f"<secalloc.LockdownChild {self.name!r}{pid}>"

    def __reduce__(self) -> tuple[Any, ...]:
        from multiprocessing import context, reduction  # noqa: PLC0415 - only for its users

        context.assert_spawning(self)
        ends = [reduction.DupFd(fd) for fd in self.fds]
        return _installed, (self.name, self._record.uses, *ends)


def _installed(name: str, uses: int | None, *fds: Any) -> LockdownChild:
    """In a child that multiprocessing spawned."""
    own = [int(fd.detach()) for fd in fds]
    takeover.take(own[0], own[1] if len(own) > 1 else None, uses=uses != 1)
    if uses != 1 and len(own) > 1:
        enrol()
    return LockdownChild(Record(name, uses), None)
