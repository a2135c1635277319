"""Which of many descriptors can be read, behind one descriptor that others can watch."""

import select
import sys

if sys.platform == "linux":

    class Ready:
        """An epoll set: thread-safe, level-triggered, itself readable when a member is."""

        def __init__(self) -> None:
            self._set = select.epoll()

        def add(self, fd: int) -> None:
            """Watch a descriptor. OSError: the limit on watches is reached."""
            self._set.register(fd, select.EPOLLIN)

        def remove(self, fd: int) -> None:
            """Before it is closed: a copy of it in a forked child would keep it in the set."""
            self._set.unregister(fd)

        def fileno(self) -> int:
            """The descriptor of the set."""
            return self._set.fileno()

        def close(self) -> None:
            """Give it up; harmless when repeated."""
            self._set.close()

        def forked(self) -> None:
            """In a child: the set is the parent's too, so nothing is removed from it."""
            self._set.close()

else:
    _lost: list[select.kqueue] = []

    class Ready:
        """A kqueue, as the epoll set above."""

        def __init__(self) -> None:
            self._set = select.kqueue()

        def add(self, fd: int) -> None:
            """Watch a descriptor."""
            self._change(fd, select.KQ_EV_ADD)

        def remove(self, fd: int) -> None:
            """Before it is closed."""
            self._change(fd, select.KQ_EV_DELETE)

        def _change(self, fd: int, flags: int) -> None:
            self._set.control([select.kevent(fd, select.KQ_FILTER_READ, flags)], 0)

        def fileno(self) -> int:
            """The descriptor of the set."""
            return self._set.fileno()

        def close(self) -> None:
            """Give it up; harmless when repeated."""
            self._set.close()

        def forked(self) -> None:
            """In a child the kernel closed it, and another file may have its number: it is
            kept for ever, as its end would close that one."""
            _lost.append(self._set)
