"""One attempt, from the inside: the call, what came of it, and when to look for copies."""

import gc
import hashlib
import json
import signal
import socket
import zlib
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import secalloc

SIZE = 32
PATIENCE = 30  # with a call; to be looked through may take longer on a busy machine


@dataclass(frozen=True)
class Row:
    """One call. It sees `x`, what it is given; or, to fill, `w` and `given`.

    An input's `result` is an expression over `r`, what the call gave. `seen` stands in for it
    where only the other side knows what was understood; no search for copies comes after it.
    `text`: what is right is what a str gives. `again`, where `r` holds a key, is tried before
    and after the arena is wiped. An output's `given` is an expression over the secret `s` and
    runs elsewhere; `output`, over `given`, is for where `s` is not what
    comes out. `shown` is the call as the document has it. `secretmem`: only such memory is
    refused, and so is tried only where there is some.
    """

    call: str
    road: str = ""
    result: str = "r"
    seen: str = ""
    text: bool = False
    again: str = ""
    given: str = ""
    output: str = "s"
    setup: str = ""
    shown: str = ""
    secretmem: bool = False

    @property
    def fills(self) -> bool:
        return bool(self.given)


def digest(value: object) -> int:
    """Equal where the values are, in all children; makes no copy."""
    if isinstance(value, (bytearray, memoryview)):
        return zlib.crc32(value)
    if isinstance(value, (list, tuple)):
        return hash(tuple(map(digest, value)))
    return hash(value) if isinstance(value, Hashable) else hash(repr(value))


class Stage:
    """The child's end: it says something, and goes on when it has been looked at."""

    def __init__(self, to_parent: socket.socket) -> None:
        self.socket = to_parent

    def say(self, **what: object) -> None:
        self.wait(json.dumps(what).encode() + b"\n")
        signal.alarm(PATIENCE)

    def wait(self, line: bytes) -> None:
        signal.alarm(10 * PATIENCE)
        self.socket.sendall(line)
        self.socket.recv(1)

    def drop(self, names: dict[str, Any], arenas: list[int]) -> None:
        """Let go of what was made, and say so before anything else reuses the memory."""
        line = json.dumps({"arenas": arenas}).encode() + b"\n"
        names["x"] = names["r"] = names["given"] = names["f"] = None
        gc.collect()
        self.wait(line)


def try_sheltered(row: Row, kind: str, names: dict[str, Any], stage: Stage) -> None:
    """The same call, and what it is given made of an arena, in a sheltered call."""
    secalloc.set_lockdown_fd(None)
    secret = secalloc.Arena(SIZE)
    where = [secret.address]
    secalloc.shelter(int)
    if row.fills:
        names["given"] = eval(stage.socket.recv(65536))  # noqa: S307
    else:
        stage.socket.recv_into(secret)
    made = {"bytes": bytes, "bytearray": bytearray, "memoryview": memoryview}

    def call() -> None:
        if not row.fills:
            names["x"] = secret
            if kind == "str":
                names["x"] = str(secret, "ascii")
            elif kind in made:
                names["x"] = made[kind](secret)
        if row.fills:
            with secret.open("w") as view:
                filled = {"bytearray": bytearray(SIZE), "memoryview": memoryview(view)}
                names["w"] = filled.get(kind, view)
                filled = {}
                names["r"] = eval(row.call, names)  # noqa: S307
                names["w"] = None
        else:
            names["r"] = eval(row.call, names)  # noqa: S307
            eval(row.result, names)  # noqa: S307

    try:
        secalloc.shelter(call)
        answer: dict[str, object] = {"value": 0}
    except Exception as error:
        answer = {"error": name_of(error), "text": str(error)[:200]}
    stage.say(**answer, arenas=where)
    stage.drop(names, where)


def name_of(error: BaseException) -> str:
    return type(error).__name__


def try_input(row: Row, kind: str, names: dict[str, Any], stage: Stage) -> None:
    kind, scene = kind.split(":")
    secalloc.set_lockdown_fd(None)  # a row may be a fault
    x: Any
    if kind in ("bytes", "str", "bytearray"):
        arena = secalloc.Arena(0)
        x = stage.socket.recv(SIZE)
        x = x.decode() if kind == "str" else bytearray(x) if kind == "bytearray" else x
    else:
        arena = x = secalloc.Arena(SIZE)
        stage.socket.recv_into(arena)
    if scene == "wiped":
        arena.clear()
    if scene == "sealed":
        arena.seal()
    where = [arena.address]
    try:
        names["x"] = memoryview(x) if kind == "memoryview" else x
        x = None
        names["r"] = eval(row.call, names)  # noqa: S307
        value = eval(row.seen if row.seen and scene == "compare" else row.result, names)  # noqa: S307
        answer: dict[str, object] = {"value": digest(value)}
        value = None
    except Exception as error:
        answer = {"error": name_of(error), "text": str(error)[:200]}
    stage.say(**answer, arenas=where)
    if scene == "later":
        before = digest(eval(row.again, names))  # noqa: S307
        arena.clear()
        try:
            same = digest(eval(row.again, names)) == before  # noqa: S307
            stage.say(later="goes on" if same else "GOES ON WITH ANOTHER KEY")
        except Exception as error:
            stage.say(later=f"fails: {name_of(error)}")
        return
    stage.drop(names, where)


def try_output(row: Row, kind: str, names: dict[str, Any], stage: Stage) -> None:
    if kind == "prepare":
        names["s"] = stage.socket.recv(SIZE)
        names["given"] = given = eval(row.given, names)  # noqa: S307
        secret = eval(row.output, names)  # noqa: S307
        stage.say(given=repr(given), secret=bytes(secret).hex())
        return
    names["given"] = eval(stage.socket.recv(65536))  # noqa: S307
    arena, plain = secalloc.Arena(SIZE), bytearray(SIZE)
    where = [arena.address]
    arena.clear()
    answer: dict[str, object] = {}
    try:
        if kind in ("wiped", "sealed"):
            if kind == "sealed":
                arena.seal()
            names["w"] = arena
            eval(row.call, names)  # noqa: S307
        elif kind == "bytearray":
            names["w"] = plain
            names["r"] = eval(row.call, names)  # noqa: S307
            answer["value"] = hashlib.sha256(plain).hexdigest()
        else:
            with arena.open("w") as view:
                names["w"] = memoryview(view) if kind == "memoryview" else view
                names["r"] = eval(row.call, names)  # noqa: S307
                names["w"] = None
            if isinstance(names["r"], secalloc.Arena):
                arena = names["r"]
                where.append(arena.address)
                answer["gives"] = "arena"
            answer["value"] = hashlib.sha256(arena).hexdigest()
    except Exception as error:
        answer = {"error": name_of(error), "text": str(error)[:200]}
    stage.say(**answer, arenas=where)
    stage.drop(names, where)
