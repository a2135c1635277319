"""An ordinary user's limits, old kernels, containers: what is missing is said once."""

import os
import pathlib
import shutil
import subprocess
import sys
from typing import Any

import pytest
from crash import PAGE
from support import check, dies, linux_only, needs_lockable, run

from secalloc import read

pytestmark = linux_only

ORDINARY = """
caught = collect_warnings()
secalloc.read, secalloc.Pool # imported now: another user may not find them, nor what they import
become_nobody()
def told():  # but that there is no secretmem at all: the first arena tells that, at any limit
    lacks = "secrets are held without SECRETMEM: memfd_secret: "
    return [w for w in caught if not str(w.message).startswith(lacks)]
def one_warning():
    assert [w.category for w in told()] == [ProtectionWarning], caught
    return str(told()[0].message)
"""


def test_memlock_0() -> None:
    dies(
        ORDINARY
        + """
limit(resource.RLIMIT_MEMLOCK, 0)
arenas = [secret(n) for n in (1, 500, 5000, 200_000)]
assert all(missing(a) == Protection.LOCK | Protection.SECRETMEM for a in arenas), arenas
assert all(bytes(a) == raw(a) for a in arenas)
assert secalloc.status().locked_bytes == secalloc.status().lock_limit == 0
arenas[1].rotate(); arenas[3].rotate()
assert all(bytes(a) == raw(a) == bytes(secret(a.size)) for a in arenas)
message = one_warning()
assert "LOCK" in message and "SECRETMEM" in message and "ulimit" in message, message
fault("segv")
""",
        11,
    )


def test_the_lock_limit_is_raised_and_handed_on() -> None:
    """A stated effect on other programs; importing alone has none."""
    check("""
        import subprocess
        become_nobody()
        hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
        if not 0 <= hard <= 2**20:
            hard = 2**20
        limit(resource.RLIMIT_MEMLOCK, hard // 2, hard)
        def soft(before=""):
            command = ["sh", "-c", f"{before} ulimit -Sl"]
            return int(subprocess.run(command, capture_output=True, check=True).stdout) * 1024
        if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] // 1024 * 1024 != soft():
            sys.exit()  # a shell that counts otherwise
        a = Arena(1)
        assert resource.getrlimit(resource.RLIMIT_MEMLOCK) == (hard, hard)
        assert soft() == hard // 1024 * 1024
        low = hard // 2048
        assert soft(f"ulimit -Sl {low};") == low * 1024
    """)


@pytest.mark.parametrize(
    "kib", [pytest.param(n, marks=needs_lockable(n << 10)) for n in (16, 64, 100, 8192)]
)
def test_as_many_as_fit_are_locked(kib: int) -> None:
    """The rest works all the same, and one warning of each protection says so."""
    check(
        ORDINARY
        + f"""
limit(resource.RLIMIT_MEMLOCK, {kib} * 1024)
fit = {kib} * 1024 // PAGE
arenas = [secret(100 + n) for n in range(fit + 40)]
status = secalloc.status()
assert status.lock_limit == {kib} * 1024
locked = [Protection.LOCK in a.protection for a in arenas]
room = fit
if status.secretmem_shared and Protection.SECRETMEM in arenas[0].protection:
    room = min(2 * fit, len(arenas))  # the user's secretmem, and what the process may lock
assert locked == [True] * room + [False] * (len(arenas) - room), sum(locked)
assert status.locked_bytes == room * PAGE
assert locked_kib() * 1024 <= {kib} * 1024
expected = [ProtectionWarning] * (1 + (fit < room < len(arenas)))  # of secretmem, then of locks
assert all(bytes(a) == raw(a) == bytes(secret(a.size)) for a in arenas)
assert [w.category for w in told()] == expected, caught
for a in arenas: a.close()
again = [secret(100) for _ in range(fit)]
assert all(Protection.LOCK in a.protection for a in again), "the budget came back"
assert [w.category for w in told()] == expected, caught
"""
    )


def test_the_warning_names_the_errno_the_limit_and_what_mends_it() -> None:
    message = check(
        ORDINARY
        + """
limit(resource.RLIMIT_MEMLOCK, 65536)
large = secret(2**20)
print(one_warning())
"""
    )
    assert "LOCK" in message
    assert "ENOMEM" in message or "EAGAIN" in message or "annot allocate" in message
    assert "65536" in message or "64 KiB" in message, message
    assert "ulimit -l" in message


