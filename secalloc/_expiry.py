"""Arenas that are cleared by themselves: one thread, while there are any, looks after all."""

import sys
import time
from _weakref import ref
from heapq import heappop, heappush
from math import isfinite
from os import register_at_fork
from typing import Any

from secalloc._core import Arena, _uses, _watch
from secalloc._original import original

_CLOCK = time.CLOCK_BOOTTIME if sys.platform == "linux" else time.CLOCK_MONOTONIC_RAW
_LONGEST = 1.0
"""Seconds that the thread waits at once: what it waits by stands still in suspend."""
_STEP = 0.02
"""Seconds between looks at a block that is waited for."""

_start: Any = original("_thread", "start_new_thread")
_new_lock: Any = original("_thread", "allocate_lock")
_new_rlock: Any = original("_thread", "RLock")


def _now() -> float:
    """Seconds of a clock that runs on while the machine sleeps; that of the core's `_uses`."""
    return time.clock_gettime(_CLOCK)


class _Entry:
    """When an arena is to be cleared."""

    __slots__ = ("after", "arena", "due", "grace", "idle", "key", "until")

    def __init__(self, arena: Arena, after: float, idle: bool, grace: float) -> None:
        self.key = id(arena)
        self.arena = ref(arena, self.forget)
        self.after = after
        self.idle = idle
        self.grace = grace
        self.due = _now() + after
        self.until = 0.0  # an open block is waited for until then; 0: none was met

    def forget(self, _arena: object = None) -> None:
        """The arena is gone, or the entry is not wanted any more."""
        with _lock:
            if _entries.get(self.key) is self:
                del _entries[self.key]

    def __lt__(self, other: "_Entry") -> bool:
        return self.due < other.due

    def look(self, now: float) -> bool:
        """Whether it is to be cleared now; else when to look again is set, or it is forgotten."""
        arena = self.arena()
        uses = None if arena is None else _uses(arena)
        if uses is None:
            self.forget()
            return False
        lent, open_, last = uses
        if self.idle:
            last = now if lent else min(last, now)
            if last + self.after > now:
                self.due = last + self.after
                self.until = 0.0
                return False
        if not open_:
            return True
        self.until = self.until or now + self.grace
        self.due = min(now + _STEP, self.until)
        return now >= self.until


_lock = _new_rlock()
_bell = _new_lock()  # held, but for when the thread is to look again
_entries: dict[int, _Entry] = {}
_heap: list[_Entry] = []
_running = False


def _ring() -> None:
    try:  # noqa: SIM105 - contextlib is large
        _bell.release()
    except RuntimeError:  # it was rung already
        pass


def _take_due() -> tuple[list[Arena], float | None]:
    """Arenas to be cleared now, and the seconds until the next look; None: there is none."""
    now = _now()
    due: list[Arena] = []
    while _heap and _heap[0].due <= now:
        entry = heappop(_heap)
        if _entries.get(entry.key) is not entry:
            continue
        if not entry.look(now):
            if _entries.get(entry.key) is entry:
                heappush(_heap, entry)
            continue
        arena = entry.arena()
        entry.forget()
        if arena is not None:
            due.append(arena)
    if not _entries:
        _heap.clear()
        return due, None
    return due, max(_heap[0].due - now, 0.0) if _heap else _LONGEST


def _serve() -> None:
    global _running  # noqa: PLW0603
    arena: Arena | None
    while True:
        with _lock:
            due, wait = _take_due()
            if wait is None:
                _running = False
        for arena in due:
            try:
                _watch(arena, False)
                arena.clear()
            except Exception:  # noqa: S110 - it was closed meanwhile
                pass
        del due[:]
        arena = None  # held no longer
        if wait is None:
            return
        _bell.acquire(timeout=min(wait, _LONGEST))


def _seconds(value: Any, name: str) -> float:
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} is a number of seconds, not {type(value)}")
    seconds = float(value)
    if not isfinite(seconds) or seconds < 0:
        raise ValueError(f"{name} is a number of seconds, 0 or more")
    return seconds


def expire(arena: Arena, after: float | None, idle: bool, grace: float) -> None:
    """What Arena.expire() says."""
    global _running  # noqa: PLW0603
    grace = _seconds(grace, "grace")
    if after is None:
        with _lock:
            _entries.pop(id(arena), None)
        _watch(arena, False)
        return
    entry = _Entry(arena, _seconds(after, "after"), idle, grace)
    _watch(arena, idle)
    with _lock:
        _entries[entry.key] = entry
        heappush(_heap, entry)
        if len(_heap) > 64 + 2 * len(_entries):  # of entries that others took the place of
            _heap[:] = sorted(_entries.values())
        start, _running = not _running, True
    if start:
        try:
            _start(_serve, ())
        except BaseException:
            with _lock:
                _running = False
            entry.forget()
            raise
    else:
        _ring()


def _in_child() -> None:
    """Neither the thread nor the arenas came along."""
    global _lock, _bell, _running
    _lock, _bell, _running = _new_rlock(), _new_lock(), False
    _bell.acquire()
    _entries.clear()
    _heap.clear()


_bell.acquire()
register_at_fork(after_in_child=_in_child)
