"""Comparisons: right, deferring, and never a match for what cannot be read."""

import array
import operator
from typing import Any
from unittest import mock

import pytest
from crash import SECRET, secret
from support import unplaced

import secalloc
from secalloc import Arena, WipedError

ORDER: list[Any] = [operator.lt, operator.le, operator.gt, operator.ge]
ALL: list[Any] = [operator.eq, operator.ne, *ORDER]
VALUES = [b"", b"\0", b"\0\0", b"a", b"ab", b"abc", b"abd", b"b", b"\xff", b"\x7f", b"\x80", SECRET]


@pytest.mark.parametrize("right", VALUES, ids=len)
@pytest.mark.parametrize("left", VALUES, ids=len)
def test_as_bytes_do(left: bytes, right: bytes) -> None:
    a = Arena(left)
    others = (right, bytearray(right), memoryview(right), Arena(right), Arena(b"-" + right)[1:])
    for compare in ALL:
        for other in others:
            assert compare(a, other) is compare(left, right)
            assert compare(a[:], other) is compare(left, right)
        assert compare(left, Arena(right)) is compare(left, right)
    assert secalloc.compare_digest(a, right) is (left == right)
    assert secalloc.compare_digest(right, a[:]) is (left == right)


def test_a_difference_anywhere_is_found() -> None:
    for size in (1, 7, 8, 9, 31, 32, 33, 64, 65, 4096, 4097):
        content = (SECRET * (size // len(SECRET) + 1))[:size]
        arena = Arena(content)
        for at in {0, 1, size // 2, size - 2, size - 1} & set(range(size)):
            for bit in range(8):
                other = bytearray(content)
                other[at] ^= 1 << bit
                assert arena != other
                assert not secalloc.compare_digest(arena, other)
                assert (arena < other) is (content < bytes(other))
                assert (arena > other) is (content > bytes(other))
        assert arena == content


@pytest.mark.parametrize("other", ["text", 5, None, [1], object()], ids=unplaced)
def test_others_are_not_implemented(other: object) -> None:
    arena = secret()
    assert arena.__eq__(other) is NotImplemented
    assert arena != other
    for compare in ORDER:
        with pytest.raises(TypeError):
            compare(arena, other)
    with pytest.raises(TypeError):
        secalloc.compare_digest(arena, other)  # type: ignore[arg-type]


def test_the_other_has_its_say() -> None:
    arena = secret()
    assert arena == mock.ANY
    assert mock.ANY == arena  # noqa: SIM300


def test_wide_items_count_as_bytes() -> None:
    words = array.array("H", SECRET)
    assert secret() == words
    assert secalloc.compare_digest(secret(), words)


def test_compare_digest_of_plain_buffers() -> None:
    assert secalloc.compare_digest(b"abc", bytearray(b"abc"))
    assert not secalloc.compare_digest(b"abc", b"abd")
    assert not secalloc.compare_digest(b"abc", b"ab")
    with pytest.raises(TypeError):
        secalloc.compare_digest("abc", b"abc")  # type: ignore[arg-type]


def test_numpy_defers() -> None:
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    assert Arena.__array_ufunc__ is None
    assert secalloc.ArenaView.__array_ufunc__ is None
    arena = secret()
    same = numpy.frombuffer(SECRET, dtype=numpy.uint8)
    other = numpy.zeros(len(SECRET), dtype=numpy.uint8)
    for subject in (arena, arena[:]):
        assert (subject == same) is True
        assert (same == subject) is True
        assert (other == subject) is False
        assert (other != subject) is True
    joined = same + arena
    assert isinstance(joined, Arena)
    assert bytes(joined) == SECRET * 2


def unreadable(kind: str) -> Arena:
    arena = secret()
    arena.clear() if kind == "wiped" else arena.close()
    return arena


@pytest.mark.parametrize("kind", ["wiped", "closed"])
def test_unreadable_equals_only_itself(kind: str) -> None:
    arena, twin, good = unreadable(kind), unreadable(kind), secret()
    assert arena == arena  # noqa: PLR0124
    assert not arena != arena  # noqa: PLR0124, SIM202
    assert arena in [arena]
    assert [twin, arena].index(arena) == 1
    for other in (twin, good, good[:], SECRET, b"", bytearray(SECRET), None, 5):
        assert (arena == other) is False
        assert (other == arena) is False
        assert arena != other
    mocked = mock.Mock()
    mocked(arena)
    mocked.assert_called_once_with(arena)


@pytest.mark.parametrize("kind", ["wiped", "closed"])
def test_unreadable_has_no_order(kind: str) -> None:
    error = WipedError if kind == "wiped" else ValueError
    arena = unreadable(kind)
    for compare in ORDER:
        for other in (SECRET, secret(), arena):
            with pytest.raises(error):
                compare(arena, other)
        with pytest.raises(error):
            compare(secret(), arena)
    for left, right in ((arena, SECRET), (SECRET, arena), (arena, arena), (secret(), arena)):
        with pytest.raises(error):
            secalloc.compare_digest(left, right)


def test_wiped_noise_does_not_match_itself_read_raw() -> None:
    arena = secret()
    with memoryview(arena) as seen:
        arena.clear()
        noise = seen.tobytes()
    assert arena != noise
    assert arena[:] != noise
