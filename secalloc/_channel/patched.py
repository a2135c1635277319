"""Waiting where gevent or eventlet patched the standard library: other tasks of the thread run."""

import math
import select
from types import BuiltinFunctionType


def let_others_run(fd: int, timeout: float | None) -> None:
    """Until a descriptor can be read, by the select() that there is."""
    if hasattr(select, "poll"):  # which takes any descriptor; eventlet has none
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        poller.poll(None if timeout is None else milliseconds(timeout))
    else:
        select.select([fd], [], [], timeout)


def blocks() -> bool:
    """Whether select() is the standard library's: nothing else runs in this thread meanwhile."""
    return isinstance(select.select, BuiltinFunctionType)


def milliseconds(timeout: float | None) -> int:
    """Rounded up, and not past what the kernel takes; -1: no limit."""
    return -1 if timeout is None else math.ceil(min(max(timeout, 0), 1e6) * 1000)
