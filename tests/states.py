"""The table of state by operation: what each gives, for test_states.py to walk."""

import ast
import copy
import operator
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from crash import SECRET, secret

import secalloc
from secalloc import Arena, ArenaView

STATES = ("usable", "wiped", "filling", "sealed", "open r", "open rw", "closed", "forked")


def enter(arena: Arena) -> None:
    with arena.open("w") as view:
        view[:] = SECRET


def look(arena: Arena, mode: Literal["r", "rw"]) -> int:
    with arena.open(mode) as view:
        return view[3]


def whole(target: "Arena | ArenaView") -> None:
    target[:] = SECRET


OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "len": lambda a, v: len(a),
    "size": lambda a, v: a.size,
    "repr": lambda a, v: "bytes" in repr(a) or "Arena" in repr(a),
    "truth": lambda a, v: bool(a),
    ".wiped": lambda a, v: a.wiped,
    ".closed": lambda a, v: a.closed,
    ".sealed": lambda a, v: a.sealed,
    ".name": lambda a, v: repr(a.name),
    ".name = text": lambda a, v: setattr(a, "name", "called"),
    ".encrypted": lambda a, v: a.encrypted,
    ".protection": lambda a, v: bool(a.protection),
    ".address": lambda a, v: a.address > 0,
    "a[i]": lambda a, v: a[3],
    "a[i] = byte": lambda a, v: operator.setitem(a, 3, 1),
    "a[i:j]": lambda a, v: len(a[2:6]),
    "a[i:j] = data": lambda a, v: operator.setitem(a, slice(2, 6), b"abcd"),
    "a[:] = data": lambda a, v: whole(a),
    "bytes": lambda a, v: len(bytes(a)),
    "memoryview": lambda a, v: memoryview(a).release(),
    "reveal": lambda a, v: len(a.reveal()),
    "reveal(encoding)": lambda a, v: len(a.reveal("latin-1")),
    "find": lambda a, v: a.find(SECRET[5:9]),
    "index": lambda a, v: a.index(SECRET[7]),
    "rfind": lambda a, v: a.rfind(SECRET[5:9]),
    "rindex": lambda a, v: a.rindex(SECRET[7:]),
    "count": lambda a, v: a.count(SECRET[5:9]),
    "startswith": lambda a, v: a.startswith(SECRET[:2]),
    "endswith": lambda a, v: a.endswith((b"?", SECRET[-2:])),
    "strip": lambda a, v: len(a.strip(SECRET[:2])),
    "lstrip": lambda a, v: len(a.lstrip(SECRET[:2])),
    "rstrip": lambda a, v: len(a.rstrip()),
    "removeprefix": lambda a, v: len(a.removeprefix(SECRET[:3])),
    "removesuffix": lambda a, v: len(a.removesuffix(SECRET[-3:])),
    "split": lambda a, v: len(a.split(SECRET[5:9])),
    "rsplit": lambda a, v: len(a.rsplit(SECRET[5:9], 1)),
    "partition": lambda a, v: len(a.partition(SECRET[5:9])[0]),
    "rpartition": lambda a, v: len(a.rpartition(SECRET[5:9])[0]),
    "a == a": lambda a, v: a == a,  # noqa: PLR0124
    "a == bytes": lambda a, v: a == SECRET,
    "a != other": lambda a, v: a != secret(),
    "a < bytes": lambda a, v: a < b"\xff",
    "a >= bytes": lambda a, v: a >= b"",
    "compare_digest": lambda a, v: secalloc.compare_digest(a, SECRET),
    "a + bytes": lambda a, v: len(a + b"x"),
    "bytes + a": lambda a, v: len(b"x" + a),
    "concat": lambda a, v: len(secalloc.concat(a)),
    "Arena(a)": lambda a, v: len(Arena(a)),
    "take": lambda a, v: len(secalloc.take(a)),
    "clear()": lambda a, v: a.clear(),
    "clear(a)": lambda a, v: secalloc.clear(a),
    "check": lambda a, v: a.check(),
    "rotate": lambda a, v: a.rotate(),
    "replace": lambda a, v: a.replace(SECRET),
    "open w": lambda a, v: enter(a),
    "open r": lambda a, v: look(a, "r"),
    "open rw": lambda a, v: look(a, "rw"),
    "seal": lambda a, v: a.seal(),
    "seal, encrypted": lambda a, v: a.seal(encrypt=True),
    "open, not entered": lambda a, v: a.open("w") and None,
    "with": lambda a, v: a.__enter__() and None,
    "close": lambda a, v: a.close(),
    "is_secure": lambda a, v: secalloc.is_secure(a),
    "str": lambda a, v: str(a),
    "format": lambda a, v: f"{a}",
    "int": lambda a, v: int(a),
    "float": lambda a, v: float(a),
    "hash": lambda a, v: hash(a),
    "iter": lambda a, v: iter(a),
    "in": lambda a, v: 5 in a,
    "pickle": lambda a, v: pickle.dumps(a),
    "copy": lambda a, v: copy.copy(a),
    "deepcopy": lambda a, v: copy.deepcopy(a),
    "del a[i]": lambda a, v: operator.delitem(a, 0),
    "len(v)": lambda a, v: len(v),
    "repr(v)": lambda a, v: "View" in repr(v),
    "v[i]": lambda a, v: v[0],
    "v[i] = byte": lambda a, v: operator.setitem(v, 0, 1),
    "v[i:j]": lambda a, v: len(v[1:3]),
    "v[:] = data": lambda a, v: operator.setitem(v, slice(None), b"abcd"),
    "bytes(v)": lambda a, v: len(bytes(v)),
    "memoryview(v)": lambda a, v: memoryview(v).release(),
    "v.reveal": lambda a, v: len(v.reveal()),
    "v.find": lambda a, v: v.find(SECRET[5:6]),
    "v.strip": lambda a, v: len(v.strip(SECRET[4:5])),
    "v.split": lambda a, v: len(v.split(SECRET[5:6])),
    "v.startswith": lambda a, v: v.startswith(SECRET[4:6]),
    "v == bytes": lambda a, v: v == SECRET[4:8],
    "v < bytes": lambda a, v: v < b"\xff",
    "v + bytes": lambda a, v: len(v + b"x"),
    "clear(v)": lambda a, v: secalloc.clear(v),
    "is_secure(v)": lambda a, v: secalloc.is_secure(v),
    "str(v)": lambda a, v: str(v),
    "hash(v)": lambda a, v: hash(v),
}

