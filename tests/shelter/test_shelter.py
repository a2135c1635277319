"""Sheltered calls: where their memory lies, what becomes of it, and what is refused."""

import gc
import json
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from support import TRIALS, check, dies, linux_only, needs_lockable, run

import secalloc
from secalloc import is_sheltered, shelter, sheltered

pytestmark = pytest.mark.skipif("t" in sys.abiflags, reason="not for free-threaded Pythons")

roomy = needs_lockable(8 << 20)
"""It makes more in the shelter than a user with 64 KiB can lock."""
several = needs_lockable(16 * mmap.PAGESIZE)
"""What is small takes a page for each size."""


@pytest.fixture(autouse=True)
def _goes_back() -> Any:
    """What a test made in the shelter is gone after it, but for what Python keeps for reuse."""
    shelter(int)
    gc.collect()
    before = secalloc.status().sheltered.blocks
    yield
    gc.collect()
    assert secalloc.status().sheltered.blocks <= before + 150


@roomy
def test_what_it_makes_lies_there() -> None:
    """Small and large, grown and shrunk; the control is the same, made outside."""
    for size in (1, 15, 16, 17, 100, 511, 512, 513, 2047, 2048, 2049, 5000, 70_000, 3_000_000):
        made = shelter(os.urandom, size)
        assert len(made) == size
        assert is_sheltered(made) or size == 1, size  # one of 256 that Python keeps
        assert not is_sheltered(os.urandom(max(size, 2)))
    grown = shelter(lambda: b"".join([b"%d" % n for n in range(5000)]))
    assert is_sheltered(grown)
    assert grown == b"".join([b"%d" % n for n in range(5000)])
    text = shelter(json.dumps, {"key": ["value"] * 500})
    assert is_sheltered(text)
    assert json.loads(text) == {"key": ["value"] * 500}


def test_floats_too_and_those_that_python_keeps_for_reuse() -> None:
    kept = [float(n) for n in range(200)]
    del kept
    made = shelter(lambda: [n * 1.5 for n in range(300)])
    assert all(is_sheltered(number) for number in made)
    assert made == [n * 1.5 for n in range(300)]


@several
def test_a_buffer_counts() -> None:
    outside = bytearray(os.urandom(50))
    assert not is_sheltered(outside)
    assert is_sheltered(shelter(bytearray, outside))
    assert not is_sheltered(shelter(lambda: memoryview(outside))), "it shows what lies outside"
    assert is_sheltered(shelter(secalloc.random, 32)), "an arena is no less"


def test_it_ends_with_the_call() -> None:
    inside: list[bytes] = []

    def nested() -> None:
        inside.append(shelter(os.urandom, 40))
        inside.append(os.urandom(41))

    shelter(nested)
    assert all(map(is_sheltered, inside))
    assert not is_sheltered(os.urandom(42))


@roomy
def test_another_thread_is_outside() -> None:
    made: list[bytes] = []

    def starts() -> None:
        thread = threading.Thread(target=lambda: made.append(os.urandom(40)))
        thread.start()
        thread.join()

    shelter(starts)
    assert not is_sheltered(made[0])


@roomy
def test_a_block_lives_until_any_thread_frees_it() -> None:
    held = [shelter(os.urandom, 3000) for _ in range(20)]
    blocks = secalloc.status().sheltered.blocks
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert secalloc.status().sheltered.blocks == blocks - 20


def test_outside_a_block_that_grows_stays_there() -> None:
    array = shelter(bytearray, 100)
    for _ in range(200):
        array += b"0123456789"
    assert is_sheltered(array)
    del array[50:]
    assert is_sheltered(array)
    assert array == bytes(50)


def test_inside_a_block_from_outside_is_brought_in() -> None:
    array = bytearray(b"12345678" * 10)

    def grow() -> None:
        array.extend(b"x" * 5000)

    shelter(grow)
    assert array == b"12345678" * 10 + b"x" * 5000


