"""The buffer protocol: writable, flat, bytes, no copy, counted."""

import ctypes
import gc
import io
import struct

import pytest
from crash import SECRET, raw, secret

import secalloc
from secalloc import Arena, ArenaView


@pytest.fixture(params=["arena", "view", "view of view"])
def whole(request: pytest.FixtureRequest) -> Arena | ArenaView:
    """Something whose content is SECRET."""
    if request.param == "arena":
        return secret()
    arena = Arena(b"ab" + SECRET + b"c")
    return arena[2:-1] if request.param == "view" else arena[1:][1:-1]


def test_shape(whole: Arena | ArenaView) -> None:
    seen = memoryview(whole)
    assert (seen.format, seen.itemsize, seen.ndim, seen.shape, seen.strides) == (
        "B",
        1,
        1,
        (len(SECRET),),
        (1,),
    )
    assert seen.contiguous
    assert seen.c_contiguous
    assert not seen.readonly
    assert seen.obj is whole
    assert seen.tobytes() == SECRET


def test_no_copy(whole: Arena | ArenaView) -> None:
    with memoryview(whole) as seen:
        seen[0] = 0
        assert whole[0] == 0
        whole[1] = 99
        assert seen[1] == 99
        start = ctypes.addressof(ctypes.c_char.from_buffer(seen))
        assert ctypes.string_at(start, 2) == bytes([0, 99])


def test_empty() -> None:
    for empty in (Arena(0), Arena(5)[2:2]):
        assert len(memoryview(empty)) == 0
        assert bytes(empty) == b""


def test_who_writes_into_it(whole: Arena | ArenaView) -> None:
    assert io.BytesIO(b"xyz").readinto(whole) == 3
    assert bytes(whole)[:4] == b"xyz" + SECRET[3:4]
    struct.pack_into(">I", whole, 4, 0xDEADBEEF)
    assert bytes(whole[4:8]) == b"\xde\xad\xbe\xef"
    assert struct.unpack_from(">I", whole, 4) == (0xDEADBEEF,)


def test_casts(whole: Arena | ArenaView) -> None:
    words = memoryview(whole).cast("I")
    words[0] = 0
    assert bytes(whole)[:5] == bytes(4) + SECRET[4:5]


def test_exports_keep_the_arena_alive() -> None:
    before = secalloc.status().arenas
    seen = memoryview(secret())
    gc.collect()
    assert seen.tobytes() == SECRET
    inner = memoryview(secret()[4:20])
    gc.collect()
    assert inner.tobytes() == SECRET[4:20]
    assert secalloc.status().arenas == before + 2
    seen.release()
    inner.release()
    del seen, inner
    gc.collect()
    assert secalloc.status().arenas == before


def test_many_exports_are_counted() -> None:
    arena = secret()
    exports = [memoryview(arena) for _ in range(1000)] + [memoryview(arena[1:5])]
    for export in exports:
        with pytest.raises(BufferError):
            arena.rotate()
        export.release()
    arena.rotate()
    assert bytes(arena) == SECRET


def test_an_export_stays_valid_after_close() -> None:
    arena = secret()
    seen = memoryview(arena)
    part = memoryview(arena[8:])
    arena.close()
    assert SECRET[:16] not in seen.tobytes()
    assert SECRET[8:24] not in part.tobytes()
    seen[0] = 1
    part[0] = 1


def test_numpy_holds_an_export() -> None:
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    arena = secret()
    array = numpy.frombuffer(arena, dtype=numpy.uint8)
    view = numpy.asarray(arena[4:8])
    assert array.tobytes() == SECRET
    assert view.tobytes() == SECRET[4:8]
    array[0] = 0
    assert arena[0] == 0
    with pytest.raises(BufferError):
        arena.rotate()
    arena.close()
    assert array.tobytes()[1:17] != SECRET[1:17]
    assert view.tobytes() != SECRET[4:8]
    array[1] = view[1] = 3


def test_the_memory_is_the_arena() -> None:
    arena = secret()
    start = ctypes.addressof(ctypes.c_char.from_buffer(arena))
    assert start == arena.address
    assert raw(arena) == SECRET