N = len(SECRET)
W, S, V, F = "WipedError", "SealedError", "ClosedError", "ForkedError"
B = "BufferError"
REFUSED = ("TypeError",) * 8


def read(value: object) -> tuple[object, ...]:
    """Works where the arena can be read."""
    return value, W, W, S, value, value, V, F


def write(value: object) -> tuple[object, ...]:
    """Works where a usable arena may be changed."""
    return value, W, W, S, S, value, V, F


def always(value: object) -> tuple[object, ...]:
    """Works as long as the arena is there."""
    return (value,) * 6 + (V, F)


TABLE: dict[str, tuple[object, ...]] = {
    "len": (N,) * 8,
    "size": (N,) * 8,
    "repr": (True,) * 8,
    "truth": (True,) * 8,
    ".wiped": (False, True, True, False, False, False, True, True),
    ".closed": (False,) * 6 + (True, True),
    ".sealed": (False,) * 3 + (True,) + (False,) * 4,
    ".name": ("None",) * 8,
    ".name = text": (None,) * 8,
    ".encrypted": (False,) * 8,  # sealed with encryption: True
    ".protection": always(True),
    ".address": always(True),
    "a[i]": read(SECRET[3]),
    "a[i] = byte": write(None),
    "a[i:j]": always(4),  # names a range, reads nothing
    "a[i:j] = data": write(None),
    "a[:] = data": (None, None, B, S, S, None, V, F),
    "bytes": read(N),
    "memoryview": read(None),
    **dict.fromkeys(("reveal", "reveal(encoding)", "rstrip"), read(N)),
    **dict.fromkeys(("find", "rfind", "partition", "rpartition"), read(5)),
    **dict.fromkeys(("index", "rindex"), read(7)),
    "count": read(1),
    **dict.fromkeys(("startswith", "endswith"), read(True)),
    **dict.fromkeys(("strip", "lstrip"), read(N - 2)),
    **dict.fromkeys(("removeprefix", "removesuffix"), read(N - 3)),
    **dict.fromkeys(("split", "rsplit"), read(2)),
    "a == a": (True,) * 8,
    "a == bytes": (True, False, False, False, True, True, False, False),
    "a != other": (False, True, True, True, False, False, True, True),
    "a < bytes": read(True),
    "a >= bytes": read(True),
    "compare_digest": read(True),
    "a + bytes": read(N + 1),
    "bytes + a": read(N + 1),
    "concat": read(N),
    "Arena(a)": read(N),
    "take": read(N),
    "clear()": always(None),
    "clear(a)": always(None),
    "check": always(None),
    "rotate": (None, W, B, None, None, None, V, F),
    "replace": (None, None, B, None, B, B, V, F),
    "open w": (None, None, B, None, B, B, V, F),  # nobody may read usable content
    "open r": (SECRET[3], W, W, SECRET[3], SECRET[3], SECRET[3], V, F),
    "open rw": (SECRET[3], W, W, SECRET[3], SECRET[3], SECRET[3], V, F),
    "seal": (None, None, B, None, B, B, V, F),
    "seal, encrypted": (None, None, B, None, B, B, V, F),
    "open, not entered": always(None),
    "with": always(None),
    "close": (None,) * 8,
    "is_secure": (True,) * 6 + (False, False),
    **dict.fromkeys(
        ("str", "format", "int", "float", "hash", "iter", "in", "pickle", "copy", "deepcopy"),
        REFUSED,
    ),
    "del a[i]": REFUSED,
    "len(v)": (4,) * 8,
    "repr(v)": (True,) * 8,
    "v[i]": read(SECRET[4]),
    "v[i] = byte": write(None),
    "v[i:j]": always(2),
    "v[:] = data": write(None),
    "bytes(v)": read(4),
    "memoryview(v)": read(None),
    "v.reveal": read(4),
    "v.find": read(1),
    "v.strip": read(3),
    "v.split": read(2),
    "v.startswith": read(True),
    "v == bytes": (True, False, False, False, True, True, False, False),
    "v < bytes": read(True),
    "v + bytes": read(5),
    "clear(v)": write(None),
    "is_secure(v)": (True,) * 6 + (False, False),
    "str(v)": REFUSED,
    "hash(v)": REFUSED,
}