def test_an_exception_is_passed_on() -> None:
    def fails() -> None:
        raise KeyError(os.urandom(60))

    with pytest.raises(KeyError) as raised:
        shelter(fails)
    assert is_sheltered(raised.value.args[0])


def test_arguments_are_the_functions_own() -> None:
    assert shelter(dict, f=1, self=2) == {"f": 1, "self": 2}
    assert shelter(int, "ff", base=16) == 255

    @sheltered
    def add(a: int, *, b: int = 2) -> int:
        """Adds."""
        return a + b

    assert (add(1), add(1, b=5), add.__name__, add.__doc__) == (3, 6, "add", "Adds.")


def suspended() -> list[Callable[[], Any]]:
    async def coroutine() -> None:
        pass

    async def asynchronous() -> Any:
        yield 1

    def generator() -> Any:
        yield 1

    return [coroutine, asynchronous, generator, lambda: (n for n in [1])]


@pytest.mark.parametrize("which", range(4))
def test_what_would_go_on_later_is_refused(which: int) -> None:
    with pytest.raises(TypeError, match="would go on outside"):
        shelter(suspended()[which])


def test_what_has_the_name_alone_is_a_result() -> None:
    class generator:
        def close(self) -> None:
            raise AssertionError

    assert isinstance(shelter(generator), generator)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no buffers of classes")
def test_an_interrupt_in_a_buffer_is_passed_on() -> None:
    class Interrupted:
        def __buffer__(self, flags: int) -> memoryview:
            raise KeyboardInterrupt

    class Shows:
        def __buffer__(self, flags: int) -> memoryview:
            raise BufferError

    assert is_sheltered(shelter(Shows))
    with pytest.raises(KeyboardInterrupt):
        is_sheltered(shelter(Interrupted))


def test_bad_arguments() -> None:
    for bad in ((), (5,), (None, 1)):
        with pytest.raises(TypeError, match="something to call"):
            shelter(*bad)
    with pytest.raises(TypeError, match="can be called"):
        sheltered(5)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="can be called"):
        secalloc.capturing(5)  # type: ignore[call-overload]


@several
def test_capture() -> None:
    assert secalloc.capture(lambda: "pä") == "pä".encode()
    assert secalloc.capture(bytes, 5) == bytes(5)
    assert secalloc.capturing(os.urandom)(20).size == 20
    for bad in (lambda: 5, lambda: None, lambda: [1]):
        with pytest.raises(TypeError, match="capture"):
            secalloc.capture(bad)


def test_beside_tracemalloc() -> None:
    """Started before and after, stopped in between: blocks go where they came from."""
    code = """
import secalloc, tracemalloc, os
tracemalloc.start(3)
one = secalloc.shelter(os.urandom, 1000)
assert tracemalloc.is_tracing() and tracemalloc.get_traceback_limit() == 3
assert tracemalloc.get_object_traceback(secalloc.shelter(lambda: [os.urandom(99)])[0])
tracemalloc.stop()
two = secalloc.shelter(os.urandom, 1000)
tracemalloc.start()
three = secalloc.shelter(os.urandom, 1000)
assert all(map(secalloc.is_sheltered, (one, two, three)))
del one, two
tracemalloc.stop()
del three
"""
    check(code)
    tracemalloc.start()
    assert is_sheltered(shelter(os.urandom, 100))
    tracemalloc.stop()


def test_freed_memory_is_overwritten() -> None:
    """Looked at where it was; the control is the block while it lives."""
    made = shelter(os.urandom, 1000)
    neighbour = shelter(os.urandom, 1000)
    at, head = id(made), bytes.__basicsize__ - 1
    with open("/proc/self/mem", "rb", buffering=0) as memory:

        def there() -> bytes:
            memory.seek(at + head)
            return memory.read(1000)

        if secalloc.Protection.SECRETMEM in secalloc.Arena(1).protection:
            pytest.skip("nobody reads secretmem")
        assert there() == made
        del made
        assert there() == bytes(1000)
    assert len(neighbour) == 1000


