"""Calling back with each event, on a thread of its own."""

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TypeVar

_T = TypeVar("_T")


def deliver(channel: Iterable[_T], callback: Callable[[_T], object]) -> None:
    """Call back with each event until the channel is closed, even where the callback raises."""
    for event in _until_closed(channel):
        try:
            callback(event)
        except BaseException:
            report()


def _until_closed(channel: Iterable[_T]) -> Iterator[_T]:
    try:
        yield from channel
    except ValueError:
        return  # closed, or another process, before the first


def report() -> None:
    """The exception being handled goes where a thread's do, and never further."""
    try:
        threading.excepthook(
            threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread()))
        )
    except BaseException:  # as threading does where the hook itself fails
        with suppress(BaseException):
            sys.excepthook(*sys.exc_info())