@needs_lockable(16 * PAGE)
def test_parked_pages_are_given_back_for_another_size() -> None:
    check(
        ORDINARY
        + """
limit(resource.RLIMIT_MEMLOCK, 16 * PAGE)
small = [secret(100) for _ in range(16)]
assert all(Protection.LOCK in a.protection for a in small)
for a in small: a.close()
one = secret(16 * PAGE)
assert Protection.LOCK in one.protection and not told()
one.close()
several = secret(4 * PAGE), secret(8 * PAGE), secret(20), secret(20)
assert all(Protection.LOCK in a.protection for a in several) and not told()
"""
    )


@needs_lockable(16 * PAGE)
def test_a_file_takes_no_more_locked_memory_than_it_has() -> None:
    """And a stream, whose length is not known, at most twice as much."""
    check(
        ORDINARY
        + """
import tempfile, threading
limit(resource.RLIMIT_MEMLOCK, 16 * PAGE)
file = tempfile.TemporaryFile(buffering=0)
def written(n):
    content = os.urandom(n)
    file.truncate(0)
    file.seek(0)
    file.write(content)
    file.seek(0)
    return content
def read(*size):
    file.seek(0)
    return secalloc.read(file.fileno(), *size)
if Protection.LOCK not in Arena(1).protection:
    sys.exit()
for pages in (5, 10, 16):
    for less in (0, 1, PAGE - 1):
        n = pages * PAGE - less
        content = written(n)
        for size in (), (n,):
            a = read(*size)
            assert Protection.LOCK in a.protection and a == content, (n, a, caught)
            a.close()
for n in (1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE, 7 * PAGE + 5, 8 * PAGE):
    r, w = os.pipe()
    content = os.urandom(n)
    feeder = threading.Thread(target=lambda: (os.writev(w, [content]), os.close(w)))
    feeder.start()
    a = secalloc.read(r)
    feeder.join()
    os.close(r)
    assert Protection.LOCK in a.protection and a == content, (n, a, caught)
    a.close()
assert not told(), told()[0].message
""",
    )


def test_a_file_that_grows_or_shrinks_while_it_is_read(tmp_path: pathlib.Path) -> None:
    """Its end counts, not what it said."""
    path = tmp_path / "file"
    content = os.urandom(300_000)
    path.write_bytes(content)
    sources: Any = sys.modules["secalloc._file"].__dict__
    for said in (1, 4095, 4096, 299_999, 300_001, 10**6):
        answers = iter([said])
        real = sources["_left"]
        try:
            sources["_left"] = lambda fd, a=answers, real=real: next(a, None) or real(fd)
            assert bytes(read(path)) == content, said
        finally:
            sources["_left"] = real


def test_the_warning_points_at_who_called() -> None:
    """Not at a line of the library, which does not show by default, and helps nobody."""
    for call in ("Arena(1)", "secalloc.read(zero, 100)", "Pool().alloc(1)"):
        check(
            ORDINARY
            + f"""
from secalloc import Pool
limit(resource.RLIMIT_MEMLOCK, 0)
zero = os.open("/dev/zero", os.O_RDONLY)
{call}
one_warning()
assert caught[0].filename == sys._getframe().f_code.co_filename, caught[0].filename
"""
        )


@needs_lockable(16 * PAGE)
@pytest.mark.parametrize("required", [False, True])
def test_a_pool_that_met_the_limit_has_locks_again(required: bool) -> None:
    """It keeps no page that fell short, and refuses no longer than the limit does."""
    check(
        ORDINARY
        + f"""
from secalloc import Pool
limit(resource.RLIMIT_MEMLOCK, 16 * PAGE)
held = [Arena(1)]
if Protection.LOCK not in held[0].protection:
    sys.exit()
while Protection.LOCK in held[-1].protection:
    held.append(Arena(1))
pool = Pool()
if {required}:
    secalloc.require(Protection.LOCK)
    for _ in range(3):
        try: pool.alloc(b"x")
        except secalloc.ProtectionError: pass
        else: raise AssertionError("nothing can be locked")
else:
    short = [pool.alloc(b"x") for _ in range(200)]
    assert not any(Protection.LOCK in a.protection for a in short)
    for a in short[1:]: a.close()
held.clear()
whole = [pool.alloc(b"x") for _ in range(200)]
assert all(Protection.LOCK in a.protection for a in whole)
if not {required}:
    assert Protection.LOCK not in short[0].protection  # the one that stayed
    short[0].rotate()
    short.clear()
for a in whole: a.close()
assert Protection.LOCK in pool.alloc(b"x").protection
"""
    )