def test_overwritten_in_the_shelters_own_eyes() -> None:
    """The next block of its size comes zeroed but for what is written: nothing is left."""
    secret = b"\xa7" * 800
    code = """
import ctypes, secalloc, os
for size in (20, 100, 500, 800, 1500, 5000):
    made = secalloc.shelter(lambda: b"".join([b"\\xa7" * size, b""]) + b"x")
    at = id(made) + bytes.__basicsize__ - 1
    keep = secalloc.shelter(os.urandom, size)
    assert ctypes.string_at(at, size).count(b"\\xa7") == size, "the control"
    if size > 2000:
        continue  # its pages are gone
    del made
    assert ctypes.string_at(at, size).count(b"\\xa7") < 2, size
"""
    assert secret
    check(code)


STACK = """
import ctypes, secalloc, sys
class Large(ctypes.Structure): _fields_ = [("content", ctypes.c_ubyte * SIZE)]
by_value = ctypes.CDLL(None).abs
by_value.argtypes = [Large]
secret = bytes((i * 7 + 3) % 251 for i in range(SIZE))
def passes(depth):
    if depth: sorted([depth - 1], key=passes)  # by way of C, so that the stack grows
    else: by_value(Large.from_buffer_copy(secret))
masked = bytes(byte ^ 0xff for byte in secret[500:532])
def copies():
    for line in open("/proc/self/maps"):
        if "[stack]" in line:
            low, high = (int(at, 16) for at in line.split()[0].split("-"))
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        memory.seek(low)
        return memory.read(high - low).count(bytes(byte ^ 0xff for byte in masked))
secalloc.shelter(int)
if SHELTERED: secalloc.shelter(passes, DEPTH)
else: passes(DEPTH)
print(copies())
"""


@roomy
@linux_only
@pytest.mark.skipif(os.getuid() != 0, reason="not everybody reads their own memory")
@pytest.mark.parametrize("size", [60_000, 300_000, 2_000_000])
@pytest.mark.parametrize("depth", [0, 100])
def test_nothing_is_left_on_the_stack(size: int, depth: int) -> None:
    """A structure passed by value, near the caller and far below; the control is the same call
    outside."""
    code = STACK.replace("SIZE", str(size)).replace("DEPTH", str(depth))
    assert int(check(code.replace("SHELTERED", "False"))) > 0, "the control"
    assert int(check(code.replace("SHELTERED", "True"))) == 0


# ---- fork ----------------------------------------------------------------------------------

FORKS = """
import gc, json, os, secalloc, threading
kept = secalloc.shelter(lambda: {n: [str(n) * 3, n * 1.5] for n in range(3000)})
stop = threading.Event()
def busy():
    while not stop.is_set():
        secalloc.shelter(lambda: json.loads(json.dumps([str(n) for n in range(300)])))
threads = [threading.Thread(target=busy) for _ in range(2)]
for thread in threads: thread.start()
for turn in range(TURNS):
    pid = os.fork()
    if pid == 0:
        try:
            assert kept[2999] == ["2999" * 3, 2999 * 1.5]
            gc.collect()
            kept[5] = secalloc.shelter(os.urandom, 100)
            if turn % 4 == 0:
                again = os.fork()
                if again == 0:
                    ok = kept[77][0] == "777777" and secalloc.is_sheltered(kept[77][0])
                    kept.clear(); gc.collect()
                    os._exit(7 if ok else 9)
                assert os.waitpid(again, 0)[1] == 7 << 8
            kept.clear()
            gc.collect()
            os._exit(7)
        except BaseException:
            os._exit(8)
    assert os.waitpid(pid, 0)[1] == 7 << 8
stop.set()
for thread in threads: thread.join()
assert kept[2999] == ["2999" * 3, 2999 * 1.5]
assert len(kept[5][0]) == 3, "a child's change is its own"
"""


