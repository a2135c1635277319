"""What an arena passes for: to type checkers, by this file's own types, and to the interpreter.

`make check-lint` checks this file for 3.11 and for the latest version; an ignored error that is
none is an error there.
"""

import hashlib
import hmac
import inspect
import os
import socket
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import stubs
from crash import SECRET, secret

import secalloc
import secalloc.map
import secalloc.residue
from secalloc import Arena, ArenaView, Protection

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


@pytest.fixture(params=["arena", "view"])
def either(request: pytest.FixtureRequest) -> Arena | ArenaView:
    """SECRET."""
    return secret() if request.param == "arena" else secret(200)[: len(SECRET)]


def readable(buffer: "ReadableBuffer") -> bytes:
    return bytes(buffer)


def writable(buffer: "WriteableBuffer") -> None:
    memoryview(buffer)[:1] = b"x"


def test_consumers_of_buffers(either: Arena | ArenaView) -> None:
    assert readable(either) == SECRET
    assert hashlib.sha256(either).digest() == hashlib.sha256(SECRET).digest()
    assert hmac.digest(either, either, "sha256") == hmac.digest(SECRET, SECRET, "sha256")
    assert memoryview(either)[0] == SECRET[0]
    left, right = socket.socketpair()
    with left, right:
        assert left.send(either) == len(SECRET)
        assert right.recv_into(either) == len(SECRET)
    assert either == SECRET


def surely(arena: Arena) -> int:
    return arena.size


def test_what_fills_buffers(either: Arena | ArenaView) -> None:
    read, write = os.pipe()
    try:
        assert os.write(write, either) == len(SECRET)
        writable(either)
        assert either[0] == ord("x")
        assert os.readv(read, [either]) == len(SECRET)
    finally:
        os.close(read)
        os.close(write)
    assert either == SECRET


def test_our_own_calls(either: Arena | ArenaView) -> None:
    both: Arena = either + either
    again: Arena = b"-" + either  # type: ignore[assignment]  # bytes says it gives bytes
    assert isinstance(again, Arena)
    part: ArenaView = both[2:4]
    item: int = part[0]
    assert (item, len(again)) == (SECRET[2], 97)
    hexadecimal: Arena = secalloc.hexlify(either)
    assert secalloc.compare_digest(secalloc.fromhex(hexadecimal), either)
    granted: Protection = both.protection
    assert Protection.GUARD in granted
    with both.open("r") as view, secalloc.Pool() as pool, pool.open("rw") as same:
        in_pool: Arena = same.take(bytearray(b"abc"))
        assert view[0] == SECRET[0]
        assert in_pool.pool is pool
    name: Arena | None = secalloc.getenv("THERE_IS_NO_SUCH_VARIABLE")
    assert name is None
    with pytest.raises(KeyError):
        surely(secalloc.getenv("THERE_IS_NO_SUCH_VARIABLE", required=True))


def test_what_checkers_refuse_raises(either: Arena | ArenaView) -> None:
    with pytest.raises(TypeError):
        Arena("text")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        secalloc.take("text")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mode"):
        secret().open("x")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        hash(either)
    with pytest.raises(TypeError):
        assert either < 1  # type: ignore[operator]
    with pytest.raises(AttributeError):
        secret().size = 1  # type: ignore[misc]


if sys.version_info >= (3, 12):
    from collections.abc import Buffer

    def is_one(buffer: Buffer) -> bool:
        return isinstance(buffer, Buffer)

    def test_the_interpreter_s_own_type_of_buffers(either: Arena | ArenaView) -> None:
        assert is_one(either)
        assert issubclass(Arena, Buffer)
        assert issubclass(ArenaView, Buffer)
        assert not issubclass(secalloc.Pool, Buffer)
        with either.__buffer__(0) as view:
            assert view == SECRET


def test_the_hints_of_what_is_public_can_be_had_when_the_program_runs() -> None:
    """As pydantic, typeguard and frameworks for dependency injection ask for them."""
    seen = 0
    for module in (secalloc, secalloc.map, secalloc.residue):
        names = [*module.__all__, *(["getpass", "random"] if module is secalloc else [])]
        for name in names:
            thing = getattr(module, name)
            if not callable(thing):
                continue
            typing.get_type_hints(thing)
            for part, member in vars(thing).items() if isinstance(thing, type) else ():
                function = member.fget if isinstance(member, property) else member
                if inspect.isfunction(function) and (part[0] != "_" or part.endswith("__")):
                    typing.get_type_hints(function)
                    seen += 1
    assert seen > 30


# ---- what editors show -------------------------------------------------------------------


def public_callables() -> Iterator[tuple[str, Any]]:
    """All that a program may call, with the methods of types of ours."""
    for module in (secalloc, secalloc.map, secalloc.residue):
        names = [*module.__all__, *(["getpass", "random"] if module is secalloc else [])]
        for name in names:
            thing = getattr(module, name)
            if not callable(thing) or thing is ArenaView:  # which is not made by a call
                pass
            else:
                yield name, thing
            for part, member in vars(thing).items() if isinstance(thing, type) else ():
                if not part.startswith("_") and callable(getattr(thing, part)):
                    assert member is not None
                    yield f"{name}.{part}", getattr(thing, part)


def test_every_signature_can_be_asked() -> None:
    told = {name: str(inspect.signature(thing)) for name, thing in public_callables()}
    assert len(told) > 90
    assert told["Arena"] == "(source, *, align=1, require=None, name=None)"
    assert told["Arena.split"] == "(self, /, sep=None, maxsplit=-1)"
    assert told["ArenaView.reveal"] == "(self, /, encoding=None)"
    assert told["Pool.take"] == "(self, buffer, /, *, require=None, name=None)"
    assert told["WipedError"] == told["ProtectionWarning"] == "(*args)"
    makers = "random take concat getpass getenv read credential fromhex b64decode encode hexlify"
    makers += " b64encode adopt capturing Arena Pool.alloc Pool.random Pool.take"
    for name in makers.split():
        parameters = inspect.signature(dict(public_callables())[name]).parameters
        for keyword in ("require", "name"):
            assert parameters[keyword].kind is inspect.Parameter.KEYWORD_ONLY, name
            assert parameters[keyword].default is None, name


def test_every_docstring_has_no_signature_left_in_it() -> None:
    for name, thing in public_callables():
        assert thing.__doc__, name
        assert "--\n" not in thing.__doc__, name


def test_the_stub_has_the_docstrings_of_the_extension() -> None:
    assert stubs.stale() == [], "make stubs writes them anew"


def test_the_look_at_the_stub_sees_what_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = stubs.STUB.read_text()
    old = tmp_path / "_core.pyi"
    old.write_text(text.replace("A view without the given bytes at both ends", "Something", 1))
    monkeypatch.setattr(stubs, "STUB", old)
    assert [each.partition(": ")[2] for each in stubs.stale()] == ["strip"]
    old.write_text(stubs.rewritten())
    assert stubs.stale() == []
    assert old.read_text() == text
