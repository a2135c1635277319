"""Which of many descriptors can be read, behind one descriptor that others can watch."""

import sys
from typing import Any

from secalloc._original import original

if sys.platform == "linux":
    _epoll = original("select", "epoll")
    _IN = 1  # EPOLLIN

    class Poller:
        """An epoll set: thread-safe, level-triggered, itself readable when a member is."""

        def __init__(self) -> None:
            self._set = _epoll()

        def add(self, fd: int) -> None:
            """Watch a descriptor. OSError: the limit on watches is reached."""
            self._set.register(fd, _IN)

        def remove(self, fd: int) -> None:
            """Before it is closed: a copy of it in a forked child would keep it in the set."""
            self._set.unregister(fd)

        def wait(self) -> list[int]:
            """Which can be read, or are at their end; waits for one."""
            return [fd for fd, _ in self._set.poll(None, 16)]

        def fileno(self) -> int:
            """The descriptor of the set."""
            return int(self._set.fileno())

        def close(self) -> None:
            """Give it up; harmless when repeated."""
            self._set.close()

        def forked(self) -> None:
            """In a child: the set is the parent's too, so nothing is removed from it."""
            self._set.close()

else:
    _kqueue, _kevent = original("select", "kqueue"), original("select", "kevent")
    _READ, _ADD, _DELETE = -1, 1, 2  # KQ_FILTER_READ, KQ_EV_ADD, KQ_EV_DELETE
    _lost: list[Any] = []

    class Poller:
        """A kqueue, as the epoll set above."""

        def __init__(self) -> None:
            self._set = _kqueue()

        def add(self, fd: int) -> None:
            """Watch a descriptor."""
            self._change(fd, _ADD)

        def remove(self, fd: int) -> None:
            """Before it is closed."""
            self._change(fd, _DELETE)

        def _change(self, fd: int, flags: int) -> None:
            self._set.control([_kevent(fd, _READ, flags)], 0)

        def wait(self) -> list[int]:
            """Which can be read, or are at their end; waits for one."""
            return [event.ident for event in self._set.control(None, 16, None)]

        def fileno(self) -> int:
            """The descriptor of the set."""
            return int(self._set.fileno())

        def close(self) -> None:
            """Give it up; harmless when repeated."""
            self._set.close()

        def forked(self) -> None:
            """In a child the kernel closed it, and another file may have its number: it is
            kept for ever, as its end would close that one."""
            _lost.append(self._set)