@roomy
def test_a_forked_child_has_its_own_copy() -> None:
    check(FORKS.replace("TURNS", str(TRIALS)))


@roomy
def test_a_childs_copy_counts_until_it_goes() -> None:
    code = """
import os, secalloc
kept = secalloc.shelter(os.urandom, 1_000_000)
locked = secalloc.Protection.LOCK in secalloc.Arena(1).protection
if os.fork() == 0:
    had = secalloc.status().locked_bytes
    del kept
    left = had - secalloc.status().locked_bytes
    os._exit(0 if not locked or (had > 1_000_000 and 1_000_000 < left < 1_100_000) else 1)
assert os.wait()[1] == 0
"""
    check(code)


@linux_only
def test_a_fork_at_the_lock_limit() -> None:
    code = """
import resource, os
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
import warnings; warnings.simplefilter("ignore")
import gc, secalloc
kept = secalloc.shelter(lambda: [os.urandom(300) for _ in range(20)])
done = threading.Event()
def busy():
    while not done.is_set():
        try: secalloc.shelter(lambda: [str(n) for n in range(100)])
        except (MemoryError, SystemError): pass
beside = threading.Thread(target=busy)
beside.start()
for turn in range(20):
    pid = os.fork()
    if pid == 0:
        gc.collect()
        os._exit(7 if all(len(k) == 300 for k in kept) else 9)
    assert os.waitpid(pid, 0)[1] == 7 << 8
done.set()
beside.join()
"""
    check(code)


KEPT = """
become_nobody()
limit(resource.RLIMIT_MEMLOCK, 65536)
caught = collect_warnings()
def told(): return [str(w.message) for w in caught if "for a forked child" in str(w.message)]
kept = secalloc.shelter(lambda: [os.urandom(300) for _ in range(20)])
def in_child():
    assert len(told()) == 1 and "LOCK" in told()[0] and "ulimit -l" in told()[0], caught
    assert all(map(secalloc.is_sheltered, kept))
    Arena(1)
    assert child_of(lambda: Arena(1)) == 0
    assert len(told()) == 1, caught
"""
UNLOCKED = KEPT + "limit(resource.RLIMIT_MEMLOCK, 0)\n"


@linux_only
@several
@pytest.mark.parametrize("before", ["pass", "secalloc.require(Protection.LOCK)"])
def test_a_child_that_could_not_lock_its_copy_says_so(before: str) -> None:
    """Once, at the fork, of which its parent says nothing. A requirement changes nothing: the
    fork is not to fail."""
    check(
        UNLOCKED
        + f"""
{before}
forks = child_of.__code__.co_filename, "<string>"
def at_the_fork():
    assert len(told()) == 1 and caught[-1].filename in forks, caught
    secalloc.require(Protection(0))
    in_child()
for _ in range(3):
    assert child_of(at_the_fork) == 0
assert child_of(at_the_fork, fork=lambda: os.forkpty()[0]) == 0
ends = []
on_thread(lambda: ends.append(child_of(at_the_fork)))
assert ends == [0] and not told(), caught
"""
    )


@linux_only
@several
def test_a_child_of_multiprocessing_says_so() -> None:
    check(
        "import multiprocessing.popen_fork\n"  # which the other user may not find
        + UNLOCKED
        + """
child = multiprocessing.get_context("fork").Process(target=in_child)
child.start(); child.join()
assert child.exitcode == 0 and not told(), caught
"""
    )


@linux_only
@several
def test_a_child_forked_inside_says_so() -> None:
    check(
        KEPT
        + """
def forks():
    limit(resource.RLIMIT_MEMLOCK, 0, 65536)
    pid = os.fork()
    limit(resource.RLIMIT_MEMLOCK, 65536)
    if pid == 0: os._exit(7 if len(told()) == 1 else 9)
    return os.waitpid(pid, 0)[1]
assert secalloc.shelter(forks) == 7 << 8
assert not told(), caught
"""
    )


