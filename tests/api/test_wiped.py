"""A wiped arena does not pass for a key, until the whole is written again."""
# ruff: noqa: PT012 - what is wiped inside a block shows at its end

import io
import operator
import socket
from collections.abc import Callable
from typing import Any

import pytest
from crash import SECRET, raw

import secalloc
from secalloc import Arena, WipedError

NEW = bytes(reversed(SECRET))
READS: dict[str, Callable[[Any], object]] = {
    "item": lambda a: a[0],
    "bytes": bytes,
    "memoryview": memoryview,
    "item assignment": lambda a: operator.setitem(a, 0, 1),
    "partial assignment": lambda a: operator.setitem(a, slice(0, 4), b"abcd"),
    "bytes of a slice": lambda a: bytes(a[1:5]),
    "item of a slice": lambda a: a[1:5][0],
    "assignment to a slice": lambda a: operator.setitem(a[1:5], 0, 1),
    "whole assignment to a slice": lambda a: operator.setitem(a[1:5], slice(None), b"abcd"),
    "sum": lambda a: a + b"x",
    "sum on the right": lambda a: b"x" + a,
    "order": lambda a: a < b"x",
    "compare_digest": lambda a: secalloc.compare_digest(a, b"x"),
    "concat": secalloc.concat,
    "Arena": Arena,
    "take": secalloc.take,
}


Make = Callable[..., Arena]


def wiped(make: Make) -> Arena:
    arena = make()
    arena.clear()
    return arena


def noise_only(arena: Arena) -> bool:
    """Whether an arena is wiped and really holds nothing of ours."""
    held = raw(arena)
    return arena.wiped and not any(
        text[i : i + 8] in held for text in (SECRET, NEW) for i in range(len(SECRET) - 8)
    )


def test_clear_leaves_noise(make: Make) -> None:
    arena = make()
    assert not arena.wiped
    address = arena.address
    arena.clear()
    assert noise_only(arena)
    assert raw(arena) != bytes(len(SECRET))
    assert (arena.address, len(arena), arena.size) == (address, len(SECRET), len(SECRET))
    arena.clear()
    assert noise_only(arena)


def test_large_arenas_are_wiped_to_the_last_byte(make: Make) -> None:
    size = 5 * 2**20 + 17
    arena = make(size)
    arena.clear()
    held = raw(arena)
    assert SECRET[:8] not in held
    assert held[:4096] == held[4096:8192]  # the noise repeats
    assert held[-17:] != bytes(17)


@pytest.mark.parametrize("name", READS)
def test_every_read_raises(make: Make, name: str) -> None:
    READS[name](make())  # works as long as it is usable
    arena = wiped(make)
    with pytest.raises(WipedError):
        READS[name](arena)
    assert noise_only(arena)


def test_wiped_error_is_a_value_error() -> None:
    assert issubclass(WipedError, ValueError)


def test_consumers_never_get_the_bytes(make: Make) -> None:
    """Some replace our error by one of their own, but get nothing."""
    arena = wiped(make)
    left, right = socket.socketpair()
    with left, right:
        right.send(SECRET)
        for consumer in (
            lambda: b"".join([arena]),
            lambda: left.recv_into(arena),
            lambda: left.send(arena),
            lambda: b"%b" % arena,  # type: ignore[str-format]
            lambda: io.BytesIO(SECRET).readinto(arena),
            lambda: int.from_bytes(arena, "big"),
        ):
            with pytest.raises((WipedError, TypeError, BufferError)):
                consumer()
        left.setblocking(False)
        right.setblocking(False)
        with pytest.raises(BlockingIOError):
            right.recv(1)
    assert noise_only(arena)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, Arena, lambda b: Arena(b)[:]])
def test_a_whole_assignment_makes_it_usable(make: Make, kind: Callable[[bytes], bytes]) -> None:
    arena = wiped(make)
    arena[:] = kind(NEW)
    assert not arena.wiped
    assert bytes(arena) == raw(arena) == NEW


@pytest.mark.parametrize("bounds", [slice(0, None), slice(None, len(SECRET)), slice(0, 999)])
def test_a_slice_that_covers_all_is_the_whole(make: Make, bounds: slice) -> None:
    arena = wiped(make)
    arena[bounds] = NEW
    assert bytes(arena) == NEW


@pytest.mark.parametrize("data", [b"", NEW[1:], NEW + b"x"])
def test_a_wrong_length_leaves_it_wiped(make: Make, data: bytes) -> None:
    arena = wiped(make)
    with pytest.raises(ValueError, match=r"(?i)length|size|bytes"):
        arena[:] = data
    assert noise_only(arena)


@pytest.mark.parametrize("data", ["text", None, 5])
def test_a_wrong_type_leaves_it_wiped(make: Make, data: object) -> None:
    arena = wiped(make)
    with pytest.raises(TypeError):
        arena[:] = data  # type: ignore[call-overload]
    assert noise_only(arena)


