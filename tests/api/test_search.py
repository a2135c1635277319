"""What arenas and views find, strip and split: the same as bytes do, with views as results."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings, strategies
from support import TRIALS, check, linux_only

import secalloc
from secalloc import Arena, ArenaView, WipedError

INDEX = strategies.one_of(
    strategies.none(),
    strategies.integers(min_value=-70, max_value=70),
    strategies.sampled_from([2**63, -(2**63), 2**70, -(2**70)]),
)
FEW = strategies.sampled_from([b"ab", b"ab \t", b" \t\n\r\v\f\x1c\x85\xa0x"])
"""Bytes to be taken from, so that something is found."""

ONE = ("partition", "rpartition", "removeprefix", "removesuffix")
RANGES = ("find", "rfind", "index", "rindex", "count", "startswith", "endswith")
STRIPS = ("strip", "lstrip", "rstrip")
SPLITS = ("split", "rsplit")


@strategies.composite
def texts(draw: Any) -> tuple[bytes, bytes]:
    """A text, and what is to be looked for: often a part of it."""
    letters = draw(FEW)
    some = strategies.lists(strategies.sampled_from(letters), max_size=60).map(bytes)
    text = draw(some)
    start, end = sorted(draw(strategies.integers(0, len(text))) for _ in range(2))
    return text, draw(strategies.one_of(some, strategies.just(text[start:end])))


def plain(made: Any) -> Any:
    """As bytes give it."""
    if isinstance(made, list | tuple):
        return type(made)(map(bytes, made))
    return bytes(made) if isinstance(made, ArenaView) else made


def outcome(call: Callable[..., Any], *args: Any) -> Any:
    try:
        return plain(call(*args))
    except (TypeError, ValueError) as error:
        return type(error)


def calls(part: bytes, start: Any, end: Any, most: int) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for name in ONE:
        yield name, (part,)
    for name in RANGES:
        yield from ((name, (part,)), (name, (part, start)), (name, (part, start, end)))
    for name in ("find", "rfind", "index", "rindex", "count"):
        yield from ((name, (byte, start)) for byte in (*part[:1], 256, -1, True))
    for name in ("startswith", "endswith"):
        yield from ((name, ((b"?", part), start, end)), (name, ((),)), (name, (("x",),)))
    for name in STRIPS:
        yield from ((name, ()), (name, (None,)), (name, (part,)))
    for name in SPLITS:
        yield from ((name, ()), (name, (None, most)), (name, (part,)), (name, (part, most)))
    for name in (*ONE, *RANGES, *STRIPS, *SPLITS):
        yield name, ("text",)


@settings(max_examples=2 * TRIALS, deadline=None)
@given(texts(), INDEX, INDEX, strategies.integers(-2, 4))
@example((b"", b""), 0, 0, 0)
@example((b"aaaa", b"aa"), 1, None, 1)
@example((b"  a  b  ", b" "), -1, 2**70, 1)
def test_as_bytes_do(case: tuple[bytes, bytes], start: Any, end: Any, most: int) -> None:
    text, part = case
    with Arena(text) as arena, Arena(b"#" + text + b"#") as around, Arena(part) as own:
        for name, args in calls(part, start, end, most):
            expected = outcome(getattr(text, name), *args)
            for secret in (arena, around[1:-1]):
                assert outcome(getattr(secret, name), *args) == expected, (name, args)
                if name in (*ONE, *STRIPS, *SPLITS) and not isinstance(expected, type):
                    made = getattr(secret, name)(*args)
                    parts = [made] if isinstance(made, ArenaView) else made
                    assert all(isinstance(part, ArenaView) for part in parts)
            if args[:1] == (part,):  # what is looked for may be a secret, too
                assert outcome(getattr(arena, name), own, *args[1:]) == expected, name


def test_words_with_every_period() -> None:
    """All texts of two letters up to a length, and all that can be looked for in them."""
    words = [
        bytes(97 + (n >> i & 1) for i in range(size)) for size in range(7) for n in range(2**size)
    ]
    with secalloc.Pool() as pool:
        for text in (b"abaababaabaab", b"aaaaaaaab", b"baaaaaaaa", b"abababababab"):
            secret = pool.alloc(text)
            for word in words:
                assert secret.find(word) == text.find(word)
                assert secret.rfind(word) == text.rfind(word)
                assert secret.count(word) == text.count(word)


def test_what_is_long() -> None:
    """Of a time that grows as the sizes do: a square of them would take hours."""
    text = b"a" * 2_000_000
    with Arena(text + b"b") as arena:
        assert arena.find(b"a" * 1_000_000 + b"b") == 1_000_000
        assert arena.rfind(b"b" + b"a" * 1_000_000) == -1
        assert len(arena[-200_001:].split(b"a")) == 200_001


def test_a_part_is_a_view_of_the_same_arena() -> None:
    with Arena(b"  user:password\n", name="login") as arena:
        user, colon, password = arena.strip().partition(b":")
        assert (bytes(user), bytes(colon), bytes(password)) == (b"user", b":", b"password")
        assert all(part.arena is arena for part in (user, colon, password))
        password[0:4] = b"PASS"
        assert arena == b"  user:PASSword\n"
        arena.rotate()
        assert password == b"PASSword"
        arena.clear()
        with pytest.raises(WipedError):
            bytes(password)


def test_a_view_of_a_block_dies_with_it() -> None:
    with Arena(b" x ") as arena:
        arena.seal()
        with arena.open("r") as view:
            inner = view.strip()
            assert inner == b"x"
        with pytest.raises(secalloc.SealedError):
            inner.strip()


def test_keywords_as_bytes_have_them() -> None:
    with Arena(b"a,b,c") as arena:
        assert plain(arena.split(sep=b",", maxsplit=1)) == [b"a", b"b,c"]
        assert plain(arena.rsplit(sep=b",", maxsplit=1)) == [b"a,b", b"c"]
        for name in (*ONE, *RANGES, *STRIPS):
            with pytest.raises(TypeError):
                getattr(arena, name)(sub=b"a")


def test_a_wiped_pattern() -> None:
    with Arena(b"text") as arena, Arena(b"t") as part:
        part.clear()
        for name in (*ONE, *RANGES, *STRIPS, *SPLITS):
            with pytest.raises(WipedError):
                getattr(arena, name)(part)


def test_foreign_code_that_closes() -> None:
    """What an argument's own code does comes before the bytes are looked at."""

    class Closes:
        def __index__(self) -> int:
            arena.close()
            return 0

    arena = Arena(b"text")
    with pytest.raises(secalloc.ClosedError):
        arena.find(b"t", Closes())


@linux_only
def test_nothing_stays_behind() -> None:
    """No copy of what was searched, of what was looked for, or of a part."""
    check("""
        import secalloc.residue
        from secalloc import residue
        key, other = secalloc.random(48), secalloc.random(32)
        both = secalloc.concat(b"  ", key, b":", other, b" :")
        for _ in range(3):
            both.strip(); both.split(b":"); both.rsplit(None, 1); both.partition(other)
            assert both.find(key) == 2 and both.rfind(other) == 51 and both.count(key) == 1
            assert both.startswith(b"  ") and both[2:].startswith(key)
            both[2:].removeprefix(key); both.strip(key); both.index(other[3:])
        for secret in (key, other):
            left = [c for c in residue.find(secret) if not secalloc.is_secure(memoryview(both)) or
                    not both.address <= c.address < both.address + len(both)]
            assert left == [], left
        shown = key.reveal()  # the control
        assert any(c.address not in range(both.address, both.address + len(both))
                   for c in residue.find(key))
    """)
