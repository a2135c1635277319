"""Names of arenas, requirements of each call that makes one, the errors' family, and revealing."""

import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support import check, linux_only

import secalloc
import secalloc.map
from secalloc import Arena, Error, Pool, Protection, ProtectionError
from secalloc._kind import Kind
from secalloc._terminal.ask import _from_stdin

SECRETMEM = Protection.SECRETMEM


@pytest.fixture(autouse=True)
def default_policy() -> Iterator[None]:
    yield
    secalloc.configure(secretmem=True)


def from_file(**kind: Any) -> Arena:
    reader, writer = os.pipe()
    os.write(writer, b"piped")
    os.close(writer)
    try:
        return secalloc.read(reader, **kind)
    finally:
        os.close(reader)


def from_environment(**kind: Any) -> Arena | None:
    os.environ["SECALLOC_NAMED"] = "value"
    found: Arena | None = secalloc.getenv("SECALLOC_NAMED", **kind)
    return found


def typed(**kind: Any) -> Arena:
    before, sys.stdin = sys.stdin, io.StringIO("typed\n")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _from_stdin("", io.StringIO(), Kind(**kind))
    finally:
        sys.stdin = before


POOL = Pool()
MAKERS: dict[str, Callable[..., Any]] = {
    "Arena": lambda **kind: Arena(b"x", **kind),
    "Arena(int)": lambda **kind: Arena(300_000, align=64, **kind),
    "random": lambda **kind: secalloc.random(8, **kind),
    "take": lambda **kind: secalloc.take(bytearray(8), **kind),
    "concat": lambda **kind: secalloc.concat(b"a", b"b", **kind),
    "fromhex": lambda **kind: secalloc.fromhex("00ff", **kind),
    "b64decode": lambda **kind: secalloc.b64decode("QUJD", **kind),
    "encode": lambda **kind: secalloc.encode("text", **kind),
    "hexlify": lambda **kind: secalloc.hexlify(b"x", **kind),
    "b64encode": lambda **kind: secalloc.b64encode(b"x", **kind),
    "read": from_file,
    "getenv": from_environment,
    "getpass": typed,
    "Pool.alloc": lambda **kind: POOL.alloc(b"x", **kind),
    "Pool.random": lambda **kind: POOL.random(8, **kind),
    "Pool.take": lambda **kind: POOL.take(bytearray(8), **kind),
    "capturing": lambda **kind: secalloc.capturing(**kind)(os.urandom)(8),
    "capturing(f)": lambda **kind: secalloc.capturing(str, **kind)(8),
}
"""Each call that makes an arena of its own accord; adopt() is in channel/test_adopt.py."""


@pytest.mark.parametrize("call", MAKERS)
def test_each_call_takes_a_name(call: str) -> None:
    try:
        made = MAKERS[call](name="db password")
    except NotImplementedError:
        pytest.skip("no sheltered calls in a free-threaded build")
    with made:
        assert made.name == "db password"
        assert "name='db password'" in repr(made)
        assert "name='db password'" in repr(made[1:])
    with MAKERS[call]() as made:
        assert made.name is None
        assert "name" not in repr(made)
    before = secalloc.status()[:2]
    for bad, error in ((5, TypeError), (b"x", TypeError), ("", ValueError), ("a\nb", ValueError)):
        with pytest.raises(error, match="name"):
            MAKERS[call](name=bad)
    assert secalloc.status()[:2] == before


@linux_only
@pytest.mark.parametrize("call", MAKERS)
def test_each_call_takes_a_requirement(call: str) -> None:
    try:
        MAKERS[call]().close()
    except NotImplementedError:
        pytest.skip("no sheltered calls in a free-threaded build")
    secalloc.configure(secretmem=False)
    before = secalloc.status()[:2]
    with pytest.raises(ProtectionError, match=r"SECRETMEM is required for 'x' and not"):
        MAKERS[call](require=SECRETMEM, name="x")
    with pytest.raises(TypeError):
        MAKERS[call](require="SECRETMEM")
    assert secalloc.status()[:2] == before
    with MAKERS[call](require=Protection.GUARD) as made:
        assert Protection.GUARD in made.protection


def test_what_a_name_may_be() -> None:
    with Arena(1) as arena:
        for name in ("x", "Grüße \U0001f511", "n" * 63, "it's"):
            arena.name = name
            assert arena.name == name
            assert f"name={name!r}" in repr(arena)
        for bad in ("", "n" * 64, "\U0001f511" * 16, "a\0b", "a\tb", "\ud800", "\x1b[0m", "\u202e"):
            with pytest.raises(ValueError, match="name"):
                arena.name = bad
        bad_type: Any = 5
        with pytest.raises(TypeError, match="name"):
            arena.name = bad_type
        with pytest.raises(AttributeError):
            del arena.name
        assert arena.name == "it's"
        arena.rotate()
        arena.replace(b"y")
        arena.clear()
        assert arena.name == "it's"
        arena.name = None
        assert arena.name is None
        arena.name = "kept"
    assert arena.name == "kept"
    assert repr(arena) == "<secalloc.Arena name='kept' size=1 closed>"