def test_a_wiped_source_leaves_the_target_unreadable(make: Make) -> None:
    arena, source = wiped(make), wiped(make)
    with pytest.raises(WipedError):
        arena[:] = source
    assert noise_only(arena)
    usable = make()
    with pytest.raises(WipedError):
        usable[:] = source
    with pytest.raises(WipedError):
        usable[0:4] = source[0:4]
    with pytest.raises(WipedError):
        wiped(make)[:] = arena


def test_an_empty_arena_is_wiped_and_written_too() -> None:
    arena = Arena(0)
    arena.clear()
    assert arena.wiped
    with pytest.raises(WipedError):
        bytes(arena)
    arena[:] = b""
    assert not arena.wiped
    assert bytes(arena) == b""


@pytest.mark.parametrize("start", [lambda make: make(), wiped], ids=["usable", "wiped"])
def test_open_w(make: Make, start: Callable[[Make], Arena]) -> None:
    arena = start(make)
    with arena.open("w") as view:
        assert len(view) == len(SECRET)
        assert arena.wiped
        with pytest.raises(WipedError):
            bytes(arena)
        for i in range(0, len(NEW), 8):
            assert io.BytesIO(NEW[i:]).readinto(view[i : i + 8]) == 8
        view[0] = NEW[0]
        view[1:3] = NEW[1:3]
    assert not arena.wiped
    assert bytes(arena) == NEW


def test_open_w_begins_with_noise(make: Make) -> None:
    arena = make()
    with arena.open("w"):
        assert noise_only(arena)


def test_the_view_is_dead_after_the_block(make: Make) -> None:
    arena = make()
    with arena.open("w") as view:
        view[:] = NEW
    for use in (bytes, lambda v: v[0], memoryview, lambda v: operator.setitem(v, 0, 1)):
        with pytest.raises((ValueError, BufferError)):
            use(view)
    assert bytes(arena) == NEW


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, OSError])
def test_an_exception_inside_leaves_noise(make: Make, error: type[BaseException]) -> None:
    arena = make()
    with pytest.raises(error), arena.open("w") as view:
        view[:] = NEW
        raise error
    assert noise_only(arena)
    with pytest.raises(WipedError):
        bytes(arena)
    with arena.open("w") as view:
        view[:] = NEW
    assert bytes(arena) == NEW


WIPES: dict[str, Callable[[Arena], object]] = {
    "clear": Arena.clear,
    "secalloc.clear": secalloc.clear,
    "lockdown": lambda _: secalloc.lockdown(),
}
of_all = pytest.mark.thread_unsafe(reason="wipes what other threads fill")
each_wipe = pytest.mark.parametrize(
    "wipe", ["clear", "secalloc.clear", pytest.param("lockdown", marks=of_all)]
)


@each_wipe
def test_a_wipe_meanwhile_leaves_noise(make: Make, wipe: str) -> None:
    arena = make()
    with pytest.raises(WipedError), arena.open("w") as view:
        view[:] = NEW
        WIPES[wipe](arena)
        assert noise_only(arena)
    assert noise_only(arena)


@each_wipe
def test_what_is_written_after_the_wipe_is_gone_too(make: Make, wipe: str) -> None:
    arena = make()
    with pytest.raises(WipedError), arena.open("w") as view, memoryview(view) as export:
        WIPES[wipe](arena)
        export[:] = NEW
    assert noise_only(arena)


def test_a_wipe_and_an_exception_keep_the_exception(make: Make) -> None:
    arena = make()
    with pytest.raises(KeyError), arena.open("w"):
        secalloc.lockdown()
        raise KeyError
    assert noise_only(arena)


def test_a_fill_is_exclusive(make: Make) -> None:
    arena = make()
    with arena.open("w") as one:
        one[:] = NEW
        with pytest.raises(BufferError, match="leave it"), arena.open("w"):
            pass
        with pytest.raises(BufferError):
            arena[:] = SECRET
        assert arena.wiped
    assert bytes(arena) == NEW


@pytest.mark.parametrize("mode", ["", "x", "wb", "W", "a"])
def test_other_modes(make: Make, mode: str) -> None:
    arena = make()
    with pytest.raises(ValueError, match="mode"):
        arena.open(mode)  # type: ignore[arg-type]
    assert bytes(arena) == SECRET


def test_mode_of_wrong_type(make: Make) -> None:
    for wrong in (None, 5, b"w"):
        with pytest.raises(TypeError):
            make().open(wrong)  # type: ignore[arg-type]


def test_a_context_that_is_never_entered_does_nothing(make: Make) -> None:
    arena = make()
    arena.open("w")
    assert bytes(arena) == SECRET


def test_views_of_a_wiped_arena_come_back_with_it(make: Make) -> None:
    arena = make()
    view = arena[4:8]
    arena.clear()
    with pytest.raises(WipedError):
        bytes(view)
    arena[:] = NEW
    assert bytes(view) == NEW[4:8]


def test_closing_inside_the_block(make: Make) -> None:
    arena = make()
    with pytest.raises(ValueError), arena.open("w") as view:  # noqa: PT011
        arena.close()
        view[0] = 1
    assert arena.closed
