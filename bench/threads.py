"""Two threads that make and close arenas in one pool, against one: on a free-threaded Python."""

import statistics
import sys
import threading
import time

import secalloc

ROUNDS, CALLS = 15, 60_000
BAR = 1.6


def work(pool: secalloc.Pool, start: threading.Barrier) -> None:
    """What is timed."""
    start.wait()
    for _ in range(CALLS):
        pool.alloc(32).close()


def rate(threads: int) -> float:
    """Arenas made and closed a second, by all threads together."""
    with secalloc.Pool() as pool:
        start = threading.Barrier(threads + 1)
        running = [threading.Thread(target=work, args=(pool, start)) for _ in range(threads)]
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
    pairs = [(rate(1), rate(2)) for _ in range(ROUNDS)]
    one, two = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(
        f"make, close in one pool: one thread {one:,.0f}/s, two {two:,.0f}/s: "
        f"{two / one:.2f} times, at least {BAR}"
    )


if __name__ == "__main__":
    main()