def test_large_arena_past_the_lock_limit() -> None:
    dies(
        ORDINARY
        + """
limit(resource.RLIMIT_MEMLOCK, 65536)
first = secret()
large = secret(2**20)
assert Protection.LOCK not in large.protection and bytes(large) == raw(large)
assert Protection.LOCK in first.protection and bytes(first) == SECRET
one_warning()
fault("segv")
""",
        11,
    )


@needs_lockable(1 << 20)
def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    check(
        ORDINARY
        + """
limit(resource.RLIMIT_MEMLOCK, 0, 2**20)
arenas = [secret() for _ in range(30)]
assert not any(missing(a) & Protection.LOCK for a in arenas) and not told()
assert secalloc.status().lock_limit == 2**20
"""
    )


@needs_lockable(1 << 19)
@pytest.mark.parametrize("call", ["rotate()", "replace(bytes(100))"])
def test_secretmem_refused_to_an_arena_that_moves(call: str) -> None:
    dies(
        f"""
        caught = collect_warnings()
        deny("memfd_secret", errno.EPERM)
        secalloc.configure(secretmem=False)
        arena = Arena(100, name="mine")
        secalloc.configure(secretmem=True)
        assert not caught, caught
        arena.{call}
        assert [w.category for w in caught] == [ProtectionWarning], caught
        assert "SECRETMEM" in str(caught[0].message), caught[0].message
        assert "'mine'" in str(caught[0].message), caught[0].message
        arena.rotate()
        secret(5)
        assert len(caught) == 1, caught
        fault("segv")
        """,
        11,
    )


@pytest.mark.parametrize("error", ["EPERM", "ENOSYS"])
def test_secretmem_refused(error: str) -> None:
    """By a container's filter, or by a kernel that does not know it."""
    dies(
        f"""
        caught = collect_warnings()
        deny("memfd_secret", errno.{error})
        assert syscall("memfd_secret", 0) == -1 and ctypes.get_errno() == errno.{error}
        before = sorted(os.listdir("/proc/self/fd"))
        arenas = [secret(n) for n in (1, 500, 5000, 200_000)]
        assert all(missing(a) == Protection.SECRETMEM for a in arenas), arenas
        for a in arenas: a.rotate()
        assert all(bytes(a) == raw(a) == bytes(secret(a.size)) for a in arenas)
        assert sorted(os.listdir("/proc/self/fd")) == before
        assert secalloc.status().backend == "anonymous"
        assert [w.category for w in caught] == [ProtectionWarning], caught
        message = str(caught[0].message)
        assert "SECRETMEM" in message and "memfd_secret" in message, message
        assert "{error}" in message or os.strerror(errno.{error}) in message, message
        fault("segv")
        """,
        11,
    )


@pytest.mark.parametrize("before", ["pass", "secalloc.harden()"])
@pytest.mark.parametrize(
    ("end", "code"), [("a.close()", 0), ("secalloc.lockdown()", 0), ("fault('segv')", -11)]
)
def test_a_sparse_unlocked_arena_stays_sparse(before: str, end: str, code: int) -> None:
    """The wipe brings in none of what was never touched: it would take the whole 512 MiB."""
    text = check(
        f"""
        limit(resource.RLIMIT_MEMLOCK, 0); become_nobody(); warnings.simplefilter("ignore")
        if {before!r} != "pass":
            {before}
            with open("/proc/swaps") as swaps: swap = len(swaps.readlines()) > 1
        pid = os.fork()
        if pid == 0:
            secalloc.set_lockdown_fd(None)
            try: a = Arena(2**29)
            except MemoryError: os._exit(77)
            a[2**28] = 1
            assert not a.protection & Protection.LOCK
            {end}
            os._exit(0)
        _, status, used = os.wait4(pid, 0)
        if os.waitstatus_to_exitcode(status) == 77:
            print("less"); sys.exit()
        assert os.waitstatus_to_exitcode(status) == {code}, status
        kib = used.ru_maxrss
        print("skip" if {before!r} != "pass" and swap else kib)
        """
    )
    if text == "less":
        pytest.skip("512 MiB are more than this machine promises anybody")
    if text == "skip":
        pytest.skip("with swap, and not dumpable, nobody can tell what was touched")
    assert int(text) < 2**18, text


def test_with_everything_there_is_no_warning() -> None:
    """The control for all of the above."""
    text = check("caught = collect_warnings(); a = secret(); print(bool(missing(a)), len(caught))")
    if text == "True 1":
        pytest.skip("this machine does not have every protection even for this user")
    assert text == "False 0"


