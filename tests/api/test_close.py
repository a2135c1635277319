"""Closing wipes at once, never fails, and leaves live exports their pages."""

import gc
import operator
from collections.abc import Callable
from typing import Any

import pytest
from crash import PAGE, SECRET, secret
from support import check, linux_only, run

import secalloc
from secalloc import Arena


def test_with_closes() -> None:
    with Arena(32) as key:
        assert isinstance(key, Arena)
        assert not key.closed
    assert key.closed
    with pytest.raises(KeyError), Arena(32) as key:
        raise KeyError
    assert key.closed


def test_close_is_idempotent() -> None:
    arena = secret()
    for _ in range(3):
        arena.close()
        assert arena.closed


def test_what_still_answers() -> None:
    arena = secret()
    arena.close()
    assert arena.closed
    assert arena.wiped
    assert (arena.size, len(arena)) == (len(SECRET), len(SECRET))
    assert "closed" in repr(arena)


@pytest.mark.parametrize(
    "use",
    [
        lambda a: a[0],
        lambda a: a[1:2],
        lambda a: operator.setitem(a, 0, 1),
        lambda a: operator.setitem(a, slice(None), SECRET),
        bytes,
        memoryview,
        lambda a: a + b"x",
        lambda a: b"x" + a,
        lambda a: a < b"x",
        Arena.clear,
        Arena.rotate,
        Arena.check,
        lambda a: a.open("w").__enter__(),
        Arena.__enter__,
        Arena,
        secalloc.rotate,
        secalloc.clear,
        secalloc.take,
        secalloc.concat,
        lambda a: secalloc.compare_digest(a, SECRET),
        lambda a: a.address,
    ],
)
def test_anything_else_raises(use: Callable[[Any], object]) -> None:
    arena = secret()
    arena.close()
    with pytest.raises(ValueError, match="closed"):
        use(arena)


def test_views_of_a_closed_arena() -> None:
    arena = secret()
    view = arena[2:6]
    arena.close()
    for use in (bytes, memoryview, lambda v: v[0], lambda v: v < b"x"):
        with pytest.raises(ValueError, match="closed"):
            use(view)
    assert "closed" in repr(view)
    assert len(view) == 4


def test_exports_see_noise_at_once() -> None:
    arena = secret()
    whole, part = memoryview(arena), memoryview(arena[10:30])
    arena.close()
    assert arena.closed
    assert not any(SECRET[i : i + 8] in whole.tobytes() for i in range(len(SECRET) - 8))
    assert part.tobytes() == whole.tobytes()[10:30]
    whole.release()
    part[0] = 1
    part.release()
    arena.close()


@linux_only
def test_pages_go_when_the_last_export_does() -> None:
    for size in (100, 40 * PAGE):
        check(f"""
            a = secret({size})
            address = a.address
            one, two = memoryview(a), memoryview(a[3:])
            a.close()
            assert readable(address)
            one.release()
            assert readable(address)
            two.release()
            assert not readable(address)
        """)


@linux_only
def test_a_stale_pointer_faults_after_close() -> None:
    for size in (100, 40 * PAGE):
        fate = run(f"""
            a = secret({size})
            address = a.address
            ctypes.string_at(address, 1)
            a.close()
            ctypes.string_at(address, 1)
        """).fate
        assert fate == (-11, b"F")


def test_deallocation_closes() -> None:
    before = secalloc.status()
    arenas = [secret(n) for n in (1, 5000, 100_000)]
    assert secalloc.status().arenas == before.arenas + 3
    assert secalloc.status().bytes == before.bytes + 105_001
    del arenas
    gc.collect()
    assert secalloc.status().arenas == before.arenas
    assert secalloc.status().bytes == before.bytes


def test_in_a_reference_cycle() -> None:
    before = secalloc.status().arenas
    holder: dict[str, object] = {"key": secret()}
    holder["self"] = holder
    del holder
    gc.collect()
    assert secalloc.status().arenas == before


def test_arenas_alive_at_exit_end_the_process_well() -> None:
    end = run("""
        import atexit
        a = secret()
        keep = memoryview(a)
        large = secret(200_000)
        class Late:
            def __del__(self):
                os.write(1, b"late " + bytes([large[0]]).hex().encode() + b"\\n")
        late = Late()
        atexit.register(lambda: os.write(1, b"hook " + a[:1].__len__().__str__().encode() + b"\\n"))
        signal.late = late  # outlives the module
    """)
    assert end.fate == (0, b""), end
    assert "hook 1" in end.out