@linux_only
@several
def test_a_child_outlives_the_warning_as_an_error() -> None:
    end = run(
        UNLOCKED
        + """
warnings.simplefilter("error")
assert child_of(lambda: os.write(1, b"lives")) == 0
"""
    )
    assert end.fate == (0, b""), end
    assert end.out == "lives", end
    assert end.err.count("ProtectionWarning") == 1, end


@linux_only
@several
def test_a_childs_warning_comes_after_the_locks_of_the_parents_threads() -> None:
    """A program's own code shows it, and may use what another thread was using at the fork."""
    check(
        "import secalloc._expiry\n"  # what it imports the other user may not find
        + UNLOCKED
        + """
begun, over = threading.Event(), threading.Event()
def holds():
    with secalloc._expiry._lock:
        begun.set(); over.wait()
shown = []
def shows(message, category, *args, **kwargs):
    if category is not ProtectionWarning: return  # such as 3.12's of a fork beside threads
    signal.alarm(30)  # a deadlock shows as SIGALRM
    Arena(1).expire(60)
    shown.append(message)
warnings.showwarning = shows
thread = threading.Thread(target=holds)
thread.start()
assert begun.wait(60)
end = child_of(lambda: os._exit(7 if shown else 9))
over.set()
thread.join()
assert end == 7, end
"""
    )


@linux_only
@roomy
def test_a_child_that_locked_its_copy_says_nothing() -> None:
    """The control."""
    check(
        KEPT.replace("65536", str(8 << 20))
        + """
def says_nothing():
    assert all(map(secalloc.is_sheltered, kept)) and not told(), caught
assert child_of(says_nothing) == 0
"""
    )


@linux_only
@several
def test_a_child_locks_what_its_parent_had_no_room_for() -> None:
    """The parent would have to lock the objects and their copy, the child the copy alone."""
    check(
        "secalloc.configure(secretmem=False)\n"
        + KEPT
        + """
def locked():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmLck:"))
    return int(line.split()[1]) << 10
assert locked() >= 300 * 20
limit(resource.RLIMIT_MEMLOCK, locked())
def locks():
    assert all(map(secalloc.is_sheltered, kept)) and not told(), caught
    assert locked() >= 300 * 20, locked()
assert child_of(locks) == 0
limit(resource.RLIMIT_MEMLOCK, 0)
assert child_of(lambda: os._exit(7 if len(told()) == 1 and not locked() else 9)) == 7
"""
    )


@linux_only
@several
def test_a_child_says_nothing_of_what_its_parent_has_said() -> None:
    check(
        UNLOCKED
        + """
Arena(1 << 20)
def said(): return [str(w.message) for w in caught if "LOCK" in str(w.message)]
assert len(said()) == 1, caught
assert child_of(lambda: os._exit(7 if len(said()) == 1 else 9)) == 7
"""
    )


@linux_only
def test_a_child_says_nothing_of_what_its_parent_has_to_say() -> None:
    """Which the parent has not come to, as the call failed. The child says it of its own."""
    check(
        """
caught = collect_warnings()
deny("memfd_secret", errno.EPERM)
raises(ZeroDivisionError, secalloc.shelter, of=lambda: 1 / 0)
def says_its_own():
    assert not caught, caught
    Arena(1), Arena(1)
    assert len(caught) == 1 and "SECRETMEM" in str(caught[0].message), caught
assert child_of(says_its_own) == 0
says_its_own()
assert child_of(lambda: Arena(1)) == 0 and len(caught) == 1, caught
"""
    )


