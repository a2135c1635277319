"""residue.find: every copy that others made is found, none is made by looking."""

import base64
import ctypes
import mmap
import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support import check, linux_only, spy

import secalloc
from secalloc import Arena, SealedError, WipedError, residue

CHANCE = random.Random()  # noqa: S311 - of places, not of secrets


def address_of(buffer: Any) -> int:
    """Of the first byte of a writable buffer."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


@pytest.fixture
def region() -> Iterator[mmap.mmap]:
    """Memory that nobody else knows of."""
    with mmap.mmap(-1, 1 << 21, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        yield memory


def places(secret: Arena, **options: Any) -> list[tuple[int, int, str]]:
    return [(copy.address, copy.length, copy.form) for copy in residue.find(secret, **options)]


def test_a_fresh_secret_has_no_copy() -> None:
    for size in (8, 16, 31, 32, 64, 1000, 300_000):
        with secalloc.random(size) as secret:
            assert residue.find(secret) == []
            assert residue.find(secret, partial=False) == []
            assert residue.find(secret[1 if size > 8 else 0 :]) == []


@pytest.mark.parametrize("size", [8, 16, 29, 32, 250, 7_000])
def test_each_form_is_found(size: int, region: mmap.mmap) -> None:
    """By one search for all of them: each at any alignment, and across the end of a page."""
    base = address_of(region)
    with secalloc.random(size) as secret:
        mark(secret)
        written, at = [], 4096
        for form, write in FORMS.items():
            for place in (at, at + 32768 - size // 2, at + 65536 - 7):
                start, length = write(region, place + CHANCE.randrange(8), secret)
                written.append((base + start, length, form))
            at += 1 << 17
        assert sorted(places(secret)) == sorted(written)
        secalloc.clear(memoryview(region)[:at])
        assert places(secret) == [], "the control"


def copy_in(region: mmap.mmap, at: int, data: bytearray) -> tuple[int, int]:
    region[at : at + len(data)] = data
    size = len(data)
    secalloc.clear(data)
    return at, size


def widen(secret: Arena, width: int, pad: int = 0) -> bytearray:
    """Byte by byte, so that no copy of the whole is left on the way."""
    out = bytearray(len(secret) * width)
    for i in range(len(secret)):
        out[i * width] = secret[i] ^ pad
    return out


def hexed(secret: Arena, digits: bytes) -> bytearray:
    out = bytearray(2 * len(secret))
    for i in range(len(secret)):
        out[2 * i], out[2 * i + 1] = digits[secret[i] >> 4], digits[secret[i] & 15]
    return out


def based(secret: Arena, before: int, letters: bytes) -> tuple[bytearray, int, int]:
    """The text of `before` other bytes and the secret: it, and what is the secret's alone."""
    out = bytearray(-(-8 * (before + len(secret)) // 6))
    bits = before * 8
    data = [0xEE] * before + [secret[i] for i in range(len(secret))] + [0, 0]
    for first in range(0, 8 * (before + len(secret)), 6):
        two = data[first // 8] << 8 | data[first // 8 + 1]
        out[first // 6] = letters[two >> 10 - first % 8 & 63]
    start = -(-bits // 6)
    return out, start, (8 * (before + len(secret)) - 6 * start) // 6


STANDARD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
URL_SAFE = STANDARD[:-2] + b"-_"


def write_base64(before: int, letters: bytes) -> Any:
    def write(region: mmap.mmap, at: int, secret: Arena) -> tuple[int, int]:
        # a digit that tells the two alphabets apart must be there
        secret[4] = secret[5] = secret[6] = 0xFF
        text, start, length = based(secret, before, letters)
        copy_in(region, at, text)
        return at + start, length

    return write


FORMS: dict[str, Any] = {
    "plain": lambda region, at, s: copy_in(region, at, widen(s, 1)),
    "hex": lambda region, at, s: copy_in(region, at, hexed(mark(s), b"0123456789abcdef")),
    "HEX": lambda region, at, s: copy_in(region, at, hexed(mark(s), b"0123456789ABCDEF")),
    "utf-16": lambda region, at, s: copy_in(region, at, widen(s, 2)),
    "utf-32": lambda region, at, s: copy_in(region, at, widen(s, 4)),
    "hmac ipad": lambda region, at, s: copy_in(region, at, widen(s, 1, 0x36)),
    "hmac opad": lambda region, at, s: copy_in(region, at, widen(s, 1, 0x5C)),
}


def mark(secret: Arena) -> Arena:
    """With digits that are letters at both ends, small and large ones being apart then."""
    secret[0] = secret[-1] = 0xAB
    return secret


@pytest.mark.parametrize("letters", [STANDARD, URL_SAFE], ids=["standard", "urlsafe"])
@pytest.mark.parametrize("before", [0, 1, 2])
@pytest.mark.parametrize("size", [8, 20, 33])
def test_base64(size: int, before: int, letters: bytes, region: mmap.mmap) -> None:
    base = address_of(region)
    with secalloc.random(size) as secret:
        start, length = write_base64(before, letters)(region, 5000, secret)
        form = "base64" if letters is STANDARD else "base64url"
        assert places(secret) == [(base + start, length, form)]
        assert residue.find(secret, partial=False) == []


def test_base64_is_what_the_standard_library_writes() -> None:
    with Arena(os.urandom(20)) as secret:
        for before in range(3):
            data = b"\xee" * before + bytes(secret)
            assert based(secret, before, STANDARD)[0] == base64.b64encode(data).rstrip(b"=")


def test_a_secret_that_is_text() -> None:
    """As str keeps it, which takes one, two or four bytes for each character."""
    for text in ("pässwörd-é-ü-ñ-à", "gehéim-ключ-привет", "秘密の鍵です-ひみつ", "🔑🗝🔒🔐🔏🔓"):
        with secalloc.encode(text) as secret:
            widest = max(map(ord, text))
            form = "latin-1" if widest < 256 else "utf-16" if widest < 65536 else "utf-32"
            found = residue.find(secret)
            assert any(c.form == form and c.kind == "str" for c in found), (text, found)


def test_parts_of_half_the_secret_count(region: mmap.mmap) -> None:
    base = address_of(region)
    for size in (16, 32, 63, 1000):
        with secalloc.random(size) as secret:
            least = max(8, (size + 1) // 2)
            for _ in range(4):
                length = CHANCE.randrange(least, size)
                start = CHANCE.randrange(size - length + 1)
                at = 40000 + CHANCE.randrange(100)
                for i in range(length):
                    region[at + i] = secret[start + i]
                # what stands beside it there is not the secret's
                if start:
                    region[at - 1] = secret[start - 1] ^ 1
                if start + length < size:
                    region[at + length] = secret[start + length] ^ 1
                assert places(secret) == [(base + at, length, "plain")]
                assert residue.find(secret, partial=False) == []
                secalloc.clear(memoryview(region)[39000:60000])
            for i in range(least - 1):
                region[at + i] = secret[i]
            region[at + least - 1] = secret[least - 1] ^ 1
            assert residue.find(secret) == []
            secalloc.clear(memoryview(region)[39000:60000])


def test_what_it_lies_in() -> None:
    with secalloc.random(40) as secret:
        as_bytes = b"user:" + bytes(secret) + b"@host"
        as_str = "".join(chr(secret[i]) for i in range(40)) + "."
        as_array = bytearray(as_bytes)
        large = bytearray(300_000) + as_array
        heap = ctypes.CDLL(None).malloc
        heap.restype = ctypes.c_void_p
        pointer = heap(ctypes.c_size_t(500))
        ctypes.memmove(pointer, as_bytes, len(as_bytes))
        kinds = {copy.address: copy.kind for copy in residue.find(secret)}
        expected = {
            id(as_bytes) + bytes.__basicsize__ - 1 + 5: "bytes",
            address_of(as_array) + 5: "bytearray",
            address_of(large) + 300_005: "bytearray",
        }
        assert {at: kinds.get(at) for at in expected} == expected
        assert any(k == "str" and id(as_str) < at < id(as_str) + 100 for at, k in kinds.items())
        assert pointer + 5 in kinds


@linux_only
def test_a_stack_and_what_is_mapped_right_behind_it(region: mmap.mmap) -> None:
    """Of which the kernel makes one mapping: a heap's objects are not the stack's for that."""
    base = address_of(region)
    protect, page = ctypes.CDLL(None).mprotect, ctypes.c_size_t(mmap.PAGESIZE)
    assert protect(ctypes.c_void_p(base), page, 0) == 0  # a guard, as stacks have
    try:
        with secalloc.random(40) as secret:
            region[100_000:100_040] = secret
            as_bytes = bytes(secret)
            whole = ctypes.string_at(id(as_bytes), as_bytes.__sizeof__())
            region[500_000 : 500_000 + len(whole)] = whole
            inside = 500_000 + whole.index(as_bytes)
            for at, pointer in ((99_600, id(bytes)), (99_608, id(region))):  # as frames hold them
                region[at : at + 8] = pointer.to_bytes(8, "little")
            kinds = {copy.address - base: copy.kind for copy in residue.find(secret)}
            assert kinds.get(100_000) == "thread stack"
            assert kinds.get(inside) == "bytes"
    finally:
        protect(ctypes.c_void_p(base), page, mmap.PROT_READ | mmap.PROT_WRITE)


def test_another_thread_that_works_leaves_no_copy() -> None:
    """What its registers held must not come to its stack, by signals or the loader."""
    check("""
        secret, target = secalloc.random(32), Arena(32)
        own, stop = secalloc.concat(secret), threading.Event()
        pool, digits = secalloc.Pool(), secalloc.hexlify(secret)
        cell = pool.alloc(secret)
        def take():
            with pool.alloc(secret) as source: secalloc.take(source).close()
        def in_blocks():
            with cell.open("r") as view: target[:] = view
            with target.open("w") as view: view[:] = cell
        def in_and_out():
            pool.alloc(secret).close()
            pool.random(32).close()
        def byte_by_byte():
            for i in range(32): target[i] = secret[i]
        works = [
            secret.rotate,
            cell.rotate,
            take,
            in_blocks,
            in_and_out,
            byte_by_byte,
            lambda: cell == secret,
            lambda: secret < own,
            lambda: secalloc.b64decode(secalloc.b64encode(cell)).close(),
            lambda: secalloc.fromhex(digits).close(),
            lambda: secalloc.concat(secret, b"").close(),
            lambda: target.__setitem__(slice(0, 32), secret),
            lambda: secret == own,
            lambda: secalloc.compare_digest(secret, own),
            lambda: secalloc.hexlify(secret).close(),
            lambda: secalloc.fromhex(secalloc.hexlify(secret)).close(),
        ]
        def work(one):
            while not stop.is_set(): one()
        for one in works:
            stop.clear()
            worker = threading.Thread(target=work, args=(one,))
            worker.start()
            found = [copy for _ in range(8) for copy in secalloc.residue.find(own)]
            plain = bytearray(own)
            control = secalloc.residue.find(own)
            secalloc.clear(plain)  # freed, it could keep what it held
            stop.set()
            worker.join()
            assert found == [], (works.index(one), found)
            assert control
    """)


def test_a_copy_tells_where_it_is(region: mmap.mmap) -> None:
    with secalloc.random(32) as secret:
        region[70_000:70_032] = secret
        (copy,) = residue.find(secret, partial=False)
        assert copy.address == address_of(region) + 70_000
        assert (copy.length, copy.whole, copy.form, copy.kind) == (32, 32, "plain", copy.kind)
        assert copy.mapping == "anonymous"
        assert copy.offset >= 70_000
        line = str(copy)
        assert line.startswith(f"{copy.address:#x}: {copy.kind}, all of 32 bytes as plain, in ")


def test_a_file_is_named(tmp_path: Any) -> None:
    """Whole pages of it: in smaller blocks mincore leaves out those that were written in part."""
    path = tmp_path / "with a space"
    with secalloc.random(32) as secret, open(path, "w+b", buffering=0) as file:
        file.write(b"x" * 5001)
        file.write(secret)
        file.write(bytes(-file.tell() % mmap.PAGESIZE))
        with mmap.mmap(file.fileno(), 0):
            (copy,) = residue.find(secret, partial=False)
            assert (copy.mapping, copy.offset, copy.kind) == (str(path), 5001, "mapped file")


def test_arenas_are_left_out() -> None:
    """Live ones, sealed ones, pools, and what is kept of closed ones; in any memory."""
    check("""
        for secretmem in (True, False):
            secalloc.configure(secretmem=secretmem)
            s = secalloc.random(200)
            kept = [Arena(s) for _ in range(50)]
            pool = secalloc.Pool()
            kept += [pool.alloc(s) for _ in range(50)]
            large = Arena(1_000_000); large[5000:5200] = s
            kept[3].seal(); kept[4].close(); kept[60].close(); kept[5].clear()
            with kept[3].open("r"):
                assert secalloc.residue.find(s) == []
            pool.seal()
            assert secalloc.residue.find(s) == []
    """)


# ---- what is refused -----------------------------------------------------------------------


def test_a_short_secret_is_refused() -> None:
    for size in range(8):
        with pytest.raises(ValueError, match=f"secret of {size} bytes .* 8 are the least"):
            residue.find(secalloc.random(size))


@pytest.mark.parametrize("content", [bytes(32), b"A" * 32, b"abc" + bytes(61)])
def test_a_secret_that_says_nothing_is_refused(content: bytes) -> None:
    with Arena(content) as secret, pytest.raises(ValueError, match="everywhere by chance"):
        residue.find(secret)


def test_an_arena_that_cannot_be_read_is_refused() -> None:
    secret = secalloc.random(32)
    view = secret[3:20]
    secret.seal()
    with pytest.raises(SealedError):
        residue.find(secret)
    with pytest.raises(SealedError):
        residue.find(view)
    with secret.open("r") as inside:
        assert residue.find(inside) == []
    with pytest.raises(SealedError):
        residue.find(inside)
    with pytest.raises(WipedError), secret.open("rw"):  # noqa: PT012 - its end says so too
        secret.clear()
        with pytest.raises(WipedError):
            residue.find(secret)
    secret.close()
    with pytest.raises(ValueError, match="closed"):
        residue.find(secret)
    with pytest.raises(ValueError, match="closed"):
        residue.find(view)


def test_what_is_no_arena_is_refused() -> None:
    find: Any = residue.find
    for bad in (b"x" * 32, bytearray(32), memoryview(b"x" * 32), "x" * 32, None, 32):
        with pytest.raises(TypeError, match="Arena or ArenaView"):
            find(bad)
    with secalloc.random(32) as secret:
        with pytest.raises(TypeError, match="progress"):
            find(secret, progress=5)
        with pytest.raises(TypeError):
            find(secret, True)


def test_in_a_forked_child() -> None:
    check("""
        secret = secalloc.random(32)
        def work():
            raises(secalloc.ForkedError, secalloc.residue.find, of=secret)
            own = secalloc.random(32)
            assert secalloc.residue.find(own) == []
            kept = bytes(own)
            assert secalloc.residue.find(own)
        assert child_of(work) == 0
    """)


# ---- nothing is left by looking ---------------------------------------------------------------

LOOK = """
import ctypes
spy = ctypes.CDLL({spy!r})
spy.spy_copies.restype = ctypes.c_long
masked = bytes.fromhex({masked!r})
def copies(start, size):
    return spy.spy_copies(masked[start:start + size], ctypes.c_size_t(size))
secret = Arena(len(masked))
for i, byte in enumerate(masked):
    secret[i] = byte ^ 0x5A
def left():
    n = len(masked)
    pieces = [copies(0, n), copies(0, max(8, n // 2)), copies(n - max(8, n // 2), max(8, n // 2))]
    return [n for n in pieces if n]
if secalloc.Protection.SECRETMEM in secret.protection:  # else the spy sees arenas, too
    assert left() == [], "the arena itself is seen"
"""


@linux_only
@pytest.mark.parametrize("size", [8, 16, 32, 63, 1000])
def test_looking_leaves_no_copy(size: int) -> None:
    """By another's search; which finds what is kept on purpose, and what was found then."""
    masked = os.urandom(size)
    head = LOOK.format(spy=spy(), masked=masked.hex())
    check(
        f"""
{head}
    """
        + """
if secalloc.Protection.SECRETMEM in secret.protection:
    for partial in (True, False):
        assert secalloc.residue.find(secret, partial=partial) == []
        assert left() == []
    kept = bytes(secret)
    assert left(), "the control"
    assert secalloc.residue.find(secret) != []
    before = copies(0, len(masked))
    for _ in range(5):
        assert secalloc.residue.find(secret) != []
        assert copies(0, len(masked)) == before
"""
    )


@linux_only
@pytest.mark.parametrize("size", [8, 32])
def test_signals_meanwhile_leave_no_copy(size: int) -> None:
    """What a signal's frame saves of the registers is never a word of the secret."""
    head = LOOK.format(spy=spy(), masked=os.urandom(size).hex())
    check(
        f"""
{head}
    """
        + """
if secalloc.Protection.SECRETMEM in secret.protection:
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    for _ in range(20):
        assert secalloc.residue.find(secret) == []
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert left() == []
"""
    )


# ---- what moves meanwhile -----------------------------------------------------------------------


def test_progress() -> None:
    steps: list[tuple[int, int]] = []
    with (
        mmap.mmap(-1, 1 << 28, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory,
        secalloc.random(32) as secret,
    ):
        memory[:: 1 << 12] = b"x" * (1 << 16)
        found = residue.find(secret, progress=lambda done, total: steps.append((done, total)))
        assert found == []
        assert len(steps) >= 4
        done, totals = zip(*steps, strict=True)
        assert list(done) == sorted(done)
        assert len(set(totals)) == 1
        assert done[-1] == totals[-1] >= 1 << 28

        def fail(done: int, total: int) -> None:
            raise KeyError("enough")

        with pytest.raises(KeyError, match="enough"):
            residue.find(secret, progress=fail)
        assert residue.find(secret) == []


def test_control_c_ends_it() -> None:
    def interrupt(done: int, total: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with (
        mmap.mmap(-1, 1 << 28, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS),
        secalloc.random(32) as secret,
        pytest.raises(KeyboardInterrupt),
    ):
        residue.find(secret, progress=interrupt)


def test_the_gil_is_free() -> None:
    """Another thread goes on, and may do with the arena what it likes."""
    turns = [0, 0]
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            turns[0] += 1
            secret.seal()
            with secret.open("rw"):
                pass

    with secalloc.random(32) as secret, secalloc.concat(secret) as same:
        thread = threading.Thread(target=work)
        thread.start()
        try:
            for _ in range(20):
                before = turns[0]
                assert residue.find(same) == []
                turns[1] += turns[0] > before
        finally:
            over.set()
            thread.join()
    assert turns[1] > 0


@linux_only
def test_mappings_that_vanish(region: mmap.mmap) -> None:
    """Unmapped, made inaccessible, cut short as a file: passed over, and the rest is found."""
    over = threading.Event()

    def unmap() -> None:
        while not over.is_set():
            with mmap.mmap(-1, 1 << 21, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
                memory[:: 1 << 12] = b"x" * (1 << 9)

    def cut() -> None:
        with tempfile.TemporaryFile() as file:
            while not over.is_set():
                file.truncate(1 << 20)
                with mmap.mmap(file.fileno(), 1 << 20):
                    file.truncate(0)
                    time.sleep(0.001)

    threads = [threading.Thread(target=work) for work in (unmap, unmap, cut)]
    with secalloc.random(32) as secret:
        region[777:809] = secret
        for thread in threads:
            thread.start()
        try:
            for _ in range(15):
                assert places(secret, partial=False) == [(address_of(region) + 777, 32, "plain")]
        finally:
            over.set()
            for thread in threads:
                thread.join()


def test_hundreds_of_threads() -> None:
    gate = threading.Event()
    threads = [threading.Thread(target=gate.wait) for _ in range(300)]
    for thread in threads:
        thread.start()
    try:
        with secalloc.random(32) as secret:
            assert residue.find(secret) == []
            kept = bytes(secret)
            assert [c.address for c in residue.find(secret) if c.kind == "bytes"]
            assert len(kept) == 32
    finally:
        gate.set()
        for thread in threads:
            thread.join()


@linux_only
def test_four_gibibytes() -> None:
    """Hardly touched, or full of zeros: found where it is, and no memory taken."""
    check("""
        def resident():
            with open("/proc/self/statm") as statm:
                return int(statm.read().split()[1]) * PAGE
        secret = secalloc.random(32)
        secalloc.residue.find(secret)
        size = 4 << 30
        flags = mmap.MAP_ANONYMOUS | 0x4000  # MAP_NORESERVE
        for kind in (mmap.MAP_PRIVATE, mmap.MAP_SHARED):
            region = mmap.mmap(-1, size, flags=flags | kind)
            base = ctypes.addressof(ctypes.c_char.from_buffer(region))
            for at in (size // 4 * 3 - 5, size - 32):
                region[at:at + 32] = secret
            before = resident()
            found = secalloc.residue.find(secret, partial=False)
            assert resident() - before < 32 << 20, (before, resident())
            at = [c.address - base for c in found if 0 <= c.address - base < size]
            assert at == [size // 4 * 3 - 5, size - 32], found
    """)


@linux_only
def test_zero_pages_that_were_read() -> None:
    check("""
        region = mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        assert region.find(b"x") == -1
        secret = secalloc.random(16)
        assert secalloc.residue.find(secret) == []
    """)


@linux_only
def test_shared_memory_that_this_mapping_never_touched() -> None:
    fd = os.memfd_create("kept")
    os.ftruncate(fd, 1 << 20)
    with secalloc.random(32) as secret, mmap.mmap(fd, 1 << 20):
        os.pwrite(fd, secret, 70_000)
        (copy,) = residue.find(secret, partial=False)
        assert copy.offset == 70_000
        assert "kept" in copy.mapping
    os.close(fd)


@linux_only
def test_it_works_where_the_process_is_closed_to_others() -> None:
    """Not dumpable, and not root: the page map and the memory file are then closed."""
    check("""
        become_nobody()
        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
        try: open("/proc/self/pagemap").close()
        except PermissionError: pass
        else: raise AssertionError("open")
        secret = secalloc.random(32)
        sparse = mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)
        assert secalloc.residue.find(secret) == []
        kept = bytes(secret)
        at = id(kept) + bytes.__basicsize__ - 1
        assert [c.kind for c in secalloc.residue.find(secret) if c.address == at]
    """)


@linux_only
def test_without_process_vm_readv() -> None:
    """By the memory file then; with neither, an error rather than a list without copies."""
    check("""
        import crash
        crash.SYSCALLS["process_vm_readv"] = (310, 270)
        crash.SYSCALLS["pread64"] = (17, 67)
        secret = secalloc.random(32)
        kept = bytes(secret)
        deny("process_vm_readv", errno.EPERM)
        at = id(kept) + bytes.__basicsize__ - 1
        assert [c.kind for c in secalloc.residue.find(secret) if c.address == at]
        deny("pread64", errno.EPERM)
        try: secalloc.residue.find(secret)
        except PermissionError as error: assert "process_vm_readv" in str(error)
        else: raise AssertionError("nothing was read")
    """)


@linux_only
def test_the_list_has_an_end(region: mmap.mmap) -> None:
    with secalloc.random(32) as secret:
        for i in range(residue.MOST + 100):
            region[i * 40 : i * 40 + 32] = secret
        found = residue.find(secret)
        assert len(found) == residue.MOST
        assert [c.address for c in found] == sorted(c.address for c in found)
