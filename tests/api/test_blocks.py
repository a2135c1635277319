"""open() blocks: what ended inside them is told at the end, and writers wait for readers."""
# ruff: noqa: PT012 - what is wiped inside a block shows at its end

import hmac
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Literal

import pytest
from crash import SECRET, readable, secret
from support import check, run

import secalloc
from secalloc import Arena, Pool, WipedError

NEW = bytes(reversed(SECRET))
READING: list[Literal["r", "rw"]] = ["r", "rw"]
WIPES: dict[str, Callable[[Arena], object]] = {
    "clear": lambda arena: arena.clear(),
    "clear()": secalloc.clear,
    "close": lambda arena: arena.close(),
}


def pooled() -> Arena:
    return Pool().alloc(SECRET)


def on_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


# ---- overtaken --------------------------------------------------------------------


@pytest.mark.parametrize("make", [secret, pooled])
@pytest.mark.parametrize("mode", READING)
@pytest.mark.parametrize("how", WIPES)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_wipe_inside_is_told_at_the_end(
    make: Callable[[], Arena], mode: Literal["r", "rw"], how: str, elsewhere: bool
) -> None:
    arena = make()
    with pytest.raises(WipedError, match="while the block was open"), arena.open(mode):
        if elsewhere:
            on_thread(lambda: WIPES[how](arena))
        else:
            WIPES[how](arena)


@pytest.mark.parametrize("mode", READING)
def test_nothing_is_told_where_nothing_was_wiped(mode: Literal["r", "rw"]) -> None:
    """Neither is a rotation a wipe, of it or of others, nor what happens to others."""
    pool = Pool()
    for arena, other in ((secret(), secret()), (pool.alloc(SECRET), pool.alloc(SECRET))):
        with arena.open(mode) as view:
            arena.rotate()
            other.rotate()
            other.replace(NEW)
            other.clear()
            other.close()
            assert bytes(view) == SECRET
            arena.rotate()
        assert bytes(arena) == SECRET


@pytest.mark.parametrize("make", [secret, pooled])
@pytest.mark.parametrize("mode", READING)
def test_a_wipe_is_told_though_all_was_written_again(
    make: Callable[[], Arena], mode: Literal["r", "rw"]
) -> None:
    for refill in ("w", "replace"):
        arena = make()
        with pytest.raises(WipedError), arena.open(mode):
            arena.clear()
            if refill == "w":
                with arena.open("w") as view:
                    view[:] = NEW
            else:
                arena.replace(NEW)
            assert bytes(arena) == NEW
        assert bytes(arena) == NEW
        with arena.open(mode) as view:  # the next one has nothing to tell
            assert bytes(view) == NEW


@pytest.mark.parametrize("mode", READING)
def test_nested_blocks_tell_each(mode: Literal["r", "rw"]) -> None:
    arena = secret()
    outer = arena.open(mode)
    outer.__enter__()
    with pytest.raises(WipedError), arena.open("r"):
        arena.clear()
    with pytest.raises(WipedError):
        outer.__exit__(None, None, None)


@pytest.mark.parametrize("mode", READING)
def test_no_other_exception_is_replaced(mode: Literal["r", "rw"]) -> None:
    arena = secret()
    with pytest.raises(KeyError), arena.open(mode):
        arena.clear()
        raise KeyError


def test_lockdown_in_a_block() -> None:
    end = run(
        """
        for make in (secret, lambda: secalloc.Pool().alloc(SECRET)):
            for mode in ("r", "rw", "w"):
                arena = make()
                try:
                    with arena.open(mode) as view:
                        secalloc.lockdown()
                except secalloc.WipedError:
                    continue
                raise SystemExit(f"{mode}: nothing was told")
        """
    )
    assert end.fate == (0, b"L" * 6), end.err


def test_a_block_of_a_pool() -> None:
    """It is told of wipes that a buffer lent by it outlived: what is not lent says so itself."""
    pool = Pool()
    key, other = pool.alloc(SECRET), pool.alloc(SECRET)
    with pool.open("rw"):
        other.clear()
        pool.random(32).close()
        other[:] = NEW
    for wipe in (key.clear, key.close):
        with pytest.raises(WipedError), pool.open("r"), memoryview(key):
            wipe()
        if not key.closed:
            key[:] = SECRET
    with pytest.raises(WipedError), pool.open("r"):
        pool.close()