@linux_only
def test_a_call_without_secretmem_says_so() -> None:
    """When the outermost has ended; where that is an error there is no result."""
    code = """
caught = collect_warnings()
deny("memfd_secret", errno.EPERM)
def nested():
    made = secalloc.shelter(os.urandom, 300)
    assert not caught, caught
    return made
"""
    check(
        code
        + """
made = secalloc.shelter(nested)
assert secalloc.is_sheltered(made)
assert [w.category for w in caught] == [ProtectionWarning], caught
assert "SECRETMEM" in str(caught[0].message) and caught[0].filename == "<string>", caught[0]
secalloc.shelter(os.urandom, 300), Arena(1)
assert len(caught) == 1, caught
"""
    )
    check(
        code
        + """
warnings.simplefilter("error")
raises(ProtectionWarning, lambda f: secalloc.shelter(f, 300), of=os.urandom)
assert len(secalloc.shelter(os.urandom, 300)) == 300
"""
    )


def test_fork_may_be_refused() -> None:
    code = """
import os, secalloc
@secalloc.sheltered(fork=False)
def keeps(): return os.urandom(100)
kept = keeps()
try: os.fork()
except RuntimeError as error: assert "sheltered" in str(error)
else: raise AssertionError
del kept
if os.fork() == 0: os._exit(0)
os.wait()
"""
    check(code)


LIMITS = range(16, 16 + TRIALS, 4) if TRIALS > 100 else [16, 20, 28, 40, 64, 100, 200, 400]
"""KiB: with SECALLOC_TRIALS=200 fifty of them, as make check-shelter has it."""

# ---- limits ----------------------------------------------------------------------------------


@linux_only
@pytest.mark.parametrize("limit", [pytest.param(n, marks=needs_lockable(n << 10)) for n in LIMITS])
def test_no_memory_is_an_error_inside(limit: int) -> None:
    """Never ordinary memory, and never a crash."""
    code = f"""
import resource, os
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
resource.setrlimit(resource.RLIMIT_MEMLOCK, ({limit} << 10, {limit} << 10))
import warnings; warnings.simplefilter("ignore")
import gc, secalloc
held = []
def fill(turn):
    while True: held.append(os.urandom(len(held) * 7**turn % (300 << 4 * turn) + 2))
for turn in range(3):
    try: secalloc.shelter(fill, turn)
    except (MemoryError, SystemError, secalloc.ProtectionError): pass
    else: raise AssertionError
    assert all(map(secalloc.is_sheltered, held))
    held.clear(); gc.collect()
"""
    check(code)


# ---- a crash -----------------------------------------------------------------------------------

CRASH = """
import os, secalloc, faulthandler, sys, threading, time
BEFORE
kept = secalloc.shelter(lambda: [os.urandom(200) for _ in range(50)])
def works():
    while True: sum(len(k) for k in kept)
for _ in range(2): threading.Thread(target=works, daemon=True).start()
time.sleep(0.05)
os.kill(os.getpid(), SIGNAL)
time.sleep(30)
"""


@pytest.mark.parametrize("before", ["", "faulthandler.enable()"])
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_the_exit_signal_stays_what_it_was(number: int, before: str) -> None:
    """Beside threads that work with objects which are overwritten meanwhile."""
    code = CRASH.replace("BEFORE", before).replace("SIGNAL", str(int(number)))
    for _ in range(3):
        dies(code, number)


HELD_IN_ITS_REPORT = """
import faulthandler, fcntl, os, secalloc, signal, sys
secalloc.configure(secretmem=False)
out, into = os.pipe()
fcntl.fcntl(into, fcntl.F_SETFL, os.O_NONBLOCK)
for size in (4096, 1):
    try:
        while True: os.write(into, b"x" * size)
    except BlockingIOError: pass
fcntl.fcntl(into, fcntl.F_SETFL, 0)
faulthandler.enable(into)
key = bytes(range(65, 81))[::-1]
kept = secalloc.shelter(lambda: [b"".join([key, b"%d" % n]) for n in range(200)] + [key * 500])
if FORKS and os.fork(): os._exit(os.waitpid(-1, 0)[1] & 127)
print(os.getpid(), flush=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGABRT)
"""


