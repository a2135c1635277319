"""What all who wait on a channel share: its lock, its set of descriptors, and their end."""

import os

from secalloc._channel.events import LockdownEvent
from secalloc._channel.patched import let_others_run
from secalloc._channel.poller import Poller
from secalloc._core import ClosedError, ForkedError, _Listener


class Watch:
    """The set that a channel waits on, and who waits there.

    Those who wait are counted: the last of them gives the set up when the channel is closed.
    The listener's lock guards all of it.
    """

    closed = True  # until all of it is there

    def __init__(self) -> None:
        self._process = os.getpid()
        self.listener: _Listener[LockdownEvent] = _Listener()
        self.poller = Poller()
        self._woken, self._waker = os.pipe()
        self.poller.add(self._woken)
        self._set = self.poller.fileno()
        self.closed = False

    def check(self) -> None:
        """With the lock held. ForkedError, ClosedError: it is the parent's, or closed."""
        if self._process != os.getpid():
            raise ForkedError(
                "the channel belongs to the parent process: make a new one in this process"
            )
        if self.closed:
            raise ClosedError("the channel is closed: make a new one")

    def fileno(self) -> int:
        """The set's descriptor."""
        with self.listener:
            self.check()
            return self._set

    def leave(self) -> None:
        """One who was counted does not wait any more."""
        with self.listener:
            self.listener.count(-1)
            if self.closed:
                self.destroy()

    def let_others_run(self, timeout: float | None) -> None:
        """Until there may be an event: by the select() of a library whose tasks share a
        thread, as gevent's and eventlet's do."""
        with self.listener:
            self.check()
            self.listener.count(1)
        try:
            let_others_run(self._set, timeout)
        finally:
            self.leave()

    def end(self) -> None:
        """With the lock held, and closed: hear nothing more, and wake those who wait."""
        self.listener.close()
        os.close(self._waker)  # those who wait see the end of the pipe

    def destroy(self) -> None:
        """With the lock held, and closed: what is left, unless somebody waits there."""
        if self._woken >= 0 and not self.listener.count(0):
            self.poller.close()
            os.close(self._woken)
            self._woken = -1

    def forked(self) -> None:
        """In a child: give up the copies of what is the parent's, and touch nothing shared."""
        self.listener.forked()  # the lock's holder may not exist here
        if self._woken < 0:
            return
        fds = [self._woken, *([] if self.closed else [self._waker])]
        self.closed = True
        self.poller.forked()
        self._woken = -1  # nothing is left to destroy
        for fd in fds:
            os.close(fd)
