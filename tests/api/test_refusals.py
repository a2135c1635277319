"""What an arena does not do, because it would show the content."""

import copy
import json
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from secalloc import Arena, ArenaView

PASSWORD = b"31337"


def dumps(protocol: int, arena: Any) -> bytes:
    return pickle.dumps(arena, protocol)


REFUSED: dict[str, Callable[[Any], object]] = {
    "str": str,
    "format": format,
    "format with a spec": lambda a: format(a, ">10"),
    "f-string": lambda a: f"{a}",
    "str.format": "{}".format,
    "%s": lambda a: "%s" % a,  # noqa: UP031
    "print": print,
    "int": int,
    "int with a base": lambda a: int(a, 10),
    "float": float,
    "complex": complex,
    "hash": hash,
    "dict key": lambda a: {a: 1},
    "set": lambda a: {a},
    "iter": iter,
    "list": list,
    "for": lambda a: [b for b in a],  # noqa: C416
    "unpacking": lambda a: (*a,),
    "reversed": reversed,
    "in": lambda a: 5 in a,
    "bytes in": lambda a: b"3" in a,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "json": json.dumps,
    "index": lambda a: [1, 2][a],
    **{f"pickle {n}": partial(dumps, n) for n in range(pickle.HIGHEST_PROTOCOL + 1)},
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("kind", ["arena", "view"])
def test_refused(what: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    arena = Arena(PASSWORD)
    subject: Arena | ArenaView = arena if kind == "arena" else arena[:]
    with pytest.raises(TypeError) as caught:
        REFUSED[what](subject)
    shown = str(caught.value) + capsys.readouterr().out
    assert "31337" not in shown
    assert bytes(arena) == PASSWORD


@pytest.mark.parametrize("what", REFUSED)
def test_allowed_for_bytes_or_refused_for_all(what: str) -> None:
    """The table is about what would otherwise work, or leak in its message."""
    harmless = {"format with a spec", "complex", "json", "index"}
    try:
        REFUSED[what](PASSWORD)
    except TypeError:
        assert what in harmless


@pytest.mark.parametrize("state", ["wiped", "closed"])
@pytest.mark.parametrize("what", REFUSED)
def test_refused_in_other_states_too(what: str, state: str) -> None:
    arena = Arena(PASSWORD)
    arena.clear() if state == "wiped" else arena.close()
    with pytest.raises((TypeError, ValueError)):
        REFUSED[what](arena)


def test_truth_is_length_as_for_bytes() -> None:
    assert bool(Arena(1))
    assert not bool(Arena(0))


@pytest.mark.parametrize(
    "reveal",
    [
        bytes,
        bytearray,
        lambda a: b"%b" % a,
        lambda a: b"".join([a]),
        lambda a: str(a, "ascii").encode(),
        lambda a: int.from_bytes(a, "big").to_bytes(5, "big"),
    ],
    ids=["bytes", "bytearray", "%b", "join", "str with encoding", "from_bytes"],
)
def test_what_no_buffer_can_stop(reveal: Callable[[Any], object]) -> None:
    assert reveal(Arena(PASSWORD)) == PASSWORD
