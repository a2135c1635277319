"""Pools: many small arenas on few pages. Each arena behaves as any other."""

import array
import ast
import copy
import ctypes
import gc
import pickle
import re
import sys
import threading
import weakref
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from crash import SECRET, content, raw
from states import OPERATIONS, POOLED, STATES, TABLE, in_state, outcome
from support import GUARD_FAULT, check, linux_only, needs_lockable, run, x86_or_arm_linux
from test_arena import HUGE, PAGE, Index, Rude
from test_limits import ORDINARY
from test_observer import observed
from test_refusals import PASSWORD, REFUSED
from test_threads import together
from test_wiped import NEW, noise_only

import secalloc
from secalloc import Arena, Pool, WipedError

SIZES = [0, 1, 8, 9, 16, 24, 25, 32, 40, 41, 500, 504, 505, 520, 2039, 2040, 2041, 2056]
SIZES += [PAGE - 8, PAGE - 7, PAGE, PAGE + 1, 100_000]
SHARED_MOST = 2040
"""Larger ones have pages of their own."""


def moved(size: int) -> Any:
    """With what five of them and the pages for a sixth want, where that may be little enough to be
    locked as a whole."""
    if not SHARED_MOST < size <= 2 * PAGE:
        return size
    return pytest.param(size, marks=needs_lockable(8 * (size // PAGE + 1) * PAGE))


def pooled() -> Arena:
    """SECRET in a pool, between two others."""
    pool = Pool()
    before, arena, after = (pool.alloc(SECRET) for _ in range(3))
    weakref.finalize(arena, lambda *_: None, before, after)  # they live as long
    return arena


def numbers(pool: Pool) -> tuple[int, int, int]:
    """Arenas, bytes, and mapped bytes."""
    found = re.fullmatch(r"<secalloc\.Pool \w+ arenas=(\d+) bytes=(\d+) mapped=(\d+)>", repr(pool))
    assert found, repr(pool)
    arenas, size, mapped = found.groups()
    return int(arenas), int(size), int(mapped)


def neighbours(pool: Pool, count: int) -> list[Arena]:
    """Arenas of SECRET on one page. A thread is told by where its stack lies, to 64 KiB, and so
    may be taken for two: then it has two pages."""
    pages: dict[int, list[Arena]] = {}
    while True:
        arena = pool.alloc(SECRET)
        on_page = pages.setdefault(arena.address // PAGE, [])
        on_page.append(arena)
        if len(on_page) == count:
            return on_page


def holds_secret(held: bytes | bytearray) -> bool:
    return any(SECRET[i : i + 8] in held for i in range(len(SECRET) - 8))


# ---- making ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_alloc_of_a_size(size: int) -> None:
    with Pool() as pool, pool.alloc(size) as arena:
        assert isinstance(arena, Arena)
        assert len(arena) == arena.size == size
        assert bytes(arena) == raw(arena) == bytes(size)
        assert not arena.wiped
        assert arena.pool is pool
        assert numbers(pool)[:2] == (1, size)


@pytest.mark.parametrize("size", SIZES)
def test_alloc_of_bytes(size: int) -> None:
    source = bytearray(content(size))
    with Pool() as pool:
        arenas = [pool.alloc(source) for _ in range(9)]
        assert source == content(size)
        source[:] = bytes(size)
        assert all(bytes(a) == raw(a) == content(size) for a in arenas)
        for arena in arenas:
            arena.check()
            if size <= SHARED_MOST:
                assert arena.address % 16 == 0
            else:
                assert (arena.address + size) % PAGE == 0


SOURCES: dict[str, Callable[[], Any]] = {
    "bytes": lambda: SECRET,
    "bytearray": lambda: bytearray(SECRET),
    "memoryview": lambda: memoryview(SECRET),
    "offset": lambda: memoryview(b"x" + SECRET)[1:],
    "array": lambda: array.array("I", SECRET),
    "arena": lambda: Arena(SECRET),
    "view": lambda: Arena(b"x" + SECRET)[1:],
    "pooled": pooled,
    "view of pooled": lambda: pooled()[:],
}


@pytest.mark.parametrize("name", SOURCES)
def test_any_bytes_like_source(name: str) -> None:
    with Pool() as pool:
        assert bytes(pool.alloc(SOURCES[name]())) == SECRET


def test_subclasses_of_bytes_and_int() -> None:
    class Bytes(bytes):
        def __index__(self) -> int:
            return 3

    with Pool() as pool:
        assert bytes(pool.alloc(Index())) == bytes(5)
        # as Arena does
        assert len(pool.alloc(Bytes(SECRET))) == len(Arena(Bytes(SECRET)))
        with pytest.raises(ZeroDivisionError):
            pool.alloc(Rude())


@pytest.mark.parametrize("source", [None, 1.5, object(), [1, 2], {}, (), 2 + 1j, True, "hunter2"])
def test_wrong_types(source: object) -> None:
    with Pool() as pool:
        with pytest.raises(TypeError) as caught:
            pool.alloc(source)  # type: ignore[arg-type]
        assert "hunter2" not in str(caught.value)
        with pytest.raises(TypeError) as isolated:
            Arena(source)  # type: ignore[arg-type]
        assert str(caught.value) == str(isolated.value)
        assert numbers(pool) == (0, 0, 0)


def test_wrong_arguments() -> None:
    with Pool() as pool:
        for wrong in (
            pool.alloc,
            lambda: pool.alloc(1, 2),  # type: ignore[call-arg, arg-type]
            lambda: pool.alloc(1, align=16),  # type: ignore[call-arg]
            lambda: pool.alloc(source=1),  # type: ignore[call-arg]
            lambda: Pool(1),  # type: ignore[call-arg]
            lambda: Pool(size=1),  # type: ignore[call-arg]
        ):
            with pytest.raises(TypeError):
                wrong()  # type: ignore[call-arg]
        with pytest.raises(BufferError):
            pool.alloc(memoryview(SECRET)[::2])


@pytest.mark.parametrize("size", HUGE)
def test_impossible_sizes(size: int) -> None:
    with Pool() as pool, pool.alloc(SECRET) as one:
        before, all_before = numbers(pool), secalloc.status()
        with pytest.raises((MemoryError, OverflowError, ValueError)) as caught:
            pool.alloc(size)
        assert (caught.type is ValueError) is (size < 0)
        assert numbers(pool) == before
        assert secalloc.status()[:3] == all_before[:3]
        assert bytes(one) == SECRET


def test_random() -> None:
    with Pool() as pool:
        one, two = pool.random(32), pool.random(32)
        assert len(one) == len(two) == 32
        assert bytes(one) not in (bytes(two), bytes(32))
        assert one.pool is two.pool is pool
        assert len(pool.random(0)) == 0
        large = bytes(pool.random(200_000))
        assert min(large.count(bytes([value])) for value in range(256)) > 2**8
        with pytest.raises(ValueError, match="negative"):
            pool.random(-1)
        for wrong in ("1", 1.5, None, b"1", True):
            with pytest.raises(TypeError):
                pool.random(wrong)  # type: ignore[arg-type]


def test_take() -> None:
    source = bytearray(SECRET)
    with Pool() as pool:
        arena = pool.take(source)
        assert bytes(arena) == SECRET
        assert arena.pool is pool
        assert len(source) == len(SECRET)
        assert not holds_secret(source)
        other = pool.take(arena)
        assert arena.wiped
        assert bytes(other) == SECRET
        for wrong in (SECRET, memoryview(SECRET), "text", 5):
            with pytest.raises((TypeError, BufferError)):
                pool.take(wrong)  # type: ignore[arg-type]


# ---- neighbours ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 9, 32, 504, 505, 2040, 2041])
def test_many_lie_apart(size: int) -> None:
    with Pool() as pool:
        arenas = [pool.alloc(bytes([i % 251]) * size) for i in range(500)]
        ends = sorted((a.address, a.address + size) for a in arenas)
        canary = 8 if size <= SHARED_MOST else 0
        assert all(a[1] + canary <= b[0] for a, b in pairwise(ends))
        for arena in arenas[::3]:
            arena.close()
        for arena in arenas[1::3]:
            arena.clear()
        new = [pool.alloc(b"n" * size) for _ in arenas[::3]]
        for i in range(2, 500, 3):
            assert bytes(arenas[i]) == raw(arenas[i]) == bytes([i % 251]) * size
            arenas[i].check()
        assert all(a.wiped for a in arenas[1::3])
        assert all(bytes(a) == b"n" * size for a in new)


def test_clear_leaves_the_neighbours_whole() -> None:
    with Pool() as pool:
        one, two, three = neighbours(pool, 3)
        two.clear()
        assert noise_only(two)
        assert bytes(one) == raw(one) == bytes(three) == raw(three) == SECRET
        assert not one.wiped
        two[:] = NEW
        assert (bytes(one), bytes(two), bytes(three)) == (SECRET, NEW, SECRET)


@pytest.mark.parametrize("give_up", [Arena.close, Arena.rotate], ids=["close", "rotate"])
def test_a_cell_given_up_holds_noise(give_up: Callable[[Arena], None]) -> None:
    with Pool() as pool:
        keep, arena = neighbours(pool, 2)  # the first keeps the page
        old = arena.address
        assert ctypes.string_at(old, len(SECRET)) == SECRET
        give_up(arena)
        held = ctypes.string_at(old, len(SECRET))
        assert not holds_secret(held)
        assert held.count(0) < 16
        assert bytes(keep) == SECRET


def test_a_new_arena_does_not_show_what_was_there() -> None:
    with Pool() as pool:
        keep = pool.alloc(SECRET)
        seen = set()
        for _ in range(50):
            arena = pool.alloc(SECRET)
            seen.add(arena.address)
            arena.close()
            assert bytes(pool.alloc(len(SECRET))) == bytes(len(SECRET))
        assert bytes(keep) == SECRET
        assert len(seen) < 50  # or it was never the same place


# ---- the pool as an object -------------------------------------------------------------


def test_with_closes_the_pool_and_its_arenas() -> None:
    with Pool() as pool:
        assert isinstance(pool, Pool)
        assert not pool.closed
        arenas = [pool.alloc(n) for n in SIZES]
    assert pool.closed
    assert all(a.closed and a.wiped for a in arenas)
    assert [a.size for a in arenas] == SIZES
    with pytest.raises(KeyError), Pool() as pool:
        raise KeyError
    assert pool.closed


def test_close_is_idempotent() -> None:
    pool = Pool()
    arena = pool.alloc(SECRET)
    for _ in range(3):
        pool.close()
        assert pool.closed
        assert numbers(pool) == (0, 0, 0)
        arena.close()
    assert arena.closed


def test_after_close_all_else_raises() -> None:
    pool = Pool()
    arena = pool.alloc(SECRET)
    pool.close()
    source = bytearray(SECRET)
    for use in (
        lambda: pool.alloc(1),
        lambda: pool.alloc(SECRET),
        lambda: pool.alloc(100_000),
        lambda: pool.random(32),
        lambda: pool.random(100_000),
        lambda: pool.take(source),
        pool.__enter__,
    ):
        with pytest.raises(secalloc.ClosedError, match="the pool is closed"):
            use()
    assert source == SECRET
    for ask in (Arena.rotate, Arena.clear, Arena.check, lambda a: a.pool, bytes):
        with pytest.raises(ValueError, match="closed"):
            ask(arena)


def test_arena_pool() -> None:
    with Pool() as pool:
        arena = pool.alloc(SECRET)
        assert arena.pool is pool
        assert pool.alloc(arena).pool is pool
        arena.rotate()
        arena.clear()
        assert arena.pool is pool
        arena[:] = SECRET
        assert Arena(arena).pool is None
        assert (arena + b"x").pool is None
        assert secalloc.concat(arena, arena).pool is None
        assert secalloc.take(arena).pool is None
        with pytest.raises(AttributeError):
            arena.pool = None  # type: ignore[misc]
    assert secalloc.random(5).pool is None


def test_arenas_keep_their_pool_alive() -> None:
    pool = Pool()
    seen = weakref.ref(pool)
    one, two = pool.alloc(SECRET), pool.alloc(SECRET)
    del pool
    gc.collect()
    assert seen() is one.pool
    del one
    assert bytes(two) == SECRET
    view = memoryview(two)
    two.close()
    del two
    assert seen() is not None
    assert not holds_secret(view.tobytes())
    view.release()
    del view
    assert seen() is None


def test_closed_arenas_keep_it_too() -> None:
    pool = Pool()
    seen = weakref.ref(pool)
    arena = pool.alloc(SECRET)
    pool.close()
    del pool
    assert seen() is not None
    assert arena.closed
    del arena
    assert seen() is None


def test_failures_keep_no_reference() -> None:
    pool = Pool()
    source = bytearray(SECRET)
    before = sys.getrefcount(pool), sys.getrefcount(source), sys.getrefcount(Pool)
    for closed in (False, True):
        for bad in (2**47, 2**62, -1, "x", None, 1.5, True, source if closed else None):
            for method in (pool.alloc, pool.random, pool.take):
                with pytest.raises((MemoryError, OverflowError, ValueError, TypeError)):
                    method(bad)  # type: ignore[arg-type]
        pool.close()
    del method, bad  # which may be the source
    gc.collect()
    assert (sys.getrefcount(pool), sys.getrefcount(source), sys.getrefcount(Pool)) == before


def test_in_a_reference_cycle() -> None:
    before = secalloc.status().arenas
    pool = Pool()
    seen = weakref.ref(pool)
    holder: dict[str, object] = {"pool": pool, "arena": pool.alloc(SECRET)}
    holder["self"] = holder
    del holder, pool
    gc.collect()
    assert seen() is None
    assert secalloc.status().arenas == before


def test_dropped_after_other_threads_used_it() -> None:
    pool = Pool()
    seen = weakref.ref(pool)

    def work(pool: Pool) -> None:
        kept = [pool.alloc(SECRET) for _ in range(100)]
        for _ in range(100):
            pool.alloc(SECRET).close()
        del kept

    threads = [threading.Thread(target=work, args=(pool,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    del pool, threads, thread
    gc.collect()
    assert seen() is None


def test_as_an_object() -> None:
    pool = Pool()
    assert not hasattr(pool, "__dict__")
    with pytest.raises(AttributeError):
        pool.colour = "red"  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        pool.closed = True  # type: ignore[misc]
    with pytest.raises(TypeError):
        type("Child", (Pool,), {})
    assert pool == pool  # noqa: PLR0124
    assert pool != Pool()
    assert hash(pool) == hash(pool)


@pytest.mark.parametrize(
    "clone",
    [copy.copy, copy.deepcopy, *(lambda p, n=n: pickle.dumps(p, n) for n in range(6))],
)
def test_no_copies(clone: Callable[[Pool], object]) -> None:
    with Pool() as pool:
        pool.alloc(SECRET)
        with pytest.raises(TypeError, match="not copied or pickled"):
            clone(pool)


def test_repr_shows_numbers_and_no_content() -> None:
    pool = Pool()
    assert numbers(pool) == (0, 0, 0)
    arenas = [pool.alloc(b"hunter2-secret") for _ in range(3)]
    assert numbers(pool) == (3, 42, PAGE)
    assert "hunter2" not in repr(pool) + repr(arenas[0])
    assert " open " in repr(pool)
    arenas[0].close()
    assert numbers(pool)[:2] == (2, 28)
    pool.close()
    assert " closed " in repr(pool)
    assert numbers(pool) == (0, 0, 0)


def test_status_counts_pooled_arenas() -> None:
    before = secalloc.status()
    with Pool() as pool:
        arenas = [pool.alloc(n) for n in SIZES]
        now = secalloc.status()
        assert now.arenas == before.arenas + len(SIZES)
        assert now.bytes == before.bytes + sum(SIZES)
        del arenas[::2]
        gc.collect()
        assert secalloc.status().arenas == before.arenas + len(arenas)
    assert secalloc.status()[:2] == before[:2]


# ---- as any other arena ----------------------------------------------------------------


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("state", STATES[:-1])
def test_every_state_by_every_operation(state: str, operation: str) -> None:
    with in_state(state, pooled) as (arena, view):
        expected = TABLE[operation][STATES.index(state)]
        expected = POOLED.get((operation, state), expected)
        assert outcome(operation, arena, view) == expected


def test_the_column_of_a_child_process() -> None:
    text = check("""
        import states
        pool = secalloc.Pool()
        print(states.walk_forked(lambda: pool.alloc(SECRET)))
    """)
    expected = {name: row[STATES.index("forked")] for name, row in TABLE.items()}
    assert ast.literal_eval(text) == expected


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Pool() as pool, pool.alloc(PASSWORD) as arena:
        with pytest.raises(TypeError) as caught:
            REFUSED[what](arena)
        assert "31337" not in str(caught.value) + capsys.readouterr().out


@pytest.mark.parametrize("size", [moved(n) for n in SIZES])
def test_rotate(size: int) -> None:
    with Pool() as pool:
        around = [pool.alloc(content(size)) for _ in range(5)]
        arena, view = around[2], around[2][: size // 2]
        for _ in range(3):
            old, keys = arena.address, secalloc.status().rekeys
            arena.rotate()
            assert arena.address != old
            assert secalloc.status().rekeys > keys
            assert all(bytes(a) == raw(a) == content(size) for a in around)
            assert bytes(view) == content(size // 2)
            arena.check()
        assert numbers(pool)[:2] == (5, 5 * size)
        with memoryview(arena), pytest.raises(BufferError):
            arena.rotate()
        arena.clear()
        with pytest.raises(WipedError):
            arena.rotate()


def test_lockdown_wipes_and_counts(marker: Any) -> None:
    gc.collect()
    before = secalloc.status().arenas
    with Pool() as one, Pool() as two, Arena(SECRET) as alone:
        arenas = [pool.alloc(content(n)) for n in SIZES for pool in (one, two)]
        assert secalloc.lockdown() == before + len(arenas) + 1
        assert marker.take() == b"L"
        assert alone.wiped
        assert all(a.wiped for a in arenas)
        assert not any(holds_secret(raw(a)) for a in arenas)
        for arena in arenas:
            arena[:] = content(arena.size)
        assert all(bytes(a) == content(a.size) for a in arenas)


def test_closing_the_pool_inside_a_block() -> None:
    pool = Pool()
    arena = pool.alloc(SECRET)
    with arena.open("w") as view:
        view[:] = NEW
        pool.close()
    assert arena.closed
    assert numbers(pool) == (0, 0, 0)


def test_is_secure() -> None:
    pool = Pool()
    for size in SIZES:
        arena = pool.alloc(size)
        assert secalloc.is_secure(arena)
        assert secalloc.is_secure(arena[:1])
        assert secalloc.is_secure(memoryview(arena))
        arena.close()
        assert not secalloc.is_secure(arena)


def test_a_live_memoryview_at_close() -> None:
    """It shows noise, and its pages stay until it is released."""
    pool = Pool()
    arenas = [pool.alloc(content(n)) for n in (32, 96, 2000, 100_000)]
    views = [memoryview(a) for a in arenas]
    pool.close()
    assert pool.closed
    assert all(a.closed for a in arenas)
    assert not any(holds_secret(v.tobytes()) for v in views)
    assert numbers(pool)[0] == 4
    for left, view in zip((3, 2, 1, 0), views, strict=True):
        view[0] = 1
        view.release()
        assert numbers(pool)[0] == left
    assert numbers(pool) == (0, 0, 0)


def test_what_is_written_after_the_close_goes_with_the_export() -> None:
    with Pool() as pool:
        keep, arena = neighbours(pool, 2)
        place, view = arena.address, memoryview(arena)
        arena.close()
        view[:] = SECRET
        view.release()
        assert not holds_secret(ctypes.string_at(place, len(SECRET)))
        assert bytes(keep) == SECRET


@linux_only
def test_pages_go_when_the_last_export_does() -> None:
    check("""
        pool = secalloc.Pool()
        arenas = [pool.alloc(n) for n in (32, 32, 2000, 100_000)]
        places = [a.address for a in arenas]
        views = [memoryview(a) for a in arenas]
        pool.close()
        assert all(readable(p) for p in places)
        views[0].release()
        assert all(readable(p) for p in places)  # its neighbour still has the page
        for view in views: view.release()
        assert not any(readable(p) for p in places)
    """)


# ---- the canary ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 8, 32, 2040])
@pytest.mark.parametrize(
    "how", ["a.check()", "a.close()", "a.rotate()", "del a", "pool.close()", "pool.__exit__()"]
)
def test_damage_is_tampering(how: str, size: int) -> None:
    for past in (0, 7):
        end = run(f"""
            pool = secalloc.Pool()
            before, a, after = (pool.alloc(SECRET * 30)[:{size}] for _ in range(3))
            before, a, after = (pool.alloc(x) for x in (before, a, after))
            a.check()
            spoil(a.address + a.size + {past})
            {how}
            print("alive")
        """)
        assert end.fate == (-6, b"F"), end
        assert "canary" in end.err
        assert "alive" not in end.out


def test_damage_in_front_is_found_in_the_neighbour() -> None:
    end = run("""
        pool = secalloc.Pool()
        one, two = sorted((pool.alloc(32) for _ in range(2)), key=lambda a: a.address)
        spoil(two.address - 1)
        two.check()
        print("not in its own", flush=True)
        one.check()
    """)
    assert end.fate == (-6, b"F"), end
    assert end.out.strip() == "not in its own"


@x86_or_arm_linux
def test_tampering_wipes_everything_first() -> None:
    code = """
pool = secalloc.Pool()
a, b = pool.alloc(SECRET), pool.alloc(32)
spy.spy_watch(ctypes.c_void_p(a.address), ctypes.c_size_t(a.size), masked, len(masked))
"""
    end = observed(code + "spoil(b.address + b.size); b.check()", "abrt")
    assert end.fate == (-6, b"FN"), end
    control = observed(code + "secalloc.disarm(); os.abort()", "abrt")
    assert control.fate == (-6, b"S"), control


@pytest.mark.parametrize("size", [2041, PAGE, 100_000])
def test_one_byte_past_a_large_one_faults(size: int) -> None:
    end = run(f"pool = secalloc.Pool(); a = pool.alloc({size}); overrun(a); print('alive')")
    assert end.fate == (-GUARD_FAULT, b"F"), end


# ---- crashes and exit ------------------------------------------------------------------


def test_alive_at_exit() -> None:
    check("""
        pool = secalloc.Pool()
        arenas = [pool.alloc(n) for n in range(300)]
        keep = memoryview(arenas[100])
        other = secalloc.Pool()
        signal.late = other, other.alloc(SECRET), arenas[7]  # outlives the module
    """)


# ---- fork ------------------------------------------------------------------------------


@pytest.mark.parametrize("fork", ["os.fork", pytest.param("raw_fork", marks=x86_or_arm_linux)])
def test_in_a_child(fork: str) -> None:
    check(f"""
        import gc
        pool, shut = secalloc.Pool(), secalloc.Pool()
        arenas = [pool.alloc(bytes(secret(n))) for n in (0, 1, 96, 2040, 5000, 100_000)]
        gone = shut.alloc(SECRET)
        shut.close()
        source = bytearray(SECRET)
        def work():
            raises(secalloc.ForkedError, lambda p: p.alloc(1), lambda p: p.alloc(SECRET),
                   lambda p: p.random(32), lambda p: p.take(source), secalloc.Pool.__enter__,
                   of=pool)
            assert source == SECRET
            assert pool.closed and shut.closed and "forked arenas=0 bytes=0 mapped=0" in repr(pool)
            raises(secalloc.ClosedError, lambda p: p.alloc(1), secalloc.Pool.__enter__, of=shut)
            for arena in arenas:
                assert arena.closed
                raises(secalloc.ForkedError, bytes, memoryview, lambda a: a.pool, of=arena)
            assert secalloc.status().arenas == 0
            own = secalloc.Pool()
            mine = [own.alloc(SECRET) for _ in range(200)]
            mine[3].rotate(); mine[4].clear()
            pool.close(); pool.close(); shut.close()
            assert pool.closed
            arenas[1].close()
            assert all(bytes(m) == SECRET for i, m in enumerate(mine) if i != 4)
            assert secalloc.status().arenas == 200
            globals().update(pool=None, shut=None, arenas=None, gone=None)
            gc.collect()
            assert secalloc.status().arenas == 200 and mine[199] == SECRET
            own.close()
            assert secalloc.status().arenas == 0
        assert child_of(work, fork={fork}) == 0
        assert all(bytes(a) == raw(a) == bytes(secret(a.size)) for a in arenas)
        assert not pool.closed and pool.alloc(SECRET) == SECRET
    """)


def test_fork_while_others_use_the_pool() -> None:
    check("""
        pool = secalloc.Pool()
        keep = pool.alloc(SECRET)
        def churn():
            some = [pool.alloc(n) for n in (1, 300, 3000)]
            some[0].rotate(timeout=1); some[1].rotate(timeout=1)
            secalloc.Pool().alloc(5)
        def work():
            own = secalloc.Pool()
            mine = [own.alloc(SECRET) for _ in range(20)]
            pool.close()
            mine[0].rotate(); mine[1].close()
            assert mine[2] == SECRET and repr(own).startswith("<secalloc.Pool open arenas=19 ")
            secalloc.set_lockdown_fd(None)
            assert secalloc.lockdown() == 19
        codes = forked_beside(churn, work)
        assert codes == [0] * 40, codes
        assert bytes(keep) == raw(keep) == SECRET
    """)


# ---- threads ---------------------------------------------------------------------------


@needs_lockable(4 << 20)
def test_many_threads_in_one_pool() -> None:
    pool = Pool()

    def work(seed: int) -> None:
        mine: list[Arena] = []
        for i in range(400):
            size = (seed * 7919 + i * 104729) % (600 if i % 10 else 9000)
            mine.append(pool.alloc(content(size)))
            if i % 3 == 0:
                mine[i // 2 % len(mine)].rotate(timeout=30)
            if i % 5 == 0:
                mine.pop(i % len(mine)).close()
            if i % 50 == 0:
                assert all(bytes(a) == raw(a) == content(a.size) for a in mine)
        for arena in mine:
            assert arena == content(arena.size)
            arena.close()

    together([lambda n=n: work(n) for n in range(6)])
    assert numbers(pool)[:2] == (0, 0)
    pool.close()
    assert numbers(pool) == (0, 0, 0)


def test_lockdowns_while_others_work() -> None:
    """What we read ourselves is whole or refused; a buffer lent out may turn to noise."""
    done = threading.Event()
    pool = Pool()

    def work() -> None:
        while not done.is_set():
            try:
                with pool.alloc(SECRET) as arena, pool.alloc(NEW) as other:
                    assert secalloc.compare_digest(arena, SECRET)
                    arena.rotate(timeout=30)
                    assert secalloc.compare_digest(arena + other, SECRET + NEW)
                    other[:] = SECRET
                    assert secalloc.compare_digest(other, SECRET)
            except WipedError:
                pass

    def lock() -> None:
        for _ in range(100):
            secalloc.lockdown()
        done.set()

    together([work, work, lock, lock])
    assert numbers(pool)[0] == 0


def test_closed_while_others_work() -> None:
    for _ in range(20):
        pool = Pool()

        def work(pool: Pool = pool) -> None:
            try:
                while True:
                    arena = pool.alloc(SECRET)
                    arena.rotate(timeout=1)
                    arena.close()
            except ValueError as error:
                assert "closed" in str(error)  # noqa: PT017

        together([work, work, work, pool.close])
        assert numbers(pool) == (0, 0, 0)


# ---- limits ----------------------------------------------------------------------------


@linux_only
@needs_lockable(8 << 20)
def test_87_000_secrets_of_an_ordinary_user() -> None:
    check(
        ORDINARY
        + """
limit(resource.RLIMIT_MEMLOCK, 8 * 2**20)
pool = secalloc.Pool()
arenas = [pool.alloc(SECRET[i % 64:i % 64 + 32]) for i in range(87_000)]
status = secalloc.status()
assert status.arenas == 87_000 and status.bytes == 87_000 * 32
assert status.locked_bytes <= 96 * 87_000, status.locked_bytes / 87_000
assert locked_kib() * 1024 <= 96 * 87_000
assert not any(missing(a) & Protection.LOCK for a in arenas)
assert not any("LOCK" in str(w.message) for w in caught)
assert all(raw(a) == SECRET[i % 64:i % 64 + 32] for i, a in enumerate(arenas))
pool.close()
assert all(a.closed for a in arenas) and secalloc.status().arenas == 0
"""
    )


@linux_only
def test_under_a_lock_limit_of_64_kib() -> None:
    """At least 600 are locked; what comes after works all the same, and one warning tells, or one
    of secretmem before, where the kernel counts it by user."""
    check(
        ORDINARY
        + """
limit(resource.RLIMIT_MEMLOCK, 65536)
pool = secalloc.Pool()
arenas = [pool.alloc(SECRET[:32]) for _ in range(600)]
assert not any(missing(a) & Protection.LOCK for a in arenas)
assert not any("LOCK" in str(w.message) for w in caught)
arenas += [pool.alloc(SECRET[:32]) for _ in range(3000)]
locked = sum(Protection.LOCK in a.protection for a in arenas)
assert 600 <= locked < 3600, locked
accounts = 1 + secalloc.status().secretmem_shared  # the user's secretmem has one of its own
assert secalloc.status().locked_bytes <= accounts * 65536
assert all(raw(a) == SECRET[:32] for a in arenas)
assert [w.category for w in told()] == [ProtectionWarning] * accounts, caught
pool.close()
again = [secret(100) for _ in range(65536 // PAGE)]
assert all(Protection.LOCK in a.protection for a in again), "the budget came back"
"""
    )


@linux_only
def test_a_warning_that_is_an_error_makes_nothing() -> None:
    check("""
        become_nobody()
        limit(resource.RLIMIT_MEMLOCK, 0)
        warnings.simplefilter("error")
        pool = secalloc.Pool()
        raises(ProtectionWarning, lambda p: p.alloc(SECRET), of=pool)
        assert secalloc.status().arenas == 0 and "arenas=0" in repr(pool)
        assert pool.alloc(SECRET) == SECRET
    """)


@linux_only
def test_beyond_the_map_count() -> None:
    """A pool that cannot grow says which limit refused, and keeps all it has."""
    end = run(
        """
        with open("/proc/sys/vm/max_map_count") as f: most = int(f.read())
        if most > 200_000:
            print("skip", most)
            sys.exit()
        warnings.simplefilter("ignore")
        pool = secalloc.Pool()
        small, arenas = [pool.alloc(SECRET) for _ in range(100)], []
        try:
            while len(arenas) <= most: arenas.append(pool.alloc(b"x" * 3000))
        except MemoryError as error:
            message = str(error)
        else:
            raise AssertionError(len(arenas))
        assert "vm.max_map_count" in message and str(most) in message, message
        assert len(arenas) > most // 4
        before = repr(pool)
        raises(MemoryError, lambda p: p.alloc(3000), lambda p: p.random(5000), of=pool)
        assert repr(pool) == before
        assert all(bytes(a) == raw(a) == SECRET for a in small)
        assert all(raw(a) == b"x" * 3000 for a in arenas)
        source = bytearray(5000)
        source[0] = 1
        raises(MemoryError, lambda p: p.take(source), of=pool)
        assert source[0] == 1
        on_thread(print, "a thread")
        for a in arenas[::2]: a.close()
        assert pool.alloc(b"y" * 3000) == b"y" * 3000
        fault("segv")
    """,
        timeout=200,
    )  # tens of thousands of mappings
    if end.out.startswith("skip"):
        pytest.skip(f"vm.max_map_count is too high to be reached: {end.out.split()[1]}")
    assert (end.fate, end.out) == ((-11, b"F"), "a thread\n"), end


@linux_only
def test_address_space_ends() -> None:
    check("""
        pool = secalloc.Pool()
        kept = [pool.alloc(SECRET)]
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (address_space() + 2**20, hard))
        try:
            while len(kept) < 100_000: kept.append(pool.alloc(b"x" * 200_000))
        except MemoryError as error:
            message = str(error)
        else:
            raise AssertionError("the limit was never reached")
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        assert "mmap" in message, message
        assert kept[0] == SECRET and all(raw(k) == b"x" * 200_000 for k in kept[1:])
        assert pool.alloc(b"y" * 200_000) == b"y" * 200_000
    """)


@linux_only
def test_pages_go_back_when_they_fall_empty() -> None:
    check("""
        pool = secalloc.Pool()
        def mapped(): return int(repr(pool).split("mapped=")[1].rstrip(">"))
        def look(): return our_maps(), locked_kib(), secalloc.status().locked_bytes
        def round():
            arenas = [pool.alloc(SECRET) for _ in range(20_000)]
            assert mapped() >= 20_000 * 112
            keep = arenas[777]
            del arenas
            assert mapped() <= 32 * PAGE, "its own run of pages, and one kept for the next"
            assert keep == SECRET
        round(); round()
        before = mapped(), look()
        assert before[0] <= 16 * PAGE
        for _ in range(5): round()
        assert (mapped(), look()) == before
        pool.close()
        assert mapped() == 0
    """)


@linux_only
@needs_lockable(32 * PAGE)
def test_memory_that_the_pool_gave_up_serves_others() -> None:
    """Under a tight limit what a pool gave back is there for an arena, and back again."""
    check(
        ORDINARY
        + """
limit(resource.RLIMIT_MEMLOCK, 32 * PAGE)
for _ in range(5):
    with secalloc.Pool() as pool:
        arenas = [pool.alloc(SECRET) for _ in range(600)]
        assert not any(missing(a) & Protection.LOCK for a in arenas)
    alone = [secret(5 * PAGE), secret(10 * PAGE), secret(8 * PAGE)]
    assert not any(missing(a) & Protection.LOCK for a in alone)
    del alone
assert not any("LOCK" in str(w.message) for w in caught)
"""
    )


def test_a_pool_in_each_interpreter() -> None:
    from test_interpreters import CREATE, MODULE, SETUP  # noqa: PLC0415

    pytest.importorskip(MODULE, reason=f"this interpreter has no {MODULE}")
    check(
        SETUP
        + f"""
pool = secalloc.Pool()
a = pool.alloc(SECRET)
id = {CREATE}
inside(id, '''if True:
    import secalloc
    pool = secalloc.Pool()
    arenas = [pool.alloc(b"inside") for _ in range(300)]
    arenas[5].rotate()
    assert arenas[5] == b"inside" and arenas[5].pool is pool
''')
assert secalloc.status().arenas == 301
interpreters.destroy(id)
assert secalloc.status().arenas == 1 and bytes(a) == raw(a) == SECRET
"""
    )
