"""What concerns the whole process: clear, rekey, lockdown, its descriptor, status, arming."""

import array
import ctypes
import gc
import mmap
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from signal import Signals
from typing import Any

import pytest
from conftest import Marker
from crash import SECRET, raw, secret
from support import check, linux_only, run, unplaced

import secalloc
from secalloc import Arena

ALWAYS = {
    Signals.SIGSEGV,
    Signals.SIGBUS,
    Signals.SIGILL,
    Signals.SIGFPE,
    Signals.SIGABRT,
    Signals.SIGSYS,
    Signals.SIGTRAP,
}
IF_DEFAULT = {
    Signals.SIGQUIT,
    Signals.SIGXCPU,
    Signals.SIGXFSZ,
    Signals.SIGTERM,
    Signals.SIGHUP,
}


# ---- the package --------------------------------------------------------------


def test_every_public_name_is_there_and_documented() -> None:
    for name in secalloc.__all__:
        thing = getattr(secalloc, name)
        assert thing.__doc__, name
        if isinstance(thing, type):
            for member, value in vars(thing).items():
                if not member.startswith("_") and not issubclass(thing, tuple):
                    assert value.__doc__, f"{name}.{member}"


def test_random_is_not_in_all() -> None:
    assert "random" not in secalloc.__all__
    assert callable(secalloc.random)


@linux_only
def test_import_is_lean_and_arms_and_maps_nothing() -> None:
    """Against the same interpreter without it; `crash` is not to be imported here."""
    probe = """
import os, sys, signal, faulthandler
def look():
    with open("/proc/self/smaps") as smaps:
        special = sum(any(f" {flag} " in line for flag in ("dc", "wf", "lo", "dd"))
                      for line in smaps if line.startswith("VmFlags:"))
    with open("/proc/self/status") as status:
        caught = next(line for line in status if line.startswith("SigCgt"))
        status.seek(0)
        locked = next(line for line in status if line.startswith("VmLck"))
    return special, caught, locked, sorted(os.listdir("/proc/self/fd"))
look()
modules, before = set(sys.modules), look()
import secalloc
new = {name.partition(".")[0] for name in set(sys.modules) - modules}
heavy = {"ctypes", "asyncio", "socket", "subprocess", "threading", "logging", "pathlib",
         "tempfile", "argparse", "hashlib", "secrets", "random", "getpass", "typing", "inspect"}
assert not new & heavy, new & heavy
assert look() == before, (before, look())
secalloc.status(), secalloc.rekey(), secalloc.is_secure(b"")
assert secalloc.set_lockdown_fd(None) == 2
assert look() == before, (before, look())
status = secalloc.status()
assert set(status.handlers.values()) == {"off"}, status
assert (status.arenas, status.bytes, status.locked_bytes, status.rekeys) == (0, 0, 0, 0), status
arena = secalloc.Arena(1)
assert look() != before  # or the looks see nothing
print("lean")
"""
    child = subprocess.run(  # noqa: S603
        [sys.executable, "-P", "-c", probe],
        capture_output=True,
        text=True,
        cwd=tempfile.gettempdir(),
        check=False,
    )
    assert (child.returncode, child.stdout.strip()) == (0, "lean"), child.stderr


@linux_only
def test_no_descriptor_stays_open() -> None:
    check("""
        before = set(os.listdir("/proc/self/fd"))
        arenas = [Arena(1), Arena(100 * mmap.PAGESIZE), secalloc.random(5)]
        arenas[0].rotate()
        assert set(os.listdir("/proc/self/fd")) == before
    """)


# ---- clear and rekey ------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 31, 4095, 4096, 4097, 3 * 4096, 100_000])
def test_clear_any_writable_buffer(size: int) -> None:
    buffer = bytearray(b"\xaa" * size)
    secalloc.clear(buffer)
    assert len(buffer) == size
    assert buffer[:4096] == buffer[4096:8192] or size < 8192
    if size >= 31:
        assert buffer.count(0xAA) < size / 4
        assert buffer.count(0) < size / 4


def test_clear_other_kinds() -> None:
    plain = array.array("I", [7] * 100)
    secalloc.clear(plain)
    assert plain.count(7) < 3
    block = ctypes.create_string_buffer(b"x" * 100, 100)
    secalloc.clear(block)
    assert block.raw.count(b"x") < 20
    with mmap.mmap(-1, 4096) as page:
        secalloc.clear(page)
        assert page[:].count(b"\0") < 100
    part = bytearray(100)
    secalloc.clear(memoryview(part)[10:90])
    assert part[:10] + part[90:] == bytes(20)
    assert part[10:90].count(0) < 20