def test_a_lockdown_in_a_block_of_a_pool() -> None:
    end = run(
        """
        pool = secalloc.Pool()
        key = pool.alloc(SECRET)
        try:
            with pool.open("r"):
                secalloc.lockdown()
        except secalloc.WipedError:
            with pool.open("r"):
                raise SystemExit
        raise SystemExit("nothing was told")
        """
    )
    assert end.fate == (0, b"L"), end.err


def test_what_a_single_buffer_cannot_say() -> None:
    """It goes on over noise; the block around it tells."""
    arena = secret()
    with memoryview(arena) as held:
        on_thread(arena.clear)
        digest = hmac.digest(held, b"m", "sha256")
    assert digest != hmac.digest(SECRET, b"m", "sha256")
    arena[:] = SECRET
    with pytest.raises(WipedError), arena.open("r") as view, memoryview(view) as held:
        on_thread(arena.clear)
        assert hmac.digest(held, b"m", "sha256") != hmac.digest(SECRET, b"m", "sha256")


def test_what_stalls_all_the_same() -> None:
    """For as long as the other waits, and no longer."""
    arena = secret()
    held, waits = memoryview(arena), threading.Event()
    failed: list[BaseException] = []

    def move() -> None:
        waits.set()
        try:
            arena.rotate(timeout=0.5)
        except BufferError as error:
            failed.append(error)

    mover = threading.Thread(target=move)
    mover.start()
    waits.wait()
    time.sleep(0.1)
    begun = time.monotonic()
    memoryview(arena).release()
    assert 0.1 < time.monotonic() - begun < 30
    mover.join()
    assert failed
    held.release()


# ---- writers and readers ------------------------------------------------------------


@pytest.mark.parametrize("make", [secret, pooled])
def test_a_fill_over_usable_content_disturbs_nobody(make: Callable[[], Arena]) -> None:
    arena = make()
    with memoryview(arena), pytest.raises(BufferError, match="release"), arena.open("w"):
        pass
    for mode in READING:
        with arena.open(mode), pytest.raises(BufferError, match="leave it"):
            arena.open("w").__enter__()
    assert bytes(arena) == SECRET


@pytest.mark.parametrize("make", [secret, pooled])
def test_what_is_held_for_life_does_not_keep_it_wiped(make: Callable[[], Arena]) -> None:
    arena = make()
    held = memoryview(arena)
    arena.clear()
    with arena.open("w") as view:
        view[:] = NEW
    assert bytes(arena) == NEW == bytes(held)
    arena.clear()
    arena.replace(SECRET)
    assert bytes(arena) == SECRET == bytes(held)
    held.release()
    arena.check()


def holding(arena: Arena, how: str) -> AbstractContextManager[object]:
    return memoryview(arena) if how == "export" else arena.open("r" if how == "r" else "rw")


MOVES: dict[str, Callable[[Arena, float], object]] = {
    "rotate": lambda arena, timeout: arena.rotate(timeout=timeout),
    "seal": lambda arena, timeout: arena.seal(timeout=timeout),
    "replace": lambda arena, timeout: arena.replace(NEW, timeout=timeout),
    "w": lambda arena, timeout: arena.open("w", timeout=timeout).__enter__(),
}


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("how", ["export", "r", "rw"])
def test_they_wait_with_a_timeout(move: str, how: str) -> None:
    if move == "rotate" and how != "export":
        pytest.skip("a rotation goes on inside blocks")
    arena = secret()
    with holding(arena, how):
        with pytest.raises(BufferError):
            MOVES[move](arena, 0)
        begun = time.monotonic()
        with pytest.raises(BufferError):
            MOVES[move](arena, 0.15)
        assert time.monotonic() - begun >= 0.15
        assert bytes(arena) == SECRET
    ready, done = threading.Event(), threading.Event()

    def reader() -> None:
        with holding(arena, how):
            ready.set()
            done.wait(0.3)

    thread = threading.Thread(target=reader)
    thread.start()
    ready.wait()
    MOVES[move](arena, 60)
    thread.join()


@pytest.mark.parametrize("timeout", [-1, float("nan"), "x", None])
def test_bad_timeouts(timeout: object) -> None:
    arena = secret()
    for move in MOVES.values():
        with pytest.raises((ValueError, TypeError)):
            move(arena, timeout)  # type: ignore[arg-type]
    for mode in READING:
        with pytest.raises(ValueError, match="'w'"):
            arena.open(mode, timeout=1)
    assert bytes(arena) == SECRET


