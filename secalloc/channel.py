"""Lockdown channels: a parent learns that a child's secrets are gone, and why."""

import errno
import math
import os
import resource
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Self

from secalloc._channel.callback import deliver
from secalloc._channel.child import Copy, LockdownChild, PopenArgs, Record
from secalloc._channel.events import LockdownEvent, LockdownKind, event
from secalloc._channel.finish import Attempt, finish
from secalloc._channel.loops import Loops
from secalloc._channel.offer import Offer
from secalloc._channel.patched import blocks, milliseconds
from secalloc._channel.serve import Server
from secalloc._channel.watch import Watch
from secalloc._channel.wire import socket_pair
from secalloc._channel.workers import Workers
from secalloc._core import Arena, ForkedError, _Listener, _Waiter

__all__ = ["LockdownChannel", "LockdownChild", "LockdownEvent", "LockdownKind"]


class LockdownChannel(_Waiter[LockdownEvent]):
    """Where a parent hears of the wipes of its children, each with an end of its own.

    Give each child an end with popen_args() or child(). Then hear of it by wait(), `for`,
    `async for`, on_event() or fileno(). If several wait, each event goes to one of them.
    Thread-safe. A context manager: leaving it closes the channel. In a forked child it raises
    ForkedError; after close(), ClosedError.
    """

    _watch = Watch.__new__(Watch)  # a closed one, until all is there

    def __init__(self) -> None:
        # The listener's lock guards the rest. Its events are made before they are wanted, so that
        # the way from a byte to its event is short.
        watch = Watch()
        self._listener = watch.listener
        self._records: dict[int, Record] = {}
        self._offers: dict[Record, Offer] = {}
        self._workers = Workers(watch, self._records)
        self._server = Server(self._workers.enrol, self._workers.adopted)
        self._unspawned: list[weakref.ref[Copy]] = []
        self._loops = Loops(watch)
        self._made = 0
        self._watch = watch
        _channels.add(self)

    # ---- giving ends to children ------------------------------------------------------

    def child(
        self,
        name: str | None = None,
        *,
        secrets: Mapping[str, Arena] | None = None,
        timeout: float | None = 60,
        uses: int | None = 1,
        any_namespace: bool = False,
    ) -> LockdownChild:
        """A new child's ends, to be passed on with popen_args(), fds and env, or as an
        argument of a multiprocessing.Process.

        `secrets` are what the child may get with adopt(name), once each, until `timeout`
        seconds after its start (None: no limit). `uses` says how many processes may come with
        these ends, one after another or at once (None: any number). Each of them gets every
        secret, and is heard of separately. With `any_namespace` a process is served, too, whose
        number another PID namespace hides. OSError: no descriptors are left. ValueError,
        WipedError: a closed or wiped arena.
        """
        if uses is not None and (not isinstance(uses, int) or isinstance(uses, bool)):
            raise TypeError(f"uses is a number of processes, or None, not {type(uses)!r}")
        if uses is not None and uses < 1:
            raise ValueError("uses is a number of processes, at least 1, or None")
        offer = None
        if secrets is not None or uses != 1:
            offer = Offer(secrets or {}, timeout, uses, any_namespace=any_namespace)
        with self._listener:
            self._watch.check()
            self._made += 1
            record = Record(f"child-{self._made}" if name is None else str(name), uses)
            try:
                read, copy = self._open(record, offer)
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE):
                    raise
                soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
                raise OSError(
                    error.errno,
                    f"{os.strerror(error.errno)} (RLIMIT_NOFILE is {soft}): a child takes one "
                    "descriptor, two until it is started; raise it with ulimit -n",
                ) from None
            self._records[read] = record
            if offer is not None:
                self._offers[record] = offer
            return LockdownChild(record, copy)

    def offer(
        self,
        secrets: Mapping[str, Arena],
        *,
        name: str | None = None,
        timeout: float | None = None,
        any_namespace: bool = False,
    ) -> LockdownChild:
        """An object for workers that another library starts, passed as an argument or by fork.
        Each worker calls its install(), and then adopt().

        It is like child(), for any number of processes and without a time limit. Keep the
        result as long as workers may be started. It can be pickled while multiprocessing starts
        one.
        """
        return self.child(
            name, secrets=secrets, timeout=timeout, uses=None, any_namespace=any_namespace
        )

    def _open(self, record: Record, offer: "Offer | None") -> tuple[int, Copy]:
        """The pipe, and the socket for the secrets."""
        read, write = os.pipe()
        fds = [write]
        try:
            if offer:
                ours, theirs = socket_pair()
                fds.append(theirs.detach())
                offer.record, record.giver = record, weakref.ref(offer)
                self._server.add(ours, offer)
            os.set_blocking(read, False)
            self._listener.expect(read, event(LockdownKind.FATAL, record))
            self._watch.poller.add(read)
        except BaseException:
            self._listener.forget(read)
            for fd in (read, *fds):
                os.close(fd)
            if offer:
                self._server.remove(offer)
            raise
        copy = Copy(
            fds,
            offer.start if offer else None,
            offer.locks if offer else (),
            kept=record.uses != 1,
        )
        self._unspawned = [ref for ref in self._unspawned if ref()]
        self._unspawned.append(weakref.ref(copy))
        return read, copy

    def popen_args(
        self,
        env: Mapping[str, str] | None = None,
        pass_fds: Iterable[int] = (),
        *,
        name: str | None = None,
        secrets: Mapping[str, Arena] | None = None,
    ) -> PopenArgs:
        """Keyword arguments that give one more child its end, for subprocess.Popen and
        asyncio.create_subprocess_exec: `env` and `pass_fds`, the caller's own merged in.

        For one start, as child(name, secrets=secrets).popen_args(env, pass_fds).
        """
        return self.child(name, secrets=secrets).popen_args(env, pass_fds)

    # ---- hearing of them ----------------------------------------------------------------

    wait = _Waiter.wait

    def _prepare(
        self, timeout: float | None
    ) -> "tuple[_Listener[LockdownEvent], int, int, float | None]":
        """For wait(): what it waits with, how long and until when."""
        if timeout is not None and math.isnan(timeout):
            raise ValueError("the timeout is not a number")
        end = None if timeout is None else time.monotonic() + timeout
        if self._unspawned:
            self._release_mine()
        ms = milliseconds(timeout) if blocks() else 0
        return self._listener, self._watch.fileno(), ms, end

    def _go_on(self, end: float | None) -> LockdownEvent | None:
        """For wait(), which heard nothing yet."""
        while True:
            timeout = None if end is None else end - time.monotonic()
            if timeout is not None and timeout <= 0:
                with self._listener:
                    self._watch.check()
                return None
            if not blocks():
                self._watch.let_others_run(timeout)
                timeout = 0
            event = self._listen(timeout)
            if event is not None:
                return event

    def _listen(self, timeout: float | None) -> LockdownEvent | None:
        """What comes within that time. None: nothing, or nothing new, or not yet.

        One byte at a time, so that fileno() stays readable while there is more.
        """
        return self._listener.listen(self._watch.fileno(), milliseconds(timeout), self)

    def _left(self) -> None:
        """One waits less, and the channel was closed meanwhile."""
        with self._listener:
            self._watch.destroy()

    def _said(self, fd: int, byte: bytes) -> LockdownEvent | None:
        """With the lock held: what a byte says but for a fatal marker, or b"" of the end;
        None: nothing new."""
        if fd == self._workers.fd:
            return self._workers.said()
        record = self._records.get(fd)
        if record is None:  # closed meanwhile, by a signal's handler
            return None
        if byte == b"L":
            self._listener.expect(fd, event(LockdownKind.FATAL, record))
            return event(LockdownKind.LOCKDOWN, record)
        told = None if byte else self._workers.before(record)
        if told:  # the end can be heard once more
            return told
        fell = self._drop(fd) is None
        if fell and not byte:
            return None
        return event(LockdownKind.GARBAGE if byte else LockdownKind.CLOSED, record)

    def _release_mine(self) -> None:
        me = threading.get_ident()
        with self._listener:
            copies = [(ref, ref()) for ref in self._unspawned]
            mine = [copy for _, copy in copies if copy and copy.thread == me and not copy.kept]
            self._unspawned = [ref for ref, copy in copies if copy and copy not in mine]
        for copy in mine:
            copy.close()

    def fileno(self) -> int:
        """A descriptor that is readable while there may be an event, for selectors and
        event loops: then call wait(0), which may still give None."""
        return self._watch.fileno()

    def __iter__(self) -> Self:
        with self._listener:
            self._watch.check()
        return self

    def __next__(self) -> LockdownEvent:
        """The next event; the iteration ends when the channel is closed."""
        try:
            event = self.wait()
        except ForkedError:
            raise
        except ValueError:
            raise StopIteration from None
        assert event  # noqa: S101 - without a timeout
        return event

    def __aiter__(self) -> Self:
        with self._listener:
            self._watch.check()
        return self

    async def __anext__(self) -> LockdownEvent:
        """The next event; the iteration ends when the channel is closed."""
        while True:
            try:
                event = self._listen(0)
            except ForkedError:
                raise
            except ValueError:
                raise StopAsyncIteration from None
            if event:
                return event
            await self._loops.readable()

    def on_event(self, callback: Callable[[LockdownEvent], object]) -> threading.Thread:
        """Call `callback` with each event, on a daemon thread of its own, until the channel
        is closed; returns the thread.

        An exception in the callback goes to threading.excepthook, and the thread goes on.
        TypeError: it cannot be called.
        """
        if not callable(callback):
            raise TypeError(f"a callback is a callable, not {type(callback)!r}")
        with self._listener:
            self._watch.check()
        thread = threading.Thread(
            target=deliver, args=(self, callback), name="secalloc-lockdown", daemon=True
        )
        thread.start()
        return thread

    # ---- the end --------------------------------------------------------------------------

    def close(self) -> None:
        """Hear no more: closes all ends that are the parent's, also of children that were
        not started. Iterations and on_event threads end. Harmless when repeated; the
        children live on, and their markers go nowhere."""
        watch = self._watch
        with self._listener:
            if watch.closed:
                return
            watch.closed = True
            for fd in list(self._records):
                self._drop(fd)
            for offer in list(self._offers.values()):
                self._server.remove(offer)
            self._offers.clear()
            self._workers.close()
            copies = [ref() for ref in self._unspawned]
            self._unspawned.clear()
            watch.end()
            self._loops.closed()
            watch.destroy()
        for copy in copies:
            if copy:
                copy.close()

    @property
    def closed(self) -> bool:
        """Whether it was closed, or belongs to the process that this one was forked from."""
        return self._watch.closed

    def __enter__(self) -> Self:
        with self._listener:
            self._watch.check()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._watch.closed:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            listener = Attempt(self._listener.attempt, self._listener.__exit__)
            locks = [lock for offer in self._offers.values() for lock in offer.locks]
            finish([listener, self._server.attempt, *locks], self.close)

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{len(self._records)} children"
        return f"<secalloc.LockdownChannel, {state}>"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a channel stays in its process: pass a child what channel.child() gives")

    def _drop(self, fd: int) -> LockdownEvent | None:
        """With the lock held: a child is not heard of any more; what it would have been."""
        record = self._records.pop(fd, None)
        fall = self._listener.forget(fd)
        if record is None:  # by a signal's handler, meanwhile
            return fall
        self._watch.poller.remove(fd)
        os.close(fd)
        self._workers.left(fd)
        if record.uses == 1 and record in self._offers:  # else others may be there
            self._server.remove(self._offers.pop(record))
        return fall

    def _forked(self) -> None:
        """In a child: give up what is the parent's, and touch nothing that is shared."""
        self._watch.forked()
        fds = list(self._records)
        self._server.forked()
        fds += self._workers.forked()
        self._records.clear()
        self._offers.clear()
        self._loops.forked()
        self._unspawned.clear()
        for fd in fds:
            os.close(fd)


_channels: "weakref.WeakSet[LockdownChannel]" = weakref.WeakSet()


def _forked() -> None:
    for channel in list(_channels):
        channel._forked()
    _channels.clear()


os.register_at_fork(after_in_child=_forked)


for _public in (LockdownChannel, LockdownChild, LockdownEvent, LockdownKind):
    _public.__module__ = "secalloc"