@pytest.mark.parametrize(
    "wrong", [b"x", memoryview(b"x"), "text", 5, None, memoryview(bytearray(9))[::2]], ids=unplaced
)
def test_clear_refuses(wrong: object) -> None:
    with pytest.raises((TypeError, BufferError)):
        secalloc.clear(wrong)  # type: ignore[arg-type]


def test_clear_an_arena_wipes_it() -> None:
    arena = secret()
    secalloc.clear(arena)
    assert arena.wiped
    secalloc.clear(arena)
    assert arena.wiped


def test_clear_part_of_an_arena_is_a_plain_overwrite() -> None:
    arena = secret()
    secalloc.clear(arena[:48])
    assert not arena.wiped
    with memoryview(arena) as seen:
        secalloc.clear(seen[60:90])
    assert not arena.wiped
    held = bytes(arena)
    assert held[48:60] + held[90:] == SECRET[48:60] + SECRET[90:]
    assert held[:48] != SECRET[:48]
    assert held[60:90] != SECRET[60:90]


def test_clear_uses_one_noise_until_rekeyed() -> None:
    one, two, arena = bytearray(8192), bytearray(8192), Arena(5000)
    keys = secalloc.status().rekeys
    secalloc.clear(one)
    secalloc.clear(two)
    arena.clear()
    assert one == two
    noise = raw(arena)
    assert noise[:4000] in one
    assert noise[-4000:] in one
    assert secalloc.status().rekeys == keys
    secalloc.rekey()
    assert secalloc.status().rekeys == keys + 1
    assert raw(arena) == noise  # nothing is wiped again
    secalloc.clear(two)
    assert one != two


def test_noise_is_noise() -> None:
    buffer = bytearray(4096)
    secalloc.clear(buffer)
    assert len(set(buffer)) == 256
    assert max(buffer.count(bytes([b])) for b in range(256)) < 50


def test_rekey_before_first_use_does_nothing() -> None:
    check("""
        secalloc.rekey()
        secalloc.rekey()
        assert secalloc.status().rekeys == secalloc.status().locked_bytes == 0
    """)


# ---- lockdown -----------------------------------------------------------------


def test_lockdown(marker: Marker) -> None:
    gc.collect()
    before = secalloc.status()
    arenas = [secret(n) for n in (1, 96, 5000, 300_000)]
    export = memoryview(arenas[1])
    assert secalloc.lockdown() == before.arenas + 4
    assert marker.take() == b"L"
    after = secalloc.status()
    assert (after.lockdowns, after.arenas) == (before.lockdowns + 1, before.arenas + 4)
    assert after.rekeys > before.rekeys
    for arena in arenas:
        assert arena.wiped
        assert SECRET[:8] not in raw(arena)
        with pytest.raises(secalloc.WipedError):
            bytes(arena)
    assert SECRET[:8] not in export.tobytes()
    arenas[1][:] = SECRET
    assert bytes(arenas[1]) == SECRET
    assert secalloc.lockdown() >= 4
    assert marker.take() == b"L"


def test_lockdown_without_arenas() -> None:
    end = run("print(secalloc.lockdown(), secalloc.status().lockdowns)")
    assert (end.code, end.out.strip()) == (0, "0 1"), end
    assert end.marker == b"L"


def test_lockdown_then_new_noise() -> None:
    arena, buffer = secret(4096), bytearray(4096)
    secalloc.lockdown()
    secalloc.clear(buffer)
    assert raw(arena) != buffer


# ---- where the marker goes --------------------------------------------------------


def test_default_is_standard_error() -> None:
    end = run("print(secalloc.status().lockdown_fd); secalloc.lockdown()", marker=False)
    assert (end.code, end.out.strip(), end.err) == (0, "2", "L")


@pytest.mark.parametrize("when", ["before", "after"])
def test_set_lockdown_fd_before_and_after_first_use(when: str) -> None:
    check(f"""
        if {when == "after"}: a = secret()
        read, write = os.pipe()
        mine = secalloc.status().lockdown_fd
        assert secalloc.set_lockdown_fd(write) == mine
        assert secalloc.status().lockdown_fd == write
        with os.fdopen(os.dup(write), "w") as file:
            assert secalloc.set_lockdown_fd(file) == write
            assert secalloc.status().lockdown_fd == file.fileno()
            secalloc.lockdown()
            assert os.read(read, 9) == b"L"
            assert secalloc.set_lockdown_fd(None) == file.fileno()
        assert secalloc.status().lockdown_fd is None
        secalloc.lockdown()
        os.write(write, b"-")
        assert os.read(read, 9) == b"-"
        assert secalloc.set_lockdown_fd(write) is None
    """)