@pytest.mark.parametrize("count", [2, 8])
@pytest.mark.parametrize("how", ["export", "block", "view"])
def test_whoever_waits_is_not_kept_out(count: int, how: str) -> None:
    """Threads that use a key back to back kept a rotation out for ever."""
    arena = secret()
    stop = False

    def use() -> None:
        while not stop:
            if how == "export":
                with memoryview(arena):
                    time.sleep(0.001)
            else:
                with arena.open("r") as view, memoryview(view if how == "view" else arena):
                    time.sleep(0.001)

    threads = [threading.Thread(target=use) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(25):
            arena.rotate(timeout=30)
            arena.replace(SECRET, timeout=30)
    finally:
        stop = True
        for thread in threads:
            thread.join()


def test_who_has_a_block_open_is_not_held_off() -> None:
    """Else it would wait for the mover, which waits for it."""
    arena = secret()
    inside, gone_on = threading.Event(), threading.Event()
    begun = time.monotonic()

    def reader() -> None:
        with arena.open("r") as view:
            inside.set()
            time.sleep(0.3)  # until somebody waits
            with memoryview(arena), memoryview(view), arena.open("r"):
                gone_on.set()

    thread = threading.Thread(target=reader)
    thread.start()
    inside.wait()
    arena.replace(NEW, timeout=60)
    assert gone_on.is_set()
    assert time.monotonic() - begun < 30
    thread.join()


def test_a_view_of_an_open_block_is_not_held_off_on_any_thread() -> None:
    arena = secret()
    inside = threading.Event()
    begun = time.monotonic()

    def reader() -> None:
        with arena.open("r") as view:
            inside.set()
            time.sleep(0.3)
            on_thread(lambda: hmac.digest(view, b"m", "sha256"))

    thread = threading.Thread(target=reader)
    thread.start()
    inside.wait()
    arena.replace(NEW, timeout=60)
    assert time.monotonic() - begun < 30
    thread.join()


def test_wipes_are_never_held_off() -> None:
    end = run(
        """
        arena = secret()
        held = memoryview(arena)
        def wait():
            try:
                arena.rotate(timeout=60)
            except (ValueError, BufferError):
                pass
        waiter = threading.Thread(target=wait)
        waiter.start()
        time.sleep(0.2)
        begun = time.monotonic()
        arena.clear()
        secalloc.lockdown()
        arena.close()
        waiter.join()
        assert time.monotonic() - begun < 30
        """
    )
    assert end.fate == (0, b"L"), end.err


def test_a_block_given_back_on_another_thread() -> None:
    """The thread that began it is a newcomer again: one of its looks stands by."""
    arena = secret()
    block = arena.open("r")
    block.__enter__()
    on_thread(lambda: block.__exit__(None, None, None))
    held = memoryview(arena)
    failed: list[BaseException] = []

    def wait() -> None:
        try:
            arena.rotate(timeout=0.5)
        except BufferError as error:
            failed.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    longest = 0.0
    while waiting.is_alive():
        begun = time.monotonic()
        memoryview(arena).release()  # the one that meets the turn lasts until its time is up
        longest = max(longest, time.monotonic() - begun)
    assert longest > 0.2
    assert failed
    held.release()


def test_as_many_blocks_as_it_gets() -> None:
    """200 tasks of an event loop are few."""
    arena = secret()
    with ExitStack() as stack:
        for _ in range(20000):
            stack.enter_context(arena.open("r"))
        for _ in range(65535 - 20000):
            stack.enter_context(arena.open("r"))
        with pytest.raises(BufferError, match="65535"):
            arena.open("r").__enter__()
        arena.open("rw").__enter__()
    assert bytes(arena) == SECRET


def test_no_signature_of_a_key_that_never_was() -> None:
    """Two signers, and a key reloaded in place or replaced, some ten thousand times."""
    message = b"m" * 64
    old, new = SECRET[:32], NEW[:32]
    good = {hmac.digest(key, message, "sha256") for key in (old, new)}
    key = Arena(old)
    signed: list[bytes] = []
    stop = False

    def sign() -> None:
        while not stop:
            try:
                with key.open("r") as view, memoryview(view) as held:
                    time.sleep(0)  # so that the reload may come in between
                    tag = hmac.digest(held, message, "sha256")
            except (WipedError, BufferError):
                continue
            signed.append(tag)

    threads = [threading.Thread(target=sign) for _ in range(2)]
    for thread in threads:
        thread.start()
    reloads = refused = 0
    end = time.monotonic() + 2
    while (time.monotonic() < end or reloads < 50 or len(signed) <= 100) and reloads < 1_000_000:
        reloads += 1
        content = (old, new)[reloads % 2]
        try:
            if reloads % 3:
                key.replace(content, timeout=(reloads % 3 - 1) * 10)
            else:
                with key.open("w") as view:
                    view[:] = content
        except BufferError:
            refused += 1
    stop = True
    for thread in threads:
        thread.join()
    assert set(signed) <= good
    assert refused < reloads
    assert len(signed) > 100


# ---- replace --------------------------------------------------------------------------


@pytest.mark.parametrize("make", [secret, pooled])
def test_replace(make: Callable[[], Arena]) -> None:
    arena = make()
    view, address = arena[:4], arena.address
    arena.replace(NEW)
    assert bytes(arena) == NEW
    assert bytes(view) == NEW[:4]
    assert arena.address != address
    arena.replace(bytearray(SECRET))
    arena.replace(arena)
    arena.check()
    assert bytes(arena) == SECRET
    arena.clear()
    arena.replace(NEW)
    assert bytes(arena) == NEW
    arena.close()
    with pytest.raises(ValueError, match="closed"):
        arena.replace(NEW)


@pytest.mark.parametrize("make", [secret, pooled])
def test_replace_refuses(make: Callable[[], Arena]) -> None:
    arena = make()
    gone = secret()
    gone.clear()
    before = secalloc.status()
    for wrong, error in (
        (SECRET[1:], ValueError),
        (SECRET + b"x", ValueError),
        ("x" * len(SECRET), TypeError),
        (5, TypeError),
        (gone, WipedError),
    ):
        with pytest.raises(error):
            arena.replace(wrong)  # type: ignore[arg-type]
    with pytest.raises(BufferError), memoryview(arena) as itself:
        arena.replace(itself)
    assert bytes(arena) == SECRET
    assert secalloc.status().arenas == before.arenas


def test_replace_leaves_it_sealed() -> None:
    arena = secret()
    arena.seal()
    arena.replace(NEW)
    assert arena.sealed
    assert not readable(arena.address)
    with arena.open("r") as view:
        assert bytes(view) == NEW
    pool = Pool()
    key, other = pool.alloc(SECRET), pool.alloc(SECRET)
    pool.seal()
    key.replace(NEW)
    assert key.sealed
    assert other.sealed
    assert not readable(key.address)
    with pool.open("r"):
        assert bytes(key) == NEW
        assert bytes(other) == SECRET
        key.replace(SECRET)
        assert bytes(key) == SECRET
    assert key.sealed


def test_replace_with_an_alignment() -> None:
    arena = Arena(b"x" * 100, align=64)
    arena.replace(b"y" * 100)
    assert arena.address % 64 == 0
    assert bytes(arena) == b"y" * 100
    empty = Arena(0)
    empty.replace(b"")
    assert len(empty) == 0


def test_the_old_content_is_gone() -> None:
    """A cell of a pool holds noise, and pages of its own are out of reach."""
    check(
        """
        a = secret()
        p = secalloc.Pool().alloc(SECRET)
        old = p.address
        assert ctypes.string_at(old, len(SECRET)) == SECRET
        p.replace(bytes(len(SECRET)))
        assert ctypes.string_at(old, 8) != SECRET[:8]
        at = a.address
        a.replace(bytes(len(SECRET)))
        assert not readable(at)
        assert secalloc.status().arenas == 2
        """
    )


@pytest.mark.parametrize("move", ["rotate", "replace"])
def test_neither_lowers_the_protection(move: str) -> None:
    """At a lock limit that the new pages would be past."""
    check(
        f"""
        become_nobody()
        limit(resource.RLIMIT_MEMLOCK, 2 * PAGE)
        warnings.simplefilter("ignore")
        arena = secret(2 * PAGE)
        if missing(arena):
            raise SystemExit
        before = arena.protection
        for _ in range(3):
            try:
                arena.{move}({"" if move == "rotate" else "bytes(2 * PAGE)"})
            except secalloc.ProtectionError:
                pass
            else:
                raise SystemExit("moved all the same")
            assert arena.protection == before
            assert bytes(arena[:96]) == SECRET
        """
    )
