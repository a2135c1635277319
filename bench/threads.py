"""Two threads that make and close arenas in one pool, against one: on a free-threaded Python.

Each thread looks `pool.alloc` up once. An interpreter that counts references to the pool at
every look-up (before 3.14) lets its threads wait for each other there, whatever the method
does: so the same loop with a look-up each time is printed too, beside a method that does
nothing.
"""

import statistics
import sys
import threading
import time
from collections.abc import Callable

import secalloc

ROUNDS, CALLS = 15, 60_000
BAR = 1.6


def once(pool: secalloc.Pool) -> None:
    """Make and close arenas with a method looked up once."""
    alloc = pool.alloc
    for _ in range(CALLS):
        alloc(32).close()


def each_time(pool: secalloc.Pool) -> None:
    """The same, looked up each time."""
    for _ in range(CALLS):
        pool.alloc(32).close()


def nothing(pool: secalloc.Pool) -> None:
    """A method that gives the pool itself, looked up each time."""
    for _ in range(CALLS):
        pool.__enter__()


def rate(threads: int, loop: Callable[[secalloc.Pool], None]) -> float:
    """Calls a second, by all threads together."""
    with secalloc.Pool() as pool:
        start = threading.Barrier(threads + 1)

        def work() -> None:
            start.wait()
            loop(pool)

        running = [threading.Thread(target=work) for _ in range(threads)]
        for thread in running:
            thread.start()
        start.wait()
        begun = time.perf_counter()
        for thread in running:
            thread.join()
        return threads * CALLS / (time.perf_counter() - begun)


def main() -> None:
    """Interleaved rounds; the medians' ratio."""
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        print("threads in one pool: this Python has a GIL, which lets one run at a time")
        return
    for loop, name, bar in (
        (once, "make, close in one pool", f", at least {BAR}"),
        (each_time, "the same, looked up each time", ""),
        (nothing, "a method that does nothing", ""),
    ):
        pairs = [(rate(1, loop), rate(2, loop)) for _ in range(ROUNDS)]
        one, two = (statistics.median(side) for side in zip(*pairs, strict=True))
        print(f"{name}: one thread {one:,.0f}/s, two {two:,.0f}/s: {two / one:.2f} times{bar}")


if __name__ == "__main__":
    main()
