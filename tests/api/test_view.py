"""Indexing, slices, and views that name a range rather than an address."""

import pytest
from crash import SECRET, secret

from secalloc import Arena, ArenaView

N = len(SECRET)
BOUNDS = [None, 0, 1, 5, N - 1, N, N + 5, -1, -N, -N - 5]


def test_items() -> None:
    for i in (0, 1, N - 1, -1, -N):
        arena = secret()
        assert arena[i] == SECRET[i]
        arena[i] = 0
        assert arena[i] == 0
    view = arena[2:10]
    view[0] = 255
    assert (arena[2], view[0], view[-8]) == (255, 255, 255)


@pytest.mark.parametrize("i", [N, -N - 1, 2**70])
def test_items_outside(i: int) -> None:
    for target in (secret(), secret()[:]):
        with pytest.raises(IndexError):
            target[i]
        with pytest.raises(IndexError):
            target[i] = 0


@pytest.mark.parametrize("value", [-1, 256, 2**70])
def test_items_out_of_range(value: int) -> None:
    for target in (secret(), secret()[:]):
        with pytest.raises((ValueError, OverflowError)):
            target[0] = value
        assert bytes(target) == SECRET


@pytest.mark.parametrize("value", ["a", b"a", None, 1.0])
def test_items_of_wrong_type(value: object) -> None:
    for target in (secret(), secret()[:]):
        with pytest.raises(TypeError):
            target[0] = value  # type: ignore[call-overload]
        assert bytes(target) == SECRET


@pytest.mark.parametrize("key", ["a", 1.0, None, (1, 2)])
def test_keys_of_wrong_type(key: object) -> None:
    for target in (secret(), secret()[:]):
        with pytest.raises(TypeError):
            target[key]  # type: ignore[call-overload]


@pytest.mark.parametrize("start", BOUNDS)
@pytest.mark.parametrize("stop", BOUNDS)
def test_slices_are_as_of_bytes(start: int | None, stop: int | None) -> None:
    arena = secret()
    view = arena[start:stop]
    assert isinstance(view, ArenaView)
    assert bytes(view) == SECRET[start:stop]
    assert len(view) == len(SECRET[start:stop])
    assert bytes(view[start:stop]) == SECRET[start:stop][start:stop]
    new = bytes(255 - b for b in SECRET[start:stop])
    arena[start:stop] = new
    expected = bytearray(SECRET)
    expected[slice(*slice(start, stop).indices(N))] = new
    assert bytes(arena) == expected


@pytest.mark.parametrize("step", [2, -1, 0, 3])
def test_steps_are_refused(step: int) -> None:
    for target in (secret(), secret()[:]):
        with pytest.raises((ValueError, TypeError)):
            target[::step]
        with pytest.raises((ValueError, TypeError)):
            target[0:2:step] = b"ab"
        assert bytes(target) == SECRET


@pytest.mark.parametrize("data", [b"", b"abc", b"abcde"])
def test_slice_assignment_keeps_the_length(data: bytes) -> None:
    for target in (secret(), secret()[:]):
        with pytest.raises(ValueError, match=r"(?i)length|size|bytes"):
            target[0:4] = data
        assert bytes(target) == SECRET


@pytest.mark.parametrize("data", ["abcd", 4, None, [1, 2, 3, 4]])
def test_slice_assignment_takes_bytes_only(data: object) -> None:
    for target in (secret(), secret()[:]):
        with pytest.raises(TypeError):
            target[0:4] = data  # type: ignore[call-overload]
        assert bytes(target) == SECRET


def test_deletion_is_refused() -> None:
    for target in (secret(), secret()[:]):
        with pytest.raises(TypeError):
            del target[0]
        with pytest.raises(TypeError):
            del target[0:2]
        assert bytes(target) == SECRET


@pytest.mark.parametrize("shift", [-7, -1, 0, 1, 7])
def test_overlapping_assignment(shift: int) -> None:
    arena = secret()
    expected = bytearray(SECRET)
    expected[10 + shift : 40 + shift] = SECRET[10:40]
    arena[10 + shift : 40 + shift] = arena[10:40]
    assert bytes(arena) == expected
    arena = secret()
    with memoryview(arena) as seen:
        arena[10 + shift : 40 + shift] = seen[10:40]
    assert bytes(arena) == expected


def test_assignment_between_arenas() -> None:
    one, two = secret(), Arena(N)
    two[:] = one
    assert two == one
    two[0:4] = one[8:12]
    assert bytes(two) == SECRET[8:12] + SECRET[4:]


def test_views_survive_rotation() -> None:
    arena = secret()
    view, inner = arena[4:40], arena[4:40][2:6]
    old = arena.address
    arena.rotate()
    assert arena.address != old
    assert bytes(view) == SECRET[4:40]
    assert bytes(inner) == SECRET[6:10]
    inner[:] = b"wxyz"
    assert bytes(arena[6:10]) == b"wxyz"


def test_views_keep_their_arena() -> None:
    view = secret()[2:9]
    assert bytes(view) == SECRET[2:9]


def test_view_type() -> None:
    view = secret()[1:3]
    assert not hasattr(view, "__dict__")
    with pytest.raises(TypeError):
        ArenaView()
    with pytest.raises(TypeError):
        type("Child", (ArenaView,), {})
