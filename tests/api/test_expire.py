"""Arenas that are cleared by themselves, after a time or when they have not been used for one."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from crash import SECRET, secret
from support import HANGS, check

from secalloc import Arena, WipedError, _core, _expiry


def until(done: Callable[[], bool]) -> None:
    """Wait for what is due; a busy machine has its time."""
    end = time.monotonic() + HANGS
    while not done():
        assert time.monotonic() < end
        time.sleep(0.005)


def after_another(seconds: float = 0.05) -> None:
    """Long enough for the thread to have served what was due by now."""
    other = secret()
    other.expire(seconds)
    until(lambda: other.wiped)


def test_after_a_time(make: Callable[..., Arena]) -> None:
    arena, kept, sealed = make(), make(), secret()
    sealed.seal(encrypt=True)
    kept.expire(3600)
    sealed.expire(0)
    arena.expire(0.01)
    until(lambda: arena.wiped and sealed.wiped)
    with pytest.raises(WipedError):
        bytes(arena)
    assert kept == SECRET
    assert not kept.wiped
    kept.expire(None)


def test_none_cancels_and_the_last_call_counts() -> None:
    cancelled, later, sooner = secret(), secret(), secret()
    cancelled.expire(0.3)
    cancelled.expire(None)
    cancelled.expire(None)
    later.expire(0.3)
    later.expire(3600)
    sooner.expire(3600)
    sooner.expire(0)
    after_another(0.4)
    until(lambda: sooner.wiped)
    assert not cancelled.wiped
    assert not later.wiped
    later.expire(None)


def test_idle() -> None:
    """Whatever uses it puts it off, a live export all the while; looking at its size does not."""
    arena = secret()
    arena.expire(3600, idle=True)
    last = 0.0
    uses: list[Callable[[], object]] = [
        lambda: arena == SECRET,
        lambda: arena[3],
        lambda: arena.__setitem__(3, SECRET[3]),
        lambda: memoryview(arena).release(),
        lambda: arena.open("r").__enter__()[3],
    ]
    for use in uses:
        time.sleep(0.002)
        use()
        now = _core._uses(arena)
        assert now is not None
        assert now[2] > last
        last = now[2]
    for _ in range(10):
        assert (len(arena), arena.size, arena.wiped, bool(arena.address)) == (96, 96, False, True)
    now = _core._uses(arena)
    assert now is not None
    assert now[2] == last
    arena.expire(None)


def test_a_live_export_is_a_use() -> None:
    arena = secret()
    held = memoryview(arena)
    arena.expire(0.05, idle=True)
    after_another(0.3)
    assert held == SECRET
    held.release()
    until(lambda: arena.wiped)


def test_an_open_block_is_waited_for() -> None:
    arena = secret()
    with arena.open("r") as view:
        arena.expire(0, grace=HANGS)
        after_another()
        assert view == SECRET
    until(lambda: arena.wiped)


def test_but_not_for_ever() -> None:
    arena = secret()
    block = arena.open("r")
    block.__enter__()
    arena.expire(0, grace=0.05)
    until(lambda: arena.wiped)
    with pytest.raises(WipedError, match="while the block was open"):
        block.__exit__()


def test_a_clock_that_jumps(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a suspend: what is due by the clock goes, whatever the thread waits by."""
    arena, later = secret(), secret()
    arena.expire(3000)
    later.expire(9000)
    real = _expiry._now
    monkeypatch.setattr(_expiry, "_now", lambda: real() - 5000)
    after_another(0)
    assert not arena.wiped
    monkeypatch.setattr(_expiry, "_now", lambda: real() + 5000)
    until(lambda: arena.wiped)
    assert not later.wiped
    later.expire(None)


def test_it_keeps_no_arena_and_no_thread() -> None:
    """One thread for all, and none when there is nothing left to expire."""
    many = [Arena(SECRET) for _ in range(50)]
    for arena in many:
        arena.expire(3600)
        arena.expire(3600, idle=True)
    assert len(_expiry._entries) >= 50
    many[0].close()
    many.clear()
    del arena
    assert not _expiry._entries
    after_another()
    until(lambda: not _expiry._running)


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf"), -0.5])
def test_bad_times(bad: float) -> None:
    arena = secret()
    with pytest.raises(ValueError, match="seconds, 0 or more"):
        arena.expire(bad)
    with pytest.raises(ValueError, match="grace"):
        arena.expire(1, grace=bad)
    for wrong in ("1", b"1", True, object()):
        call: Any = arena.expire
        with pytest.raises(TypeError, match="number of seconds"):
            call(wrong)
    arena.close()
    with pytest.raises(ValueError, match="closed"):
        arena.expire(1)


def test_a_child_has_none_of_it() -> None:
    check("""
    a = secret(); a.expire(3600)
    def child():
        from secalloc import _expiry
        assert not _expiry._entries and not _expiry._running
        raises(secalloc.ForkedError, lambda a: a.expire(1), of=a)
        own = secret(); own.expire(0)
        while not own.wiped: time.sleep(0.005)
    assert child_of(child) == 0
    assert not a.wiped
    """)


def test_a_program_ends_whatever_is_to_expire() -> None:
    code = "import secalloc; a = secalloc.Arena(5); a.expire(3600); secalloc.Arena(5).expire(0)"
    child = subprocess.run(  # noqa: S603
        [sys.executable, "-P", "-c", code], timeout=HANGS, check=True, env={**os.environ}
    )
    assert child.returncode == 0
