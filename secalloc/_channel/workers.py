"""Processes that came with ends which are for several: each gets a pipe of its own, by which its
parent hears of it; and what is told of all of them that came by no pipe."""

import os
from collections import deque
from contextlib import suppress

from secalloc._channel.child import LockdownChild, Record
from secalloc._channel.events import LockdownEvent, LockdownKind, adopted, event
from secalloc._channel.offer import Asker, Offer, Refused
from secalloc._channel.watch import Watch
from secalloc._channel.wire import GONE

MOST_TOLD = 10_000
"""Events that wait for somebody to hear them; of more the oldest are lost."""
SWEEP = 64
"""Processes of one channel from which on it is looked which of them are gone, though nobody
waits on it."""


class Workers:
    """The processes of a channel's shared ends. The listener's lock guards all of it."""

    def __init__(self, watch: Watch, records: dict[int, Record]) -> None:
        """`records` are the channel's own."""
        self._watch = watch
        self._records = records
        self._pipes: dict[int, tuple[Offer, Asker]] = {}
        self._told: deque[LockdownEvent] = deque(maxlen=MOST_TOLD)
        self._wake: tuple[int, int] | None = None
        self._made = 0

    # ---- from the threads that serve ---------------------------------------------------------

    def enrol(self, offer: Offer, asker: Asker) -> int:
        """A process's own pipe: where it is to write, which is the caller's. Refused: it is not
        to be had."""
        origin = offer.record
        assert origin  # noqa: S101 - set with its ends
        with self._watch.listener:
            if self._watch.closed:
                raise Refused(GONE, "the channel was closed")
            if len(self._pipes) >= SWEEP:
                self._sweep()
            self._made += 1
            record = Record(f"{origin.name}/{self._made}")
            record.pid, record.origin = asker.peer.pid or None, origin
            record.giver, record.asker = origin.giver, asker
            try:
                read, write = os.pipe()
            except OSError as error:
                raise Refused(
                    GONE, f"the parent has no descriptor left for it: {error.strerror}"
                ) from None
            os.set_blocking(read, False)
            self._watch.listener.expect(read, event(LockdownKind.FATAL, record))
            self._watch.poller.add(read)
            self._records[read] = record
            self._pipes[read] = offer, asker
            asker.record = record
            return write

    def adopted(self, offer: Offer, asker: Asker, name: str, given: bool) -> None:
        """Tell of it, if it is told: of a process that is one of several, or of what was given
        since."""
        record = asker.record or offer.record
        if record and (given or offer.uses != 1):
            with self._watch.listener:
                if record in self._records.values():  # else its end was told already
                    self._tell(adopted(record, name))

    # ---- with the lock held --------------------------------------------------------------

    def _tell(self, told: LockdownEvent) -> None:
        if self._watch.closed:
            return
        if self._wake is None:
            self._wake = os.pipe()
            for fd in self._wake:
                os.set_blocking(fd, False)
            self._watch.listener.expect(self.fd, told)  # any: no marker comes that way
            self._watch.poller.add(self.fd)
        self._told.append(told)
        with suppress(BlockingIOError):  # there are as many bytes as events, at least
            os.write(self._wake[1], b"+")

    @property
    def fd(self) -> int:
        """Where a byte comes for each event that came by no pipe; -1: nowhere yet."""
        return self._wake[0] if self._wake else -1

    def said(self) -> LockdownEvent | None:
        """What the byte stands for."""
        return self._told.popleft() if self._told else None

    def before(self, record: Record) -> LockdownEvent | None:
        """What is to be told of a child before its end is."""
        for told in self._told:
            if told.child == LockdownChild(record, None):
                self._told.remove(told)
                with suppress(BlockingIOError):  # the byte for it
                    os.read(self.fd, 1)
                return told
        return None

    def left(self, fd: int) -> None:
        """That pipe is closed."""
        known = self._pipes.pop(fd, None)
        if known:
            offer, asker = known
            offer.forget(asker)

    def _sweep(self) -> None:
        """Close the pipes whose writers are gone: what they said last is told all the same."""
        for fd in list(self._pipes):
            try:
                last = os.read(fd, 4096)
            except BlockingIOError:
                continue  # it lives, and said nothing
            except OSError:
                last = b""
            record = self._records[fd]
            kind = LockdownKind.FATAL if b"F" in last else LockdownKind.LOCKDOWN
            if last.strip(b"FL"):
                kind = LockdownKind.GARBAGE
            if last:
                if kind is not LockdownKind.LOCKDOWN:
                    self._watch.listener.expect(fd, None)  # its end is nothing new
                self._tell(event(kind, record))
                continue
            if self._watch.listener.forget(fd) is not None:
                self._tell(event(LockdownKind.CLOSED, record))
            del self._records[fd]
            self._watch.poller.remove(fd)
            os.close(fd)
            self.left(fd)

    def close(self) -> None:
        """Tell of nothing any more."""
        if self._wake:
            self._watch.poller.remove(self.fd)
            self._watch.listener.forget(self.fd)
            for fd in self._wake:
                os.close(fd)
            self._wake = None
        self._told.clear()

    def forked(self) -> list[int]:
        """In a child: the descriptors that are to be closed."""
        fds = list(self._wake or ())
        self._wake = None
        self._told.clear()
        self._pipes.clear()
        return fds
