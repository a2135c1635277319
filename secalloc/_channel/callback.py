"""Calling back with each event, on a thread of its own."""

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from secalloc._channel.events import LockdownEvent


def deliver(channel: Iterable[LockdownEvent], callback: Callable[[LockdownEvent], object]) -> None:
    """Call back with each event until the channel is closed, whatever the callback raises."""
    for event in _until_closed(channel):
        try:
            callback(event)
        except BaseException:
            _report()


def _until_closed(channel: Iterable[LockdownEvent]) -> Iterator[LockdownEvent]:
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