@pytest.mark.parametrize("bad", [-1, -2, 10**6, 2**31 - 1])
def test_a_bad_descriptor_is_an_oserror(bad: int, marker: Marker) -> None:
    with pytest.raises(OSError):  # noqa: PT011
        secalloc.set_lockdown_fd(bad)
    assert secalloc.status().lockdown_fd == marker.write
    secalloc.lockdown()
    assert marker.take() == b"L"


def test_a_closed_descriptor_is_an_oserror(marker: Marker) -> None:
    read, write = os.pipe()
    os.close(write)
    os.close(read)
    with pytest.raises(OSError):  # noqa: PT011
        secalloc.set_lockdown_fd(write)
    assert secalloc.status().lockdown_fd == marker.write


@pytest.mark.parametrize("wrong", ["2", 2.0, object(), b"2", 2**40], ids=unplaced)
def test_a_descriptor_of_wrong_type(wrong: object, marker: Marker) -> None:
    with pytest.raises((TypeError, ValueError, OSError)):
        secalloc.set_lockdown_fd(wrong)  # type: ignore[arg-type]
    assert secalloc.status().lockdown_fd == marker.write


def test_a_reused_descriptor_gets_no_byte() -> None:
    for close in ("os.close(write)", "pass"):
        check(f"""
            read, write = os.pipe()
            secalloc.set_lockdown_fd(write)
            with tempfile.TemporaryFile() as data:
                {close}
                os.dup2(data.fileno(), write)
                a = secret()
                secalloc.lockdown()
                assert a.wiped
                assert os.fstat(data.fileno()).st_size == 0
        """)


# ---- is_secure ------------------------------------------------------------------


def test_is_secure() -> None:
    arena = secret(5000)
    large = secret(300_000)
    with memoryview(arena) as seen, memoryview(large[9:]) as part:
        for inside in (arena, arena[3:9], arena[:], large, seen, seen[5:7], part, part[:0]):
            assert secalloc.is_secure(inside) is True
    plain = bytearray(5)
    for outside in (b"x", plain, memoryview(plain), b""):
        assert secalloc.is_secure(outside) is False
    for no_memory in ("text", 5, None, object()):
        with pytest.raises(TypeError):
            secalloc.is_secure(no_memory)  # type: ignore[arg-type]


def test_is_secure_of_empty_ones() -> None:
    assert secalloc.is_secure(Arena(0))
    assert secalloc.is_secure(Arena(9)[9:])
    assert secalloc.is_secure(memoryview(Arena(0)))
    assert not secalloc.is_secure(bytearray())


def test_is_secure_through_ctypes() -> None:
    arena = secret()
    inside = (ctypes.c_char * 8).from_buffer(arena)
    assert secalloc.is_secure(inside)
    beyond = (ctypes.c_char * (len(SECRET) + 1)).from_address(arena.address)
    assert not secalloc.is_secure(beyond)
    guard = ctypes.c_char.from_address(arena.address + arena.size)
    assert not secalloc.is_secure(guard)


def test_is_secure_after_the_end() -> None:
    arena = secret()
    stale = (ctypes.c_char * 8).from_address(arena.address)
    assert secalloc.is_secure(stale)
    arena.rotate()
    assert not secalloc.is_secure(stale)
    stale = (ctypes.c_char * 8).from_address(arena.address)
    arena.close()
    assert not secalloc.is_secure(stale)
    assert not secalloc.is_secure(arena)


# ---- status, arm, disarm ----------------------------------------------------------


def test_status() -> None:
    arena = secret(5000)
    before = secalloc.status()
    assert before._fields[:9] == (
        "arenas",
        "bytes",
        "locked_bytes",
        "lock_limit",
        "backend",
        "handlers",
        "lockdown_fd",
        "rekeys",
        "lockdowns",
    )
    assert before.alt_stack in ("ours", "foreign", "small")
    in_secretmem = secalloc.Protection.SECRETMEM in arena.protection
    assert (before.secretmem_bytes >= 8192) == in_secretmem
    assert before.secretmem_bytes <= before.locked_bytes
    if in_secretmem and not before.secretmem_shared:
        assert before.secretmem_limit == before.lock_limit
    assert isinstance(before.backend, str)
    assert set(before.handlers) == ALWAYS | IF_DEFAULT
    assert set(before.handlers.values()) <= {"armed", "shadowed", "off"}
    more = Arena(100)
    after = secalloc.status()
    assert (after.arenas, after.bytes) == (before.arenas + 1, before.bytes + 100)
    if secalloc.Protection.LOCK in arena.protection & more.protection:
        assert after.locked_bytes >= 3 * 4096


