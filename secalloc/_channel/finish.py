"""Finalizers that need locks: they never wait for one.

A garbage collection may come while its thread holds any lock. Were a finalizer to wait for another
one there, two threads could wait for each other.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from secalloc._channel.wire import start_thread

__all__ = ["Attempt", "finish"]


class Attempt(NamedTuple):
    """A lock that its holder may take again."""

    take: Callable[[], bool]
    """Without waiting; whether it was to be had."""
    give: Callable[[], object]


def finish(
    locks: Iterable[Attempt],
    do: Callable[[], None],
    *,
    _start: Callable[[Callable[[], None], tuple[()]], int] = start_thread,
) -> None:
    """Call it with all these locks held, or on a thread that may wait for them. Where none can be
    started it is left to the end of the process."""
    held: list[Attempt] = []
    try:
        for lock in locks:
            if not lock.take():
                break
            held.append(lock)
        else:
            do()
            return
    finally:
        for lock in reversed(held):
            lock.give()
    try:
        _start(do, ())
    except RuntimeError:
        return
