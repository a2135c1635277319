"""Making arenas: sources, sizes, alignment, guards, protections, failure."""

import array
import gc
import mmap
import sys
import weakref

import pytest
from crash import SECRET, raw, secret
from support import GUARD_FAULT, check, linux_only, run, unplaced

import secalloc
from secalloc import Arena, Protection

PAGE = mmap.PAGESIZE
SIZES = [0, 1, 2, 15, 16, 17, 4095, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE, 16 * PAGE, 16 * PAGE + 1]
HUGE = [-(2**63) - 1, -(2**63), -1, 2**47, 2**62, sys.maxsize - PAGE, sys.maxsize]


@pytest.mark.parametrize("size", [*SIZES, 100 * PAGE])
def test_int_gives_zero_bytes(size: int) -> None:
    with Arena(size) as arena:
        assert len(arena) == arena.size == size
        assert bytes(arena) == bytes(size)
        assert not arena.wiped
        assert not arena.closed


def test_64_mib() -> None:
    size = 64 * 2**20
    with Arena(size) as arena:
        assert (arena[0], arena[size // 2], arena[size - 1]) == (0, 0, 0)
        arena[size - 1] = 7
        assert raw(arena)[-1] == arena[-1] == 7


@pytest.mark.parametrize("size", SIZES)
def test_bytes_give_a_copy(size: int) -> None:
    source = bytearray(i % 251 for i in range(size))
    kept = bytes(source)
    with Arena(source) as arena:
        assert source == kept
        source[:] = bytes(size)
        assert bytes(arena) == raw(arena) == kept


@pytest.mark.parametrize(
    "source",
    [
        SECRET,
        bytearray(SECRET),
        memoryview(SECRET),
        memoryview(b"x" + SECRET)[1:],
        array.array("I", SECRET),
        memoryview(SECRET).cast("B", (8, len(SECRET) // 8)),
    ],
    ids=["bytes", "bytearray", "memoryview", "offset", "array", "2d"],
)
def test_any_bytes_like_source(source: "memoryview | bytes") -> None:
    with Arena(source) as arena:
        assert bytes(arena) == memoryview(source).tobytes()


def test_a_source_with_gaps_is_refused() -> None:
    with pytest.raises(BufferError):
        Arena(memoryview(SECRET)[::2])


def test_source_may_be_an_arena_or_a_view() -> None:
    with secret() as first, Arena(first) as second, Arena(first[3:9]) as third:
        assert bytes(second) == SECRET
        assert bytes(third) == SECRET[3:9]
        assert second.address != first.address


class Index:
    def __index__(self) -> int:
        return 5


class Rude:
    def __index__(self) -> int:
        raise ZeroDivisionError


def test_whatever_has_an_index_is_a_size() -> None:
    with Arena(Index()) as arena:
        assert bytes(arena) == bytes(5)
    with pytest.raises(ZeroDivisionError):
        Arena(Rude())


def test_an_arguments_own_code_finds_nothing_borrowed() -> None:
    """It may move the arena, wipe or close it: that would wait for ever for one of our looks."""
    check("""
        class Acts:
            def __init__(self, act): self.act = act
            def __index__(self):
                self.act()
                return 5
        with secret() as arena:
            arena[0] = Acts(arena.rotate)
            assert arena[0] == 5
            arena[Acts(arena.rotate)] = 6
            assert arena[Acts(arena.rotate)] == 6
            for act, error in ((arena.clear, secalloc.WipedError), (arena.close, ValueError)):
                try: arena[1] = Acts(act)
                except error: pass
                else: raise AssertionError(act)
    """)


@pytest.mark.parametrize("source", [None, 1.5, object(), [1, 2], {}, (), 2 + 1j], ids=unplaced)
def test_wrong_types(source: object) -> None:
    with pytest.raises(TypeError):
        Arena(source)  # type: ignore[arg-type]


def test_str_points_to_encode() -> None:
    with pytest.raises(TypeError, match=r"secalloc\.encode\(\)"):
        Arena("hunter2")  # type: ignore[arg-type]
    with pytest.raises(TypeError) as caught:
        Arena("hunter2")  # type: ignore[arg-type]
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("source", [True, False])
def test_bool_is_refused(source: bool) -> None:
    with pytest.raises(TypeError):
        Arena(source)


def test_missing_and_superfluous_arguments() -> None:
    with pytest.raises(TypeError):
        Arena()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Arena(1, 2)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Arena(1, colour="red")  # type: ignore[call-arg]


@pytest.mark.parametrize("size", HUGE)
def test_impossible_sizes(size: int) -> None:
    before = secalloc.status()
    with pytest.raises((MemoryError, OverflowError, ValueError)) as caught:
        Arena(size)
    if size > 0:
        assert caught.type is not ValueError
    after = secalloc.status()
    assert (after.arenas, after.bytes, after.locked_bytes) == (
        before.arenas,
        before.bytes,
        before.locked_bytes,
    )


@linux_only
def test_failure_leaves_nothing_mapped() -> None:
    check("""
        Arena(1).close(), Arena(17 * mmap.PAGESIZE).close()
        before = our_maps(), locked_kib(), len(os.listdir("/proc/self/fd"))
        for size in (2**47, 2**62, sys.maxsize):
            try:
                Arena(size)
            except MemoryError:
                pass
            else:
                raise AssertionError(size)
        for bad in (3, 2 * mmap.PAGESIZE, 0, -1):
            try:
                Arena(1, align=bad)
            except ValueError:
                pass
            else:
                raise AssertionError(bad)
        assert (our_maps(), locked_kib(), len(os.listdir("/proc/self/fd"))) == before
    """)


POWERS = [1 << bit for bit in range(PAGE.bit_length())]


@pytest.mark.parametrize("align", POWERS)
@pytest.mark.parametrize("size", [0, 1, 31, PAGE, PAGE + 1, 17 * PAGE + 3])
def test_align(align: int, size: int) -> None:
    with Arena(size, align=align) as arena:
        end = arena.address + size
        assert arena.address % align == 0
        assert -end % PAGE < align
        assert bytes(arena) == bytes(size)
        arena.check()


@pytest.mark.parametrize("align", [0, -1, -2, 3, 6, PAGE - 1, PAGE + 1, 2 * PAGE, 2**40, 2**64])
def test_bad_align(align: int) -> None:
    with pytest.raises((ValueError, OverflowError)):
        Arena(8, align=align)


@pytest.mark.parametrize("align", [1.0, "8", None, b"8"])
def test_align_of_wrong_type(align: object) -> None:
    with pytest.raises(TypeError):
        Arena(8, align=align)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, 100, PAGE, PAGE + 7, 16 * PAGE, 17 * PAGE, 40 * PAGE + 1])
def test_one_byte_past_the_end_faults(size: int) -> None:
    fate = run(f"a = Arena({size}); overrun(a); print('alive')").fate
    assert fate == (-GUARD_FAULT, b"F")


@pytest.mark.parametrize("size", [1, PAGE, 16 * PAGE, 17 * PAGE])
def test_one_byte_before_the_pages_faults(size: int) -> None:
    fate = run(f"""
        a = Arena({size})
        ctypes.string_at(a.address & -mmap.PAGESIZE, 1)
        ctypes.string_at((a.address & -mmap.PAGESIZE) - 1, 1)
    """).fate
    assert fate == (-GUARD_FAULT, b"F")


@linux_only
def test_whole_guard_pages_are_inaccessible_and_the_data_is_not() -> None:
    check("""
        arenas = [Arena(n * mmap.PAGESIZE or 1) for n in (0, 1, 4, 16, 20)]
        for a in arenas:
            start, end = a.address & -mmap.PAGESIZE, a.address + a.size
            assert readable(a.address) and readable(end - 1)
            for guard in (start - mmap.PAGESIZE, end):
                assert not readable(guard) and not readable(guard + mmap.PAGESIZE - 1)
    """)


@pytest.mark.parametrize("where", ["a.address - 1", "a.address + a.size"])
@pytest.mark.parametrize("how", ["a.check()", "a.close()", "a.rotate()", "del a"])
def test_damaged_slack_is_tampering(where: str, how: str) -> None:
    end = run(f"""
        other = secret()
        a = Arena(SECRET[:20], align=16)
        assert a.address % 16 == 0
        a.check()
        spoil({where})
        {how}
        print("alive")
    """)
    assert end.fate == (-6, b"F"), end
    assert end.err.strip()
    assert "alive" not in end.out


def test_intact_slack_passes() -> None:
    check("""
        a = Arena(SECRET[:20], align=16)
        a.check(); a.rotate(); a.check(); a.close()
    """)


def test_protection() -> None:
    with Arena(32) as arena:
        granted = arena.protection
        assert isinstance(granted, Protection)
        assert Protection.GUARD | Protection.NOFORK in granted


@linux_only
@pytest.mark.parametrize("secretmem", [True, False])
def test_granted_protection_is_what_the_kernel_says(secretmem: bool) -> None:
    check(f"""
        if not {secretmem}: deny("memfd_secret", errno.EPERM)
        warnings.simplefilter("ignore")
        for size in (32, 40 * mmap.PAGESIZE):
            a = Arena(size)
            a[0] = 1
            flags = None
            for line in open("/proc/self/smaps"):
                head = line.split()
                if "-" in head[0] and not head[0].endswith(":"):
                    low, high = (int(part, 16) for part in head[0].split("-"))
                    inside = low <= a.address < high
                    name = line
                elif inside and head[0] == "VmFlags:":
                    flags = head[1:]
                    break
            assert flags is not None
            assert "dc" in flags
            assert ("dd" in flags) == (Protection.NODUMP in a.protection), flags
            secretmem = "secretmem" in name  # locked, but where a user is charged without the flag
            assert ("lo" in flags or secretmem) == (Protection.LOCK in a.protection), flags
            assert secretmem == (Protection.SECRETMEM in a.protection), name
    """)


def test_as_an_object() -> None:
    arena = Arena(4)
    assert not hasattr(arena, "__dict__")
    with pytest.raises(AttributeError):
        arena.colour = "red"  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        type("Child", (Arena,), {})
    seen = weakref.ref(arena)
    assert seen() is arena
    before = secalloc.status().arenas
    del arena
    gc.collect()
    assert seen() is None
    assert secalloc.status().arenas == before - 1


@pytest.mark.parametrize("name", ["size", "wiped", "closed", "protection", "address"])
def test_properties_are_read_only(name: str) -> None:
    with Arena(4) as arena, pytest.raises(AttributeError):
        setattr(arena, name, 1)


def test_repr_shows_size_and_state_but_no_content() -> None:
    arena = Arena(b"hunter2-secret")
    for text in (repr(arena), repr(arena[1:9])):
        assert "hunter2" not in text
        assert b"hunter2".hex() not in text
    assert "14" in repr(arena)
    assert "LOCK" in repr(arena) or secalloc.Protection.LOCK not in arena.protection
    usable = repr(arena)
    arena.clear()
    wiped = repr(arena)
    arena.close()
    assert len({usable, wiped, repr(arena)}) == 3


def test_random() -> None:
    with secalloc.random(32) as one, secalloc.random(32) as two, secalloc.random(0) as none:
        assert len(one) == len(two) == 32
        assert one != two
        assert bytes(one) != bytes(32)
        assert len(none) == 0
    with secalloc.random(2**20 + 3) as large:
        content = bytes(large)
        assert min(content.count(bytes([value])) for value in range(256)) > 2**11
    with pytest.raises((ValueError, OverflowError)):
        secalloc.random(-1)
    for wrong in ("1", 1.5, None, b"1"):
        with pytest.raises(TypeError):
            secalloc.random(wrong)  # type: ignore[arg-type]


def test_take_empties_the_source() -> None:
    source = bytearray(SECRET)
    with secalloc.take(source) as arena:
        assert bytes(arena) == SECRET
        assert len(source) == len(SECRET)
        assert not any(SECRET[i : i + 8] in source for i in range(len(SECRET) - 8))
    for wrong in (SECRET, memoryview(SECRET), "text", 5):
        with pytest.raises((TypeError, BufferError)):
            secalloc.take(wrong)  # type: ignore[arg-type]


def test_take_of_an_arena_moves_it() -> None:
    with secret() as source, secalloc.take(source) as arena:
        assert bytes(arena) == SECRET
        assert source.wiped
        assert SECRET[:16] not in raw(source)


def test_many_at_once_are_apart() -> None:
    arenas = [Arena(bytes([i]) * (i + 1)) for i in range(256)]
    pages = {a.address // PAGE for a in arenas}
    assert len(pages) == len(arenas)
    assert all(bytes(a) == bytes([i]) * (i + 1) for i, a in enumerate(arenas))
    arenas[7].clear()
    assert all(bytes(a) == bytes([i]) * (i + 1) for i, a in enumerate(arenas) if i != 7)