@needs_lockable(1 << 19)
def test_descriptors_exhausted() -> None:
    dies(
        """
        caught = collect_warnings()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        held = []
        try:
            while True: held.append(os.dup(1))
        except OSError as error:
            assert error.errno == errno.EMFILE
        arenas = [secret(n) for n in (1, 500, 5000, 20_000, 50_000, 200_000)]
        assert all(bytes(a) == raw(a) for a in arenas)
        assert all(missing(a) in (Protection.SECRETMEM, Protection(0)) for a in arenas), arenas
        assert [w.category for w in caught] == [ProtectionWarning], caught
        os.kill(os.getpid(), 11)
        time.sleep(30)
        """,
        11,
    )


@pytest.mark.parametrize("mib", [256, 64, 8])
def test_small_address_space(mib: int) -> None:
    dies(
        f"""
        room = {mib} * 2**20
        used = address_space()
        limit(resource.RLIMIT_AS, used + room)
        arenas = [secret(n) for n in (1, 500, 5000, 200_000)]
        assert all(bytes(a) == raw(a) for a in arenas)
        assert address_space() - used <= room * 3 // 4, "most is to be left to the program"
        more = bytearray(room // 8)
        fault("segv")
        """,
        11,
    )


def test_no_address_space_at_all() -> None:
    check("""
        spare = [bytes(100) for _ in range(1000)]  # room on the heap for what follows
        del spare
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (address_space(), hard))
        failed = 0
        for size in (1, 5000, 200_000, 2**30):
            try:
                Arena(size)
            except MemoryError:
                failed += 1
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        assert failed == 4, failed
        assert secalloc.status().arenas == 0 and our_maps() == 0
        a = secret()
        assert bytes(a) == SECRET
    """)


def test_address_space_ends_later() -> None:
    check("""
        a = secret()
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (address_space() + 2**20, hard))
        kept = []
        try:
            while len(kept) < 100_000: kept.append(secret(200_000))
        except MemoryError:
            pass
        else:
            raise AssertionError("the limit was never reached")
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        assert bytes(a) == raw(a) == SECRET
        assert all(bytes(k) == raw(k) == bytes(kept[0]) for k in kept)
        assert bytes(secret(60_000)) == bytes(secret(60_000))
    """)


@pytest.mark.parametrize("size", ["1", "17 * PAGE"])
def test_beyond_the_map_count(size: str) -> None:
    """MemoryError with a hint, everything intact, and maps left for the program."""
    end = run(f"""
        with open("/proc/sys/vm/max_map_count") as f: most = int(f.read())
        if most > 200_000:
            print("skip", most)
            sys.exit()
        warnings.simplefilter("ignore")
        size = {size}
        first = secret()
        arenas = []
        try:
            while len(arenas) <= most: arenas.append(Arena(size))
        except MemoryError as error:
            message = str(error)
        else:
            raise AssertionError(len(arenas))
        assert "map" in message, message
        assert size > 1 or len(arenas) > most // 4, len(arenas)
        assert bytes(first) == raw(first) == SECRET and raw(arenas[-1])[:1] == bytes(1)
        on_thread(print, "a thread")
        mmap.mmap(-1, 2**20).close()
        for a in arenas[::2]: a.close()
        b = secret(); assert bytes(b) == SECRET
        fault("segv")
    """)
    if end.out.startswith("skip"):
        pytest.skip(f"vm.max_map_count is too high to be reached: {end.out.split()[1]}")
    assert (end.fate, end.out) == ((-11, b"F"), "a thread\n"), end


@pytest.mark.parametrize(
    ("number", "cause"), [(11, "fault('segv')"), (15, "os.kill(os.getpid(), 15); time.sleep(30)")]
)
def test_pending_signals_exhausted(number: int, cause: str) -> None:
    """Handing over does not depend on RLIMIT_SIGPENDING, which is 11."""
    dies(ORDINARY + f"limit(11, 0)\na = secret()\n{cause}", number)


def test_data_limit_reached() -> None:
    dies(
        """
        a, large = secret(), secret(200_000)
        limit(resource.RLIMIT_DATA, 0)
        fault("segv")
        """,
        11,
    )


