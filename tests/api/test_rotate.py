"""Rotation: the same content at another address under other noise."""

import threading
import time
from collections.abc import Callable

import pytest
from crash import PAGE, SECRET, raw, secret
from support import check, linux_only, needs_lockable, run

import secalloc
from secalloc import Arena

Make = Callable[..., Arena]


@pytest.mark.parametrize(
    "size",
    [
        *(0, 1, 96, PAGE, PAGE + 904),
        # A rotation wants as much again: it moves nothing that is locked to what is not.
        *(pytest.param(n, marks=needs_lockable(4 * n)) for n in (16 * PAGE, 40 * PAGE + 1)),
    ],
)
@pytest.mark.parametrize("align", [1, 64, PAGE])
def test_content_moves(size: int, align: int) -> None:
    content = (SECRET * (size // len(SECRET) + 1))[:size]
    arena = secret(0) if size == 0 else Arena(content, align=align)
    for _ in range(3):
        old = arena.address
        arena.rotate()
        assert arena.address != old
        assert arena.address % (align if size else 1) == 0
        assert bytes(arena) == raw(arena) == content
        arena.check()


def test_the_function_is_the_method(make: Make) -> None:
    arena = make()
    old = arena.address
    secalloc.rotate(arena)
    assert arena.address != old
    for wrong in (b"x", bytearray(b"x"), None, arena[:]):
        with pytest.raises(TypeError):
            secalloc.rotate(wrong)  # type: ignore[arg-type]


def test_noise_is_rekeyed(make: Make) -> None:
    arena, other = make(), bytearray(64)
    secalloc.clear(other)
    before, keys = bytes(other), secalloc.status().rekeys
    arena.rotate()
    secalloc.clear(other)
    assert bytes(other) != before
    assert secalloc.status().rekeys > keys


@linux_only
def test_a_stale_pointer_faults() -> None:
    for size in (100, 40 * PAGE):
        end = run(f"""
            a = secret({size})
            old = a.address
            ctypes.string_at(old, 1)
            a.rotate()
            assert not readable(old)
            assert raw(a) == bytes(secret({size}))
            ctypes.string_at(old, 1)
        """)
        assert end.fate == (-11, b"F"), end


def test_with_exports_nothing_changes(make: Make) -> None:
    arena = make()
    for subject in (arena, arena[3:5]):
        with memoryview(subject) as seen:
            address, keys = arena.address, secalloc.status().rekeys
            for timeout in (0, 0.02):
                with pytest.raises(BufferError):
                    arena.rotate(timeout)
            assert arena.address == address
            assert secalloc.status().rekeys == keys
            assert bytes(seen) in SECRET
            assert bytes(arena) == SECRET
    arena.rotate()
    assert bytes(arena) == SECRET


def test_it_waits_for_exports(make: Make) -> None:
    arena = make()
    export = memoryview(arena)
    old = arena.address
    begun = threading.Event()

    def release() -> None:
        begun.wait()
        time.sleep(0.05)
        export.release()

    thread = threading.Thread(target=release)
    thread.start()
    begun.set()
    arena.rotate(timeout=60)
    thread.join()
    assert arena.address != old
    assert bytes(arena) == SECRET


@pytest.mark.parametrize("timeout", [-1, float("nan"), "1", None, 1j])
def test_bad_timeouts(make: Make, timeout: object) -> None:
    arena = make()
    old = arena.address
    with pytest.raises((TypeError, ValueError, OverflowError)):
        arena.rotate(timeout)  # type: ignore[arg-type]
    assert arena.address == old
    assert bytes(arena) == SECRET


@linux_only
def test_without_new_pages_nothing_changes() -> None:
    check("""
        size = 64 * mmap.PAGESIZE
        a = secret(size)
        address, content = a.address, bytes(a)
        with open("/proc/self/statm") as f:
            used = int(f.read().split()[0]) * mmap.PAGESIZE
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used, hard))
        try:
            a.rotate()
        except MemoryError:
            failed = True
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        assert failed and a.address == address and not a.wiped
        assert raw(a) == content and bytes(a) == content
        a.rotate()
        assert a.address != address and bytes(a) == content
    """)


def test_a_wiped_arena_stays_wiped(make: Make) -> None:
    arena = make()
    arena.clear()
    with pytest.raises(secalloc.WipedError):
        arena.rotate()
    assert arena.wiped
    with pytest.raises(secalloc.WipedError):
        bytes(arena)
    arena[:] = SECRET
    assert bytes(arena) == SECRET


def test_addresses_do_not_come_back_at_once(make: Make) -> None:
    arena = make()
    seen = []
    for _ in range(5):
        seen.append(arena.address)
        arena.rotate()
    assert all(a != b for a, b in zip(seen, [*seen[1:], arena.address], strict=True))
