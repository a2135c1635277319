"""Lockdown channels: a parent learns that a child's secrets are gone, and why."""

import errno
import math
import os
import resource
import select
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from enum import StrEnum
from types import BuiltinFunctionType, TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from secalloc import Arena, ForkedError
from secalloc._child import Copy, LockdownChild, PopenArgs, Record, socket_pair
from secalloc._core import _Listener, _Waiter
from secalloc._ready import Ready

if TYPE_CHECKING:
    import asyncio

__all__ = ["LockdownChannel", "LockdownChild", "LockdownEvent", "LockdownKind"]


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


class LockdownChannel(_Waiter):
    """Where a parent hears of the wipes of its children, each with an end of its own.

    Give each child an end with popen_args() or child(); then wait(), iterate, `async for`,
    on_event(), or watch fileno(). An event goes to one of those who wait. Thread-safe. A
    context manager: leaving it closes the channel. In a forked child it raises ForkedError;
    after close(), ValueError.
    """

    _closed = True  # until all of it is there

    def __init__(self) -> None:
        self._process = os.getpid()
        # Its lock guards the rest. What it is to tell is made before it is wanted: the way
        # from a byte to its event is short.
        self._listener: _Listener[LockdownEvent] = _Listener()
        self._records: dict[int, Record] = {}
        self._unspawned: list[weakref.ref[Copy]] = []
        self._futures: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        self._made = 0
        self._ready = Ready()
        self._woken, self._waker = os.pipe()
        self._ready.add(self._woken)
        self._closed = False
        _channels.add(self)

    # ---- giving ends to children ------------------------------------------------------

    def child(
        self,
        name: str | None = None,
        *,
        secrets: Mapping[str, Arena] | None = None,
        timeout: float | None = 60,
    ) -> LockdownChild:
        """A new child's ends, to be passed on with popen_args(), fds and env, or as an
        argument of a multiprocessing.Process.

        `secrets`: what the child may get with adopt(name), once each, until `timeout`
        seconds (None: no limit) after its start. OSError: no descriptors are left.
        """
        offer = None
        if secrets is not None:
            from secalloc._handover import Offer  # noqa: PLC0415 - only when it is wanted

            offer = Offer(secrets, timeout)
        with self._listener:
            self._check()
            self._made += 1
            record = Record(f"child-{self._made}" if name is None else str(name), offer)
            try:
                read, copy = self._open(record)
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
            return LockdownChild(record, copy)

    def _open(self, record: Record) -> tuple[int, Copy]:
        """The pipe, and the socket for the secrets."""
        read, write = os.pipe()
        fds = [write]
        try:
            if record.offer:
                ours, theirs = socket_pair()
                fds.append(theirs.detach())
                record.offer.connect(ours, record)
            os.set_blocking(read, False)
            self._listener.expect(read, _event(LockdownKind.FATAL, record))
            self._ready.add(read)
        except BaseException:
            self._listener.forget(read)
            for fd in (read, *fds):
                os.close(fd)
            if record.offer:
                record.offer.close()
            raise
        copy = Copy(fds, record.offer.start if record.offer else None)
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
        ms = _milliseconds(timeout) if _blocks() else 0
        return self._listener, self.fileno(), ms, end

    def _go_on(self, end: float | None) -> LockdownEvent | None:
        """For wait(), which heard nothing yet."""
        while True:
            timeout = None if end is None else end - time.monotonic()
            if timeout is not None and timeout <= 0:
                with self._listener:
                    self._check()
                return None
            if not _blocks():
                self._let_others_run(timeout)
                timeout = 0
            event = self._listen(timeout)
            if event is not None:
                return event

    def _let_others_run(self, timeout: float | None) -> None:
        """Until there may be an event: by the select() of a library whose tasks share a
        thread, as gevent's and eventlet's do."""
        with self._listener:
            self._check()
            fd = self._ready.fileno()
            self._listener.count(1)
        try:
            if hasattr(select, "poll"):  # which takes any descriptor; eventlet has none
                poller = select.poll()
                poller.register(fd, select.POLLIN)
                poller.poll(None if timeout is None else _milliseconds(timeout))
            else:
                select.select([fd], [], [], timeout)
        finally:
            self._watched_no_more()

    def _watched_no_more(self) -> None:
        """One watches the set less."""
        with self._listener:
            self._listener.count(-1)
            if self._closed:
                self._destroy()

    def _listen(self, timeout: float | None) -> LockdownEvent | None:
        """What comes within that time. None: nothing, or nothing new, or not yet.

        One byte at a time, so that fileno() stays readable while there is more.
        """
        return self._listener.listen(self.fileno(), _milliseconds(timeout), self)

    def _left(self) -> None:
        """One waits less, and the channel was closed meanwhile."""
        with self._listener:
            self._destroy()

    def _said(self, fd: int, byte: bytes) -> LockdownEvent | None:
        """With the lock held: what a byte says but for a fatal marker, or b"" of the end;
        None: nothing new."""
        record = self._records.get(fd)
        if record is None:  # closed meanwhile, by a signal's handler
            return None
        if byte == b"L":
            self._listener.expect(fd, _event(LockdownKind.FATAL, record))
            return _event(LockdownKind.LOCKDOWN, record)
        fell = self._drop(fd) is None
        if fell and not byte:
            return None
        return _event(LockdownKind.GARBAGE if byte else LockdownKind.CLOSED, record)

    def _release_mine(self) -> None:
        me = threading.get_ident()
        with self._listener:
            copies = [(ref, ref()) for ref in self._unspawned]
            self._unspawned = [ref for ref, copy in copies if copy and copy.thread != me]
        for _, copy in copies:
            if copy and copy.thread == me:
                copy.close()

    def fileno(self) -> int:
        """A descriptor that is readable while there may be an event, for selectors and
        event loops: then call wait(0), which may still give None."""
        with self._listener:
            self._check()
            return self._ready.fileno()

    def __iter__(self) -> Self:
        with self._listener:
            self._check()
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
            self._check()
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
            await self._readable()

    async def _readable(self) -> None:
        """Wait until there may be an event, or the channel is closed."""
        import asyncio  # noqa: PLC0415 - who gets here has it

        loop = asyncio.get_running_loop()
        future = loop.create_future()
        with self._listener:
            if self._closed:
                return
            waiting = self._futures.get(loop)
            if waiting is None:
                waiting = []
                loop.add_reader(self._ready.fileno(), _wake, waiting)
                self._futures[loop] = waiting
                self._listener.count(1)
            waiting.append(future)
        try:
            await future
        finally:
            waiting.remove(future)
            if not waiting:  # later: what comes first is the event
                try:
                    loop.call_soon(self._watch_no_more, loop)
                except RuntimeError:  # the loop is closed, and has forgotten the set
                    self._watched(loop)

    def _watch_no_more(self, loop: "asyncio.AbstractEventLoop") -> None:
        """In the loop: unless somebody waits again meanwhile."""
        if self._futures.get(loop) == []:
            loop.remove_reader(self._ready.fileno())
            self._watched(loop)

    def _watched(self, loop: "asyncio.AbstractEventLoop") -> None:
        """The loop does not know the set any more."""
        with self._listener:
            if self._futures.pop(loop, None) is not None:
                self._watched_no_more()

    def on_event(self, callback: Callable[[LockdownEvent], object]) -> threading.Thread:
        """Call `callback` with each event, on a daemon thread of its own, until the channel
        is closed; returns the thread.

        What the callback raises goes to threading.excepthook, and the thread goes on. TypeError:
        it cannot be called.
        """
        if not callable(callback):
            raise TypeError(f"a callback is a callable, not {type(callback)!r}")
        with self._listener:
            self._check()
        thread = threading.Thread(
            target=self._call, args=(callback,), name="secalloc-lockdown", daemon=True
        )
        thread.start()
        return thread

    def _call(self, callback: Callable[[LockdownEvent], object]) -> None:
        for event in _until_closed(self):
            try:
                callback(event)
            except BaseException:
                _report()

    # ---- the end --------------------------------------------------------------------------

    def close(self) -> None:
        """Hear no more: closes all ends that are the parent's, also of children that were
        not started. Iterations and on_event threads end. Harmless when repeated; the
        children live on, and their markers go nowhere."""
        with self._listener:
            if self._closed:
                return
            self._closed = True
            for fd in list(self._records):
                self._drop(fd)
            self._listener.close()
            copies = [ref() for ref in self._unspawned]
            self._unspawned.clear()
            os.close(self._waker)  # whoever waits sees the end of the pipe
            for loop in list(self._futures):
                if loop.is_closed():  # before it came to forget the set
                    del self._futures[loop]
                    self._listener.count(-1)
            self._destroy()
        for copy in copies:
            if copy:
                copy.close()

    @property
    def closed(self) -> bool:
        """Whether it was closed, or belongs to the process that this one was forked from."""
        return self._closed

    def __enter__(self) -> Self:
        with self._listener:
            self._check()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._records)} children"
        return f"<secalloc.LockdownChannel, {state}>"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a channel stays in its process: pass a child what channel.child() gives")

    def _check(self) -> None:
        """With the lock held."""
        if self._process != os.getpid():
            raise ForkedError(
                "the channel belongs to the parent process: make a new one in this process"
            )
        if self._closed:
            raise ValueError("the channel is closed: make a new one")

    def _drop(self, fd: int) -> LockdownEvent | None:
        """With the lock held: a child is not heard of any more; what it would have been."""
        record = self._records.pop(fd, None)
        fall = self._listener.forget(fd)
        if record is None:  # by a signal's handler, meanwhile
            return fall
        self._ready.remove(fd)
        os.close(fd)
        if record.offer:
            record.offer.close()
        return fall

    def _destroy(self) -> None:
        """With the lock held, and closed: what is left, unless somebody waits there."""
        if self._woken >= 0 and not self._listener.count(0):
            self._ready.close()
            os.close(self._woken)
            self._woken = -1

    def _forked(self) -> None:
        """In a child: give up what is the parent's, and touch nothing that is shared."""
        self._listener.forked()  # the lock's holder may not exist here
        if self._woken < 0:
            return
        fds = [*self._records, self._woken, *([] if self._closed else [self._waker])]
        self._closed = True
        self._ready.forked()
        for record in self._records.values():
            if record.offer:
                record.offer.forked()
        self._records.clear()
        self._futures.clear()
        self._unspawned.clear()
        self._woken = -1  # nothing is left to destroy
        for fd in fds:
            os.close(fd)


