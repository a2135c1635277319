"""What the workers of the tests do; multiprocessing imports it by name."""

import ctypes
import hashlib
import os
import resource
import time
from typing import Any

import secalloc


class Kept:
    """The worker's key."""

    key: secalloc.Arena


def told(arena: secalloc.Arena) -> str:
    """What is told of a key."""
    return hashlib.sha256(arena).hexdigest()


def begin(offer: secalloc.LockdownChild) -> None:
    """An initializer."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    offer.install()
    Kept.key = secalloc.adopt("key", size=32)


def digest(number: int) -> tuple[str, int]:
    """What a worker makes of its key, and which it is."""
    time.sleep(0.001 * (number % 3))
    return told(Kept.key), os.getpid()


def fall() -> None:
    """A fault."""
    ctypes.memset(Kept.key.address + Kept.key.size, 0, 1)


def together(child: secalloc.LockdownChild, barrier: Any, wanted: str) -> None:
    """Ask at the same moment as another."""
    child.install()
    barrier.wait(60)
    for name in ("key", "other"):
        with secalloc.adopt(name) as key:
            assert told(key) == wanted
