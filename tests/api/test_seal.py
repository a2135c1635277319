"""Sealed arenas and pools, and the blocks that open them."""

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from crash import SECRET, raw, readable, secret
from support import GUARD_FAULT, TRIALS, check, dies

import secalloc
from secalloc import Arena, Pool, SealedError, WipedError


def pooled() -> Arena:
    return Pool().alloc(SECRET)


def seal(arena: Arena) -> "Arena | Pool":
    """Seal it, or the pool it lies in; what is to be opened."""
    target = arena if arena.pool is None else arena.pool
    target.seal()
    return target


@pytest.fixture(params=[secret, pooled, lambda: Arena(SECRET * 1000)], ids=["own", "pool", "large"])
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    made: Arena = request.param()
    yield made
    made.close()


def write_maps(arena: Arena) -> str:
    """The access of an arena's page, as the kernel tells it."""
    address = arena.address
    with open("/proc/self/maps") as maps:
        for line in maps:
            span, access = line.split()[:2]
            start, end = (int(part, 16) for part in span.split("-"))
            if start <= address < end:
                return access[:2]
    return "gone"


# ---- one arena ------------------------------------------------------------------------


def test_sealed_pages_are_inaccessible(arena: Arena) -> None:
    assert readable(arena.address)
    target = seal(arena)
    assert arena.sealed
    assert not readable(arena.address)
    with target.open("r"):
        assert not arena.sealed
        assert readable(arena.address)
        assert write_maps(arena) == "r-"
    with target.open("rw"):
        assert write_maps(arena) == "rw"
    assert arena.sealed
    assert not readable(arena.address)