_channels: "weakref.WeakSet[LockdownChannel]" = weakref.WeakSet()


def _forked() -> None:
    for channel in list(_channels):
        channel._forked()
    _channels.clear()


os.register_at_fork(after_in_child=_forked)


def _blocks() -> bool:
    """Whether select() is the standard library's: nothing else runs in this thread meanwhile."""
    return isinstance(select.select, BuiltinFunctionType)


def _milliseconds(timeout: float | None) -> int:
    """Rounded up, and not past what the kernel takes; -1: no limit."""
    return -1 if timeout is None else math.ceil(min(max(timeout, 0), 1e6) * 1000)


def _event(kind: LockdownKind, record: Record) -> LockdownEvent:
    return LockdownEvent(kind, LockdownChild(record, None))


def _wake(futures: "list[asyncio.Future[None]]") -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


def _until_closed(channel: LockdownChannel) -> Iterable[LockdownEvent]:
    try:
        yield from channel
    except ValueError:
        return  # closed, or another process, before the first


def _report() -> None:
    """The exception being handled goes where a thread's do, and never further."""
    try:
        threading.excepthook(
            threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread()))
        )
    except BaseException:  # as threading does where the hook itself fails
        with suppress(BaseException):
            sys.excepthook(*sys.exc_info())


for _public in (LockdownChannel, LockdownChild, LockdownEvent, LockdownKind):
    _public.__module__ = "secalloc"
