"""The crash matrix: signal by thread kind by arena state, in the Python that runs this.

    deaths.py ROUNDS [SEED]

Each death is a process of its own. A native observer (spy.c) looks through all secretmem of
the process after the library's handler, before the process dies. The control: the same
with the handlers off, where the observer must find the secret.
"""

import ctypes
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import crash
import support

import secalloc
from secalloc import Arena, Protection

SECRET = os.urandom(64)
MASKED = bytes(byte ^ 0x5A for byte in SECRET)
PATIENCE = 30.0

FORCED = ["segv", "bus", "ill", "fpe", "trap", "sys", "abrt"]
SENT = ["SEGV", "BUS", "ABRT", "TERM", "HUP", "QUIT", "XCPU", "XFSZ"]
OPTIONAL = ["TERM", "HUP", "QUIT", "XCPU", "XFSZ"]
kept: list[Any] = []  # alive until the death


def secret(size: int) -> bytes:
    return (SECRET * (size // len(SECRET) + 1))[:size]


def filling() -> None:
    arena = Arena(5000)
    block = arena.open("w")
    block.__enter__()[:] = secret(5000)
    kept.extend((arena, block))


def written_again() -> None:
    arena = Arena(secret(3000))
    arena.clear()
    arena[:] = secret(3000)
    kept.append(arena)


def rotated() -> None:
    arena = Arena(secret(3000))
    for _ in range(3):
        arena.rotate()
    kept.append(arena)


def pooled() -> None:
    pool = secalloc.Pool()
    kept.extend((pool, [pool.alloc(secret(200)) for _ in range(50)]))


def exported() -> None:
    arena = Arena(secret(300))
    kept.extend((arena, memoryview(arena), arena[10:200]))


def many() -> None:
    sizes = [random.randrange(100, 20_000) for _ in range(60)]  # noqa: S311
    kept.extend(Arena(secret(size)) for size in sizes)


def sealed() -> None:
    arena = Arena(secret(300))
    arena.seal()  # type: ignore[attr-defined, unused-ignore]
    kept.append(arena)


def opened() -> None:
    arena = Arena(secret(300))
    arena.seal()  # type: ignore[attr-defined, unused-ignore]
    block = arena.open("r")  # type: ignore[arg-type, unused-ignore]
    kept.extend((arena, block, block.__enter__()))


STATES: dict[str, Callable[[], None]] = {
    "small": lambda: kept.append(Arena(secret(100))),
    "large": lambda: kept.append(Arena(secret(300_000))),
    "pooled": pooled,
    "exported": exported,
    "being filled": filling,
    "written again": written_again,
    "rotated": rotated,
    "joined": lambda: kept.append(Arena(secret(100)) + secret(2000)),
    "many": many,
}
if hasattr(Arena, "seal"):
    STATES.update({"sealed": sealed, "opened": opened})


def touched(fall: Callable[[], None]) -> None:
    Arena(1)
    fall()


def together(fall: Callable[[], None]) -> None:
    threads = [threading.Thread(target=touched, args=(fall,)) for _ in range(4)]
    for thread in threads:
        thread.start()


THREADS: dict[str, Callable[[Callable[[], None]], None]] = {
    "main": lambda fall: fall(),
    "thread": lambda fall: crash.on_thread(touched, fall),
    "thread that never touched the library": crash.on_thread,
    "one of many threads": together,
}


def child(cause: str, thread: str, state: str, armed: bool, report: int) -> None:
    """Die."""
    signal.alarm(20)
    number = int(getattr(signal, "SIG" + cause.upper()))
    spy = ctypes.CDLL(support.spy())
    spy.spy_watch(None, ctypes.c_size_t(0), MASKED, len(MASKED) // 2)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    on_top = cause in OPTIONAL
    if not on_top:
        assert spy.spy_install(number, report, 0) == 0
    if not armed:
        secalloc.disarm()
    secalloc.set_lockdown_fd(report)
    STATES[state]()
    if on_top:
        assert spy.spy_on_top(number, report) == 0

    def fall() -> None:
        if cause in FORCED:
            crash.fault(cause)
        signal.raise_signal(number)

    THREADS[thread](fall)
    time.sleep(10)


def death(cause: str, thread: str, state: str, armed: bool) -> tuple[int, bytes]:
    """The exit and what was said of one death."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            child(cause, thread, state, armed, write)
        finally:
            os._exit(99)
    os.close(write)
    said = b""
    while piece := os.read(read, 4096):
        said += piece
    os.close(read)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said


def main() -> int:
    rounds = int(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    support.spy()
    pid = os.fork()  # the vault must not start here: each child is to start its own
    if pid == 0:
        os._exit(0 if Protection.SECRETMEM in Arena(1).protection else 1)
    if os.waitpid(pid, 0)[1]:
        print("skipped: the observer looks through secretmem, which this machine does not have")
        return 0
    start, deaths, seen, wrong, controls = time.monotonic(), 0, 0, 0, 0
    for turn in range(rounds):
        random.seed(seed + turn)
        for cause in FORCED + SENT:
            number = -int(getattr(signal, "SIG" + cause.upper()))
            for thread in THREADS:
                for state in STATES:
                    code, said = death(cause, thread, state, True)
                    deaths += 1
                    seen += b"S" in said
                    # The default action is back before the observer on top may look, and
                    # another thread's signal then ends it.
                    unseen = cause in OPTIONAL and thread == "one of many threads"
                    good = code == number and (b"N" in said or unseen) and b"F" in said
                    if not good or b"S" in said:
                        wrong += 1
                        print(f"{cause}, {thread}, {state}: {code}, {said!r}", file=sys.stderr)
        for cause in FORCED + SENT:
            for state in STATES:
                code, said = death(cause, "main", state, False)
                controls += 1
                if said != b"S":
                    wrong += 1
                    print(f"disarmed, {cause}, {state}: {code}, {said!r}", file=sys.stderr)
    version = ".".join(map(str, sys.version_info[:3]))
    print(
        f"Python {version}: {deaths} deaths in {time.monotonic() - start:.0f} s, secrets seen: "
        f"{seen}; {controls} deaths disarmed, in which each was seen; wrong: {wrong}"
    )
    return 1 if wrong or not deaths else 0


if __name__ == "__main__":
    sys.exit(main())