def test_a_block_gives_the_content(arena: Arena) -> None:
    size = arena.size
    target = seal(arena)
    with target.open("r"):
        assert arena == SECRET * (size // len(SECRET))
    with target.open("rw"):
        arena[1:3] = b"xy"
    with target.open("r"):
        assert bytes(arena[:4]) == SECRET[:1] + b"xy" + SECRET[3:4]


def test_a_view_has_just_the_access_asked_for() -> None:
    arena = secret()
    for sealed in (False, True):
        if sealed:
            arena.seal()
        with arena.open("r") as view:
            assert view == SECRET
            assert memoryview(view).readonly
            assert memoryview(arena).readonly
            for target in (view, arena, arena[2:9], view[2:9]):
                with pytest.raises(SealedError, match="reading alone"):
                    target[0] = 1
            with pytest.raises(SealedError):
                secalloc.clear(view)
            with open("/dev/zero", "rb", buffering=0) as zeros, pytest.raises(TypeError):
                zeros.readinto(view)  # its own, instead of ours: it got no buffer
        with arena.open("rw") as view, memoryview(view) as memory:
            assert not memory.readonly
            memory[0] = SECRET[0]
        with pytest.raises(SealedError, match="ended"):
            view[0]
        assert arena.sealed is sealed


def test_blocks_nest_and_the_wider_one_counts() -> None:
    arena = secret()
    arena.seal()
    with arena.open("r") as outer:
        with arena.open("rw") as inner:
            assert write_maps(arena) == "rw"
            inner[0] = 7
            with pytest.raises(SealedError):
                outer[0] = 8
            with arena.open("r") as third:
                assert third[0] == 7
        assert write_maps(arena) == "r-"
        with pytest.raises(SealedError):
            arena[0] = 1
    assert arena.sealed


def test_filling_a_sealed_arena() -> None:
    arena = secret()
    arena.seal()
    with arena.open("w") as view:
        assert arena.wiped
        assert not arena.sealed
        view[:] = SECRET[::-1]
    assert arena.sealed
    assert not arena.wiped
    with arena.open("r") as view:
        assert view == SECRET[::-1]
    with pytest.raises(KeyError), arena.open("w") as view:
        raise KeyError
    assert arena.sealed
    assert arena.wiped
    assert not readable(arena.address)
    for mode in ("r", "rw"):
        with pytest.raises(WipedError), arena.open(mode):
            pass


@pytest.mark.parametrize("mode", ["r", "rw", "w"])
def test_a_memoryview_kept_past_the_block(mode: Any) -> None:
    arena = secret()
    arena.seal()
    block = arena.open(mode)
    kept = memoryview(block.__enter__())
    second = kept[2:5]
    with pytest.raises(BufferError, match="released"):
        block.__exit__()
    assert arena.sealed
    assert readable(arena.address)
    with pytest.raises(SealedError):
        bytes(arena)
    assert len(bytes(second)) == 3
    with pytest.raises(BufferError):
        arena.seal()
    kept.release()
    second.release()
    assert not readable(arena.address)
    arena.seal()


def test_a_memoryview_from_before_the_block() -> None:
    """It was lent to be written, and is until it is released; the block's own view is not."""
    arena = Arena(SECRET)
    lent = memoryview(arena)
    with arena.open("r") as view:
        assert view == SECRET
        lent[0] ^= 1
        with pytest.raises(SealedError, match="reading"):
            view[0] = 1
        lent[0] ^= 1
        lent.release()
        assert view == SECRET
        with pytest.raises(SealedError):
            arena[0] = 1
    arena[0] = 1


def test_a_memoryview_kept_past_a_pool_s_block() -> None:
    with Pool() as pool:
        arena, other = pool.alloc(SECRET), pool.random(5)
        pool.seal()
        with pytest.raises(BufferError, match="released"), pool.open("rw"):
            kept = memoryview(arena)
        assert pool.sealed
        kept[0] = 1  # its page stays as it was for it
        other.close()  # nor does our own work on the page close it
        assert kept[1] == SECRET[1]
        kept.release()
        assert not readable(arena.address)


@pytest.mark.parametrize("make", [secret, pooled])
@pytest.mark.parametrize("mode", ["r", "rw", "w"])
def test_the_exception_in_flight_is_never_replaced(mode: Any, make: Callable[[], Arena]) -> None:
    arena = make()
    target: Any = seal(arena) if make is secret or mode != "w" else arena
    with pytest.raises(KeyError, match="mine"), target.open(mode) as inside:  # noqa: PT012
        kept = memoryview(inside if inside is not arena.pool else arena)
        raise KeyError("mine")
    kept.release()
    with pytest.raises(KeyError, match="mine"), target.open("w"):  # noqa: PT012
        arena.close()
        raise KeyError("mine")


def test_seal_refuses_where_it_would_pull_pages_away(arena: Arena) -> None:
    target = arena if arena.pool is None else arena.pool
    with memoryview(arena), pytest.raises(BufferError, match="exported"):
        target.seal()
    for mode in ("r", "rw", "w"):
        with arena.open(mode), pytest.raises(BufferError, match="block"):
            target.seal()
        arena[:] = bytes(arena.size)
    assert not arena.sealed
    target.seal()
    target.seal()
    assert arena.sealed


def test_bad_modes() -> None:
    arena = secret()
    for target in (arena, Pool()):
        opens: Any = target.open
        for bad in ("", "x", "wr", "R", "r+", "rb"):
            with pytest.raises(ValueError, match="'r', 'rw' or 'w'"):
                opens(bad)
        for other in (None, 1, b"r"):
            with pytest.raises(TypeError):
                opens(other)
        with pytest.raises(TypeError):
            opens()
    block = arena.open("r")
    with pytest.raises(ValueError, match="not entered"):
        block.__exit__()
    with block, pytest.raises(ValueError, match="once"):
        block.__enter__()


def test_a_block_that_is_dropped_ends() -> None:
    arena = secret()
    arena.seal()
    block = arena.open("rw")
    view = block.__enter__()
    assert not arena.sealed
    del block, view
    assert arena.sealed


# ---- what still works on it ------------------------------------------------------------


def test_rotate_leaves_it_sealed(arena: Arena) -> None:
    size = arena.size
    target = seal(arena)
    before = arena.address
    arena.rotate()
    assert arena.sealed
    assert arena.address != before
    assert not readable(before)
    assert not readable(arena.address)
    with target.open("r"):
        assert arena == SECRET * (size // len(SECRET))
    with target.open("r"):
        arena.rotate()
        assert arena[0] == SECRET[0]
        assert write_maps(arena) == "r-"


def test_clear_check_and_close(arena: Arena) -> None:
    target = seal(arena)
    arena.check()
    assert not readable(arena.address)
    arena.clear()
    assert (arena.sealed, arena.wiped) == (True, True)
    assert not readable(arena.address)
    secalloc.clear(arena)
    with pytest.raises(WipedError), target.open("r"):
        bytes(arena)
    arena.close()
    assert arena.closed


def test_lockdown_wipes_what_is_sealed_and_leaves_it_sealed(arena: Arena) -> None:
    target = seal(arena)
    assert secalloc.lockdown() >= 1
    assert (arena.sealed, arena.wiped) == (True, True)
    assert not readable(arena.address)
    with target.open("rw") if isinstance(target, Pool) else target.open("w"):
        assert SECRET[:8] not in raw(arena)


def test_comparison_with_a_sealed_one() -> None:
    arena = secret()
    arena.seal()
    assert arena == arena  # noqa: PLR0124
    assert arena != SECRET
    assert arena in [arena]
    with pytest.raises(SealedError):
        secalloc.compare_digest(arena, SECRET)
    with pytest.raises(SealedError):
        assert arena < SECRET


def test_what_a_consumer_gets() -> None:
    arena = secret()
    arena.seal()
    with pytest.raises((TypeError, BufferError)):
        b"".join([arena])
    extend: Any = bytearray(3).extend
    with pytest.raises((TypeError, BufferError)):
        extend(arena)


# ---- a pool ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["r", "rw"])
def test_a_block_of_its_arena_does_not_open_a_sealed_pool(mode: Any) -> None:
    with Pool() as pool:
        arena = pool.alloc(SECRET)
        pool.seal()
        with pytest.raises(SealedError), arena.open(mode):
            pass
        assert not readable(arena.address)
        with pool.open("r"), arena.open("r") as view:
            assert view == SECRET


def test_nothing_of_a_sealed_pool_is_lent() -> None:
    with Pool() as pool:
        arena = pool.alloc(SECRET)
        pool.seal()
        looks: tuple[Callable[[], object], ...] = (
            lambda: memoryview(arena),
            lambda: memoryview(arena[1:]),
            lambda: arena[0],
            lambda: arena < b"x",
            lambda: secalloc.compare_digest(arena, SECRET),
            arena.reveal,
        )
        for look in looks:
            with pytest.raises(SealedError):
                look()
        with pool.open("r"):
            assert memoryview(arena).readonly
            assert memoryview(arena[1:]).readonly
            with pytest.raises(SealedError, match="reading"):
                arena[0] = 1
        with pool.open("rw"):
            assert not memoryview(arena).readonly


def test_a_sealed_pool_makes_no_arenas() -> None:
    with Pool() as pool:
        first = pool.alloc(SECRET)
        pool.seal()
        assert "sealed" in repr(pool)
        makers: tuple[Callable[[], object], ...] = (
            lambda: pool.alloc(1),
            lambda: pool.random(3000),
            lambda: pool.take(bytearray(3)),
        )
        for make in makers:
            with pytest.raises(SealedError, match="pool"):
                make()
        with pytest.raises(ValueError, match="pool"):
            first.seal()
        with pool.open("r"), pytest.raises(SealedError, match="reading"):
            pool.alloc(1)
        with pool.open("w") as same:
            assert same is pool
            second = pool.alloc(b"more")
        assert second.sealed
        first.close()
        with pool.open("r"):
            assert second == b"more"
        del first, second
    assert not pool.sealed
    with pytest.raises(ValueError, match="closed"):
        pool.seal()
    with pytest.raises(ValueError, match="closed"):
        pool.open("r")


def test_an_arena_being_filled_while_the_pool_s_block_ends() -> None:
    with Pool() as pool:
        arena = pool.alloc(SECRET)
        pool.seal()
        block = pool.open("rw")
        block.__enter__()
        fill = arena.open("w")
        view = fill.__enter__()
        with pytest.raises(BufferError):
            block.__exit__()
        view[:] = SECRET[::-1]
        fill.__exit__()
        assert arena.sealed
        assert not readable(arena.address)
        with pool.open("r"):
            assert arena == SECRET[::-1]


# ---- threads, deaths -----------------------------------------------------------------------


@pytest.mark.parametrize("make", [secret, pooled])
def test_threads_open_seal_rotate_and_lock_down(make: Callable[[], Arena]) -> None:
    """A thread inside a block reads the content, or noise that is told apart."""
    arena = make()
    target = seal(arena)
    over = threading.Event()
    wrong: list[object] = []

    def reads(mode: Any) -> None:
        while not over.is_set():
            try:
                with target.open(mode):  # not bytes(): a wipe may pass while it copies
                    same = secalloc.compare_digest(arena, SECRET)
                if not same:
                    wrong.append("noise")
            except WipedError:
                with suppress(BufferError, WipedError), target.open("rw" if arena.pool else "w"):
                    arena[:] = SECRET
            except SealedError:
                wrong.append("sealed inside a block")

    def disturbs() -> None:
        while not over.is_set():
            with suppress(BufferError, WipedError):
                target.seal()
            with suppress(BufferError, WipedError):
                arena.rotate()
            arena.check()

    threads = [threading.Thread(target=reads, args=[mode]) for mode in ("r", "r", "rw")]
    threads.append(threading.Thread(target=disturbs))
    for thread in threads:
        thread.start()
    for _ in range(TRIALS * 4):
        secalloc.lockdown()
        with suppress(BufferError, WipedError), target.open("rw" if arena.pool else "w") as inside:
            everything: Any = arena if arena.pool else inside
            everything[:] = SECRET
    over.set()
    for thread in threads:
        thread.join()
    assert wrong == []


STRAY = """
    pool = secalloc.Pool()
    kept = [secret() for _ in range(5)] + [pool.alloc(SECRET) for _ in range(5)]
    pool.seal()
    kept[0].seal()
"""


@pytest.mark.parametrize("which", [0, 7])
def test_a_stray_read_of_sealed_pages_is_fatal(which: int) -> None:
    dies(STRAY + f"    ctypes.string_at(kept[{which}].address, 1)", GUARD_FAULT)


@pytest.mark.parametrize("target", ["kept[0]", "pool"])
def test_a_stale_write_while_open_for_reading_is_fatal(target: str) -> None:
    which = 0 if target == "kept[0]" else 7
    code = (
        STRAY
        + f"""
    with {target}.open("rw"): at = kept[{which}].address
    with {target}.open("r"):
        ctypes.string_at(at, 1)
        ctypes.memset(at, 0, 1)
    """
    )
    dies(code, GUARD_FAULT)


def test_nothing_of_sealed_content_is_left_after_a_lockdown() -> None:
    out = check(
        STRAY
        + """
    spots = [(a.address, a.size) for a in kept]
    secalloc.lockdown()
    with kept[0].open("w"), pool.open("rw"):
        print(any(SECRET[:8] in ctypes.string_at(at, n) for at, n in spots))
    """,
        marker=False,
    )
    assert out.endswith("False")


def test_ctypes_reads_inside_a_block() -> None:
    arena = secret()
    arena.seal()
    with arena.open("r"):
        assert ctypes.string_at(arena.address, 4) == SECRET[:4]