@pytest.mark.parametrize("flags", [2, 3], ids=["future", "current and future"])
def test_mlockall(flags: int) -> None:
    """The reservation must not be locked, nor starve the program."""
    text = check(f"""
        if ctypes.CDLL(None).mlockall({flags}) != 0:
            print("refused")
            sys.exit()
        try:
            mmap.mmap(-1, 2**30, flags=mmap.MAP_PRIVATE, prot=0).close()
        except OSError:
            print("no room")  # even for what is never touched: the lock limit is the program's
            sys.exit()
        before = locked_kib()
        a, b = secret(), secret(200_000)
        assert bytes(a) == raw(a) and bytes(b) == raw(b)
        assert locked_kib() - before < 65536, (before, locked_kib())
    """)
    if text == "refused":
        pytest.skip("mlockall is not allowed here")
    if text == "no room":
        pytest.skip("under this limit a program that locks all to come may map no more")


@pytest.mark.parametrize("size", [96, 200_000])
def test_a_file_size_limit_does_not_kill(size: int) -> None:
    """Secretmem is a file, but sizing it must not raise SIGXFSZ in the program."""
    check(f"""
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        limit(resource.RLIMIT_FSIZE, 100)
        a = secret({size})
        assert bytes(a) == raw(a)
    """)


def test_mlockall_by_the_host_after_first_use() -> None:
    """The reserved address space counts as locked then, but takes no memory."""
    end = run("""
        arenas = [secret(n) for n in (1, 96, 5000, 200_000)]
        def resident():
            with open("/proc/self/statm") as f: return int(f.read().split()[1]) * PAGE
        before = resident()
        if ctypes.CDLL(None).mlockall(1) != 0:
            print("refused")
            sys.exit()
        assert resident() - before < 2**28, (before, resident())
        arenas += [secret(n) for n in (1, 96, 5000, 60_000, 200_000)]
        arenas[1].rotate()
        arenas.pop(0).close()
        assert all(bytes(a) == raw(a) == bytes(secret(a.size)) for a in arenas)
        fault("segv")
    """)
    if end.out.strip() == "refused":
        pytest.skip("mlockall is not allowed here")
    assert end.fate == (-11, b"F"), end


def test_data_limit_reached_before_first_use() -> None:
    """Clean errors or none, and the program goes on."""
    dies(
        """
        spare = [bytes(100) for _ in range(1000)]  # room on the heap for what follows
        del spare
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (0, hard))
        made = []
        for size in (1, 5000, 200_000):
            try:
                made.append(secret(size))
            except (MemoryError, OSError):
                pass
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
        assert all(bytes(a) == raw(a) == bytes(secret(a.size)) for a in made)
        made.append(secret())
        fault("segv")
        """,
        11,
    )


PROC = {
    "nothing there": "mount -t tmpfs none /proc",
    "not readable": "mount -t tmpfs none /proc && chmod 0 /proc",
    "not writable": "mount -o remount,bind,ro /proc",
}


@pytest.mark.parametrize("user", ["root", "nobody"])
@pytest.mark.parametrize("proc", PROC)
def test_without_proc(proc: str, user: str) -> None:
    """In a mount namespace of its own; the marker's ways that need it give way to others."""
    tool = shutil.which("unshare")
    if tool is None:
        pytest.skip("there is no unshare command to make a mount namespace with")
    if user == "nobody" and os.getuid() != 0:
        pytest.skip("the namespace that an ordinary user makes has no second user")
    namespace = [tool, *([] if os.getuid() == 0 else ["--user", "--map-root-user"]), "--mount"]
    probe = [*namespace, "sh", "-c", PROC[proc]]
    if subprocess.run(probe, capture_output=True, check=False).returncode:  # noqa: S603
        pytest.skip("mount namespaces are not allowed here")
    before = "become_nobody()" if user == "nobody" else "pass"
    for target in ("pipe", "terminal", "full pipe"):
        end = run(
            f"""
            import pty
            {before}
            warnings.simplefilter("ignore")
            assert {proc != "not writable"} == (not os.path.exists("/proc/self/maps"))
            target = secalloc.status().lockdown_fd
            if {target!r} == "terminal":
                target = pty.openpty()[1]
            if {target!r} == "full pipe":
                target = os.pipe()[1]
                os.set_blocking(target, False)
                try:
                    while True: os.write(target, b"-")
                except BlockingIOError: pass
                os.set_blocking(target, True)
            secalloc.set_lockdown_fd(target)
            arenas = [secret(n) for n in (1, 96, 5000, 200_000)]
            arenas[1].rotate()
            assert all(bytes(a) == raw(a) == bytes(secret(a.size)) for a in arenas)
            assert secalloc.status().arenas == 4
            fault("segv")
            """,
            wrapper=[*namespace, "sh", "-c", f'{PROC[proc]} && exec "$@"', "sh"],
        )
        assert end.fate == (-11, b"F" if target == "pipe" else b""), (target, end)