def test_errors_of_an_arena_by_name() -> None:
    arena = Arena(b"x", name="api token")
    arena.seal()
    with pytest.raises(secalloc.SealedError, match=r"^'api token': the arena is sealed"):
        arena[0]
    with arena.open("r") as view, pytest.raises(secalloc.SealedError, match=r"^'api token': open"):
        view[:] = b"y"
    with arena.open("rw"):
        pass
    arena = Arena(b"x", name="api token")
    with memoryview(arena), pytest.raises(BufferError, match=r"^'api token': exported buffers"):
        arena.rotate()
    block = arena.open("r")
    block.__enter__()
    arena.clear()
    with pytest.raises(secalloc.WipedError, match=r"^'api token': .*while the block was open"):
        block.__exit__()
    with pytest.raises(secalloc.WipedError, match=r"^'api token': the content was wiped"):
        memoryview(arena)
    arena.close()
    for use in (arena.seal, arena.check, arena.clear, lambda: arena[0], lambda: bytes(arena)):
        with pytest.raises(secalloc.ClosedError, match=r"^'api token': the arena is closed"):
            use()


def test_the_map_tells_the_name() -> None:
    with Arena(100, name="db password") as arena:
        (entry,) = (e for e in secalloc.map.census() if e.address == arena.address)
        assert entry.name == "db password"
        out = io.StringIO()
        secalloc.map.draw(out)
        assert "'db password', 100 bytes" in out.getvalue()
        arena.name = None
        (entry,) = (e for e in secalloc.map.census() if e.address == arena.address)
        assert entry.name is None


@linux_only
def test_a_warning_tells_the_name() -> None:
    out = check("""
        import resource, warnings
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
        os.setuid(12345) if os.getuid() == 0 else None
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            kept = secalloc.Arena(10, name="db password")
            others = [secalloc.Arena(10) for _ in range(5)]
        told = [w for w in seen if issubclass(w.category, secalloc.ProtectionWarning)]
        print(len(told), str(told[0].message))
    """)
    assert out.startswith("1 secrets are held without LOCK")
    assert "'db password' the first of them: " in out


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (secalloc.WipedError, ValueError),
        (secalloc.ClosedError, ValueError),
        (secalloc.ForkedError, ValueError),
        (secalloc.SealedError, BufferError),
        (secalloc.ProtectionError, OSError),
        (secalloc.AdoptError, ValueError),
    ],
)
def test_the_family_of_errors(error: type[Exception], base: type[Exception]) -> None:
    assert issubclass(error, Error)
    assert issubclass(error, base)
    assert error.__module__.partition(".")[0] == "secalloc"
    assert not issubclass(Error, (ValueError, OSError, BufferError))


def test_what_is_closed_says_so() -> None:
    pool, channel = Pool(), secalloc.LockdownChannel()
    arena, pooled = Arena(1), pool.alloc(1)
    view = arena[:]
    for each in (arena, pool, channel):
        each.close()
    for use in (
        arena.seal,
        lambda: view[0],
        lambda: bytes(pooled),
        lambda: pool.alloc(1),
        pool.seal,
        lambda: pool.open("r"),
        channel.fileno,
        channel.child,
    ):
        with pytest.raises(secalloc.ClosedError):
            use()


def test_an_error_of_the_system_keeps_its_errno() -> None:
    error = secalloc.ProtectionError(5, "why")
    assert (error.errno, error.strerror) == (5, "why")


def test_protections_as_text() -> None:
    assert str(Protection.GUARD | Protection.LOCK) == "GUARD|LOCK"
    assert f"{Protection.GUARD | Protection.NOFORK}" == "GUARD|NOFORK"
    assert str(Protection(0)) == "none"


# ---- revealing ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 2, 100, 5000])
def test_reveal(size: int) -> None:
    data = os.urandom(size)
    with Arena(data) as arena, Arena(b"#" + data) as around:
        for secret in (arena, around[1:]):
            assert secret.reveal() == data
            assert type(secret.reveal()) is bytes
            assert secret.reveal("latin-1") == data.decode("latin-1")
            assert secret.reveal(encoding="latin-1") == data.decode("latin-1")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32-le", "cp1252", "punycode"])
def test_reveal_as_text(encoding: str) -> None:
    text = "Grüße"
    assert Arena(text.encode(encoding)).reveal(encoding) == text


def test_reveal_what_is_not_text() -> None:
    with Arena(b"secret \xff here", name="odd") as arena:
        with pytest.raises(ValueError, match=r"^not utf-8 text.*position 7$") as caught:
            arena.reveal("utf-8")
        assert type(caught.value) is ValueError
        assert caught.value.__context__ is None
        with pytest.raises(LookupError):
            arena.reveal("no such")
        with pytest.raises(ValueError, match="null"):
            arena.reveal("utf\0")
        bad: Any = 5
        with pytest.raises(TypeError):
            arena.reveal(bad)
        with pytest.raises(ValueError, match="position 0"):
            Arena(b"\xff").reveal("idna")


def test_reveal_in_a_shelter() -> None:
    with Arena(b"sheltered content") as arena:
        try:
            made = secalloc.shelter(arena.reveal)
        except NotImplementedError:
            pytest.skip("no sheltered calls in a free-threaded build")
        assert secalloc.is_sheltered(made)
        assert secalloc.is_sheltered(secalloc.shelter(arena.reveal, "ascii"))
        assert not secalloc.is_sheltered(arena.reveal())


@linux_only
def test_residue_of_revealing() -> None:
    """What is revealed in a shelter leaves nothing, whether it can be decoded or not."""
    check("""
        from secalloc import residue
        key, other = secalloc.random(64), secalloc.random(64)
        for i in range(64): key[i] = 33 + key[i] % 90
        key[40] = 0xff
        def use():
            for _ in range(3):
                try: key.reveal("utf-8")
                except ValueError: pass
                else: raise AssertionError
            return len(other.reveal() + other.reveal("latin-1").encode("latin-1"))
        try:
            assert secalloc.shelter(use) == 128
            assert residue.find(key) == [] and residue.find(other) == []
        except NotImplementedError: pass
        shown = key.reveal()
        assert residue.find(key) != []  # the control
    """)