def test_handlers_after_the_first_arena() -> None:
    check(f"""
        a = Arena(1)
        handlers = secalloc.status().handlers
        assert all(handlers[signal.Signals(s)] == "armed" for s in {[*map(int, ALWAYS)]}), handlers
        for s in {[*map(int, IF_DEFAULT)]}:
            default = signal.getsignal(s) is signal.SIG_DFL
            assert handlers[signal.Signals(s)] == ("armed" if default else "off"), (s, handlers)
        assert secalloc.status().alt_stack == "ours"
        assert handlers[signal.SIGXFSZ] == "off"  # CPython ignores it from the start
    """)


def test_a_handler_of_the_programs_own_is_left_alone() -> None:
    check("""
        seen = []
        signal.signal(signal.SIGTERM, lambda *_: seen.append("mine"))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        a = secret()
        handlers = secalloc.status().handlers
        assert handlers[signal.SIGTERM] == handlers[signal.SIGHUP] == "off", handlers
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
        assert seen == ["mine"] and bytes(a) == SECRET
        signal.signal(signal.SIGQUIT, lambda *_: seen.append("later"))
        signal.signal(signal.SIGSEGV, lambda *_: None)
        handlers = secalloc.status().handlers
        assert handlers[signal.SIGQUIT] == handlers[signal.SIGSEGV] == "shadowed", handlers
        os.kill(os.getpid(), signal.SIGQUIT)
        assert seen == ["mine", "later"] and bytes(a) == SECRET
    """)


def test_disarm_sticks_and_arm_comes_back() -> None:
    check("""
        a = Arena(1)
        armed = secalloc.status().handlers
        assert "armed" in armed.values()
        secalloc.disarm()
        assert set(secalloc.status().handlers.values()) == {"off"}
        b = Arena(1)
        assert set(secalloc.status().handlers.values()) == {"off"}
        secalloc.disarm()
        secalloc.arm()
        assert secalloc.status().handlers == armed, secalloc.status().handlers
        secalloc.disarm()
        secalloc.arm(signals=[signal.SIGSEGV, signal.SIGBUS])
        now = secalloc.status().handlers
        assert {s for s in now if now[s] == "armed"} == {signal.SIGSEGV, signal.SIGBUS}, now
    """)


def test_disarm_before_the_first_arena() -> None:
    check("""
        secalloc.disarm()
        a = Arena(1)
        assert set(secalloc.status().handlers.values()) == {"off"}
    """)


def test_disarm_restores_what_was_there() -> None:
    check("""
        seen = []
        signal.signal(signal.SIGABRT, lambda *_: seen.append(a.wiped))
        a = Arena(1)
        assert secalloc.status().handlers[signal.SIGABRT] == "armed"
        secalloc.disarm()
        os.kill(os.getpid(), signal.SIGABRT)
        assert seen == [False]
    """)


def test_disarm_leaves_the_handlers_of_others_in_place() -> None:
    check("""
        a = Arena(1)
        seen = []
        signal.signal(signal.SIGTERM, lambda *_: seen.append(1))
        secalloc.disarm()
        os.kill(os.getpid(), signal.SIGTERM)
        assert seen == [1]
    """)


@pytest.mark.parametrize(
    "bad",
    [[9], [signal.SIGSTOP], [11, signal.SIGCHLD], [signal.SIGTSTP], [32], [33], [0], [-1], [999]],
)
def test_arm_takes_only_what_ends_the_process(bad: list[int]) -> None:
    before = secalloc.status().handlers
    with pytest.raises(ValueError, match=r"(?i)signal"):
        secalloc.arm(signals=bad)
    assert secalloc.status().handlers == before


@pytest.mark.parametrize("wrong", [5, ["SIGSEGV"], [None], "SEGV"], ids=repr)
def test_arm_with_wrong_types(wrong: object) -> None:
    before = secalloc.status().handlers
    with pytest.raises(TypeError):
        secalloc.arm(signals=wrong)  # type: ignore[arg-type]
    assert secalloc.status().handlers == before


@pytest.mark.parametrize(
    "call",
    [
        lambda: secalloc.lockdown(1),  # type: ignore[call-arg]
        lambda: secalloc.rekey(1),  # type: ignore[call-arg]
        lambda: secalloc.status(1),  # type: ignore[call-arg]
        lambda: secalloc.disarm(1),  # type: ignore[call-arg]
        lambda: secalloc.clear(b"", b""),  # type: ignore[call-arg]
        lambda: secalloc.is_secure(b"", b""),  # type: ignore[call-arg]
        lambda: secalloc.compare_digest(b"x"),  # type: ignore[call-arg]
    ],
)
def test_wrong_number_of_arguments(call: Callable[[], Any]) -> None:
    with pytest.raises(TypeError):
        call()