POOLED = {
    **{
        (seal, state): "ValueError"
        for seal in ("seal", "seal, encrypted")
        for state in STATES
        if state not in ("closed", "forked")
    },
    **{(f"open {mode}", "sealed"): S for mode in ("r", "rw", "w")},
    ("open w", "open r"): S,
    ("open w", "open rw"): None,
    **{("replace", f"open {mode}"): None for mode in ("r", "rw")},
}
"""Where an arena of a pool answers otherwise: its pool is sealed and opened instead."""


@contextmanager
def in_state(
    state: str, make: Callable[[], Arena] = secret, *, encrypt: bool = False
) -> Iterator[tuple[Arena, ArenaView]]:
    """An arena in a state, and a view of it that was made while it was usable."""
    arena = make()
    view = arena[4:8]
    if state == "filling":
        block = arena.open("w")
        block.__enter__()
        yield arena, view
        block.__exit__(KeyError)
        return
    if state in ("sealed", "open r", "open rw"):
        target = arena if arena.pool is None else arena.pool
        target.seal(encrypt=encrypt)
        if state == "sealed":
            yield arena, view
            return
        opened: Any = target.open("r" if state == "open r" else "rw")
        opened.__enter__()
        yield arena, view
        opened.__exit__(KeyError)
        return
    if state == "wiped":
        arena.clear()
    if state == "closed":
        arena.close()
    yield arena, view


def outcome(operation: str, arena: Arena, view: ArenaView) -> object:
    """What it gives, or the name of what it raises."""
    try:
        return OPERATIONS[operation](arena, view)
    except Exception as error:
        return type(error).__name__


def walk_forked(make: Callable[[], Arena] = secret) -> dict[str, object]:
    """The column of the child process: made here, tried after a fork."""
    made = {operation: make() for operation in OPERATIONS}
    views = {operation: arena[4:8] for operation, arena in made.items()}
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        column = {name: outcome(name, made[name], views[name]) for name in OPERATIONS}
        os.write(write_end, repr(column).encode())
        os._exit(0)
    os.close(write_end)
    with open(read_end, "rb") as pipe:
        column = ast.literal_eval(pipe.read().decode())
    os.wait()
    assert all(arena == SECRET for arena in made.values())
    assert isinstance(column, dict)
    return column


def markdown() -> str:
    """The table as docs/states.md has it; `python tests/states.py` prints it."""

    def cell(outcome: object) -> str:
        if isinstance(outcome, str) and outcome.endswith("Error"):
            return f"`{outcome}`"
        return "yes" if outcome is None else f"{outcome}"

    rows = [["operation", *STATES], ["---"] * (1 + len(STATES))]
    rows += [[f"`{name}`", *map(cell, TABLE[name])] for name in OPERATIONS]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
