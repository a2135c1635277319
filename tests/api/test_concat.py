"""Putting secrets together: the result is secret too."""

import operator
from collections.abc import Callable

import pytest
from crash import SECRET, raw, secret

import secalloc
from secalloc import Arena, WipedError


@pytest.mark.parametrize("second", ["", "cd"])
@pytest.mark.parametrize("first", ["", "ab"])
@pytest.mark.parametrize("right_kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("left_kind", [bytes, bytearray, memoryview])
def test_sums(
    left_kind: Callable[[bytes], bytes],
    right_kind: Callable[[bytes], bytes],
    first: str,
    second: str,
) -> None:
    left, right = left_kind(first.encode()), right_kind(second.encode())
    expected = (first + second).encode()
    for a, b in (
        (Arena(left), right),
        (left, Arena(right)),
        (Arena(left), Arena(right)),
        (Arena(b"." + bytes(left))[1:], right),
        (left, Arena(b"." + bytes(right))[1:]),
        (Arena(left), Arena(b"." + bytes(right))[1:]),
    ):
        joined = a + b
        assert type(joined) is Arena
        assert bytes(joined) == expected
        assert secalloc.is_secure(joined)


@pytest.mark.parametrize("other", ["text", 5, None, [1], 1.5], ids=repr)
def test_sums_with_others(other: object) -> None:
    for subject in (secret(), secret()[:]):
        with pytest.raises(TypeError):
            operator.add(subject, other)
        with pytest.raises(TypeError):
            operator.add(other, subject)


def test_in_place_addition_never_changes_the_arena() -> None:
    arena = kept = Arena(b"ab")
    arena += b"c"
    assert type(arena) is Arena
    assert (bytes(arena), bytes(kept)) == (b"abc", b"ab")


def test_an_arena_cannot_be_multiplied() -> None:
    with pytest.raises(TypeError):
        secret() * 2  # type: ignore[operator]


def test_concat() -> None:
    with secalloc.concat() as none:
        assert len(none) == 0
    with secret() as one, secalloc.concat(one, b"-", one[:3], bytearray(b"+"), one) as many:
        assert bytes(many) == SECRET + b"-" + SECRET[:3] + b"+" + SECRET
    with secalloc.concat(b"ab", b"cd") as plain:
        assert type(plain) is Arena
        assert bytes(plain) == b"abcd"
    parts = [bytes([i]) * i for i in range(256)]
    with secalloc.concat(*parts) as large:
        assert bytes(large) == b"".join(parts)


@pytest.mark.parametrize("wrong", ["text", 5, None, [1]], ids=repr)
def test_concat_takes_buffers_only(wrong: object) -> None:
    before = secalloc.status().arenas
    with pytest.raises(TypeError):
        secalloc.concat(b"a", wrong)  # type: ignore[arg-type]
    assert secalloc.status().arenas == before


@pytest.mark.parametrize("position", [0, 1, 2])
def test_concat_with_an_unreadable_part_gives_nothing(position: int) -> None:
    wiped = secret()
    wiped.clear()
    parts: list[Arena | bytes] = [secret(), b"x"]
    parts.insert(position, wiped)
    before = secalloc.status().arenas
    with pytest.raises(WipedError):
        secalloc.concat(*parts)
    with pytest.raises(WipedError):
        wiped + b"x"
    with pytest.raises(WipedError):
        b"x" + wiped
    assert secalloc.status().arenas == before


def test_parts_stay_as_they_are() -> None:
    one = secret()
    joined = one + one
    assert raw(joined) == SECRET * 2
    joined.close()
    assert bytes(one) == SECRET
    one.rotate()
