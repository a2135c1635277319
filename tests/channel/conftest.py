"""Lets the threads of a channel end before the next test counts threads and descriptors."""

import os
import time
from collections.abc import Iterator

import pytest

SHORTLY = 2.0
"""Seconds at most: a test may leave a thread on purpose."""


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Waits after a test for the threads that it began; it judges nothing."""
    tasks = "/proc/self/task"
    if not os.path.isdir(tasks):
        yield
        return
    before = len(os.listdir(tasks))
    yield
    end = time.monotonic() + SHORTLY
    while len(os.listdir(tasks)) > before and time.monotonic() < end:
        time.sleep(0.005)
