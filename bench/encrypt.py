"""Sealing and opening with encryption and without, in processor time, as ratios of one run."""

import time

import secalloc

SIZES = {"32 bytes": 32, "4 KiB": 4096, "1 MiB": 1 << 20}


def round_trip(size: int, encrypt: bool, times: int) -> float:
    """Microseconds of a block on a sealed arena: opened, and sealed again."""
    arena = secalloc.random(size)
    arena.seal(encrypt=encrypt)
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        for _ in range(times):
            with arena.open("r"):
                pass
        best = min(best, (time.process_time() - start) / times)
    return best * 1e6


for name, size in SIZES.items():
    times = 20 if size > 1 << 16 else 300
    plain, encrypted = round_trip(size, False, times), round_trip(size, True, times)
    print(
        f"{name}: opened and sealed {plain:.1f} us; encrypted {encrypted:.1f} us, "
        f"{encrypted / plain:.0f} times"
    )