def copies(pid: int, of: bytes) -> int:
    """In what a process may write to."""
    found = 0
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            low, high = (int(end, 16) for end in line.split()[0].split("-"))
            if "rw" in line.split()[1]:
                memory.seek(low)
                found += memory.read(high - low).count(of)
    return found


@several
@linux_only
@pytest.mark.parametrize("forks", [False, True])
def test_blocks_are_zeros_while_faulthandler_reports(forks: bool) -> None:
    """Its pipe is full, so that it waits; a forked child's copies too, and its parent's stay."""
    command = [sys.executable, "-P", "-c", HELD_IN_ITS_REPORT.replace("FORKS", str(forks))]
    key = bytes(range(65, 81))[::-1]
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        try:
            if not os.access(f"/proc/{pid}/mem", os.R_OK):
                pytest.skip("may not look into another process")
            assert copies(pid, key) > 700, "the control"
            process.stdin.write(b"\n")
            process.stdin.flush()
            until = time.monotonic() + 20
            while copies(pid, key) > 5 and time.monotonic() < until:
                time.sleep(0.05)
            assert copies(pid, key) <= 5, "its own, and what a buffer holds"
            if forks:
                assert copies(process.pid, key) > 700
        finally:
            os.kill(pid, signal.SIGKILL)


@roomy
def test_lockdown_leaves_objects_alone() -> None:
    kept = shelter(lambda: [str(n) * 5 for n in range(1000)])
    secalloc.lockdown()
    assert kept == [str(n) * 5 for n in range(1000)]
    assert all(map(is_sheltered, kept))


@roomy
def test_what_faulthandler_calls_may_live_on() -> None:
    """A handler written in Python, below faulthandler's: the objects stay what they were."""
    code = """
import faulthandler, gc, os, secalloc, signal, sys
got = []
signal.signal(signal.SIGABRT, lambda number, frame: got.append(number))
faulthandler.enable(open(os.devnull, "w"))
kept = secalloc.shelter(lambda: [str(n) * 5 for n in range(1000)])
os.kill(os.getpid(), signal.SIGABRT)
assert got == [signal.SIGABRT]
assert kept == [str(n) * 5 for n in range(1000)]
gc.collect()
"""
    end = run(code)
    assert end.fate == (0, b"F"), end.err


# ---- stacks ------------------------------------------------------------------------------------


@linux_only
@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_STACK"])
def test_a_stack_that_may_not_grow(limit: str) -> None:
    """What lies below its end is left alone, from whatever depth of the stack the call comes."""
    code = f"""
import resource, secalloc, sys
sys.setrecursionlimit(10000)
secalloc.shelter(int)
which = resource.{limit}
soft, hard = resource.getrlimit(which)
size = {{"RLIMIT_AS": "VmSize:", "RLIMIT_STACK": "VmStk:"}}["{limit}"]
def is_now():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if size in line) << 10
def deeper(levels):
    if levels:
        return sorted([1], key=lambda _: deeper(levels - 1))
    resource.setrlimit(which, (is_now() + 16384, hard))  # for the caller
    secalloc.shelter(int)
    resource.setrlimit(which, (soft, hard))
for levels in range(0, 300, 10):
    deeper(levels)
"""
    check(code)


@roomy
@linux_only
def test_a_deep_stack_is_cleared_to_its_end() -> None:
    """What a call used of the first thread's stack; the control is the same, outside."""
    code = r"""
import secalloc, sys
sys.setrecursionlimit(20000)
def deeper(levels):
    return sorted([1], key=lambda _: deeper(levels - 1)) if levels else [1]
def used_at_its_end():
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", buffering=0) as memory:
        low, high = next(line.split()[0].split("-") for line in maps if "[stack]" in line)
        low, high = int(low, 16), int(high, 16)
        assert high - low > 200_000
        memory.seek(low)
        part = memory.read((high - low) // 2)
        return len(part) - part.count(0)
deeper(450)
assert used_at_its_end() > 10_000
secalloc.shelter(deeper, 450)
assert used_at_its_end() == 0
"""
    check(code)
