"""Where secrets go: a descriptor, a path. What others read there, and what is left of it."""

import gc
import os
import resource
import select
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from crash import PAGE, SECRET, content, secret
from support import LINUX, check, dies, linux_only

import secalloc
from secalloc import Arena, Protection, ProtectionError, SealedError, WipedError
from secalloc.outlets import PipeBlock

LARGE = 300_000
"""More than a pipe holds."""

WAYS = ["pipe", "path"] + (["file"] if LINUX else [])
READS = "import sys; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read())"


def descriptors() -> list[str]:
    gc.collect()
    return sorted(os.listdir("/dev/fd"))


def opened(way: str, arena: Arena | secalloc.ArenaView) -> "secalloc.outlets.PathBlock | PipeBlock":
    if way == "pipe":
        return secalloc.pipe(arena)
    return secalloc.as_path(arena, seekable=way == "file")


def descriptor(given: int | str) -> int:
    return given if isinstance(given, int) else int(given.rpartition("/")[2])


def read_all(fd: int) -> bytes:
    got = b""
    while part := os.read(fd, 1 << 20):
        got += part
    return got


def runs(code: str, *args: str, fds: tuple[int, ...] = (), **options: object) -> bytes:
    """What another Python writes to its standard output."""
    done = subprocess.run(  # type: ignore[call-overload]  # noqa: S603
        [sys.executable, "-I", "-S", "-c", code, *args],
        stdout=subprocess.PIPE,
        pass_fds=fds,
        timeout=300,
        check=True,
        **options,
    )
    out: bytes = done.stdout
    return out


# ---- what comes out --------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [0, 1, PAGE, PAGE + 1, LARGE])
def test_all_of_it_and_its_end(way: str, size: int) -> None:
    before = descriptors()
    with Arena(content(size)) as arena:
        block = opened(way, arena)
        assert block.unread is None
        with block as given:
            fd = descriptor(given)
            assert not os.get_inheritable(fd)
            assert read_all(fd) == content(size)
        assert block.unread == 0
        assert arena == content(size)
        assert not arena.sealed
    assert descriptors() == before


def test_a_path_and_its_descriptors() -> None:
    with secret() as arena, secalloc.as_path(arena) as path:
        assert path == f"/dev/fd/{path.fds[0]}"
        assert Path(path).read_bytes() == SECRET


@pytest.mark.parametrize("way", WAYS)
def test_of_a_view_and_of_a_pool(way: str) -> None:
    with secalloc.Pool() as pool, pool.alloc(SECRET) as arena:
        for part in (arena[3:40], arena[3:][:0], arena):
            with opened(way, part) as given:
                assert read_all(descriptor(given)) == bytes(part)


@linux_only
def test_a_file_is_read_again_from_anywhere() -> None:
    with secret() as arena, secalloc.as_path(arena, seekable=True) as path:
        file = os.stat(path)
        assert oct(file.st_mode) == "0o100400"  # a plain file, of its owner alone
        assert file.st_size == len(SECRET)
        with open(path, "rb") as one, open(path, "rb") as other:
            one.seek(50)
            assert (one.read(), other.read()) == (SECRET[50:], SECRET)
            with pytest.raises(OSError, match="descriptor"):
                os.write(path.fds[0], b"x")


# ---- who gets it -------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_no_program_has_it_but_the_one_that_it_is_passed_to(way: str) -> None:
    looks = "import os, sys\ntry: os.fstat(int(sys.argv[1]))\nexcept OSError: print('no')"
    with secret() as arena, opened(way, arena) as given:
        fd = descriptor(given)
        assert runs(looks, str(fd), close_fds=False) == b"no\n"
        assert runs(looks, str(fd), fds=(fd,)) == b""  # the control
        assert runs(READS, f"/dev/fd/{fd}", fds=(fd,)) == SECRET


def test_as_a_child_s_standard_input() -> None:
    for n in (len(SECRET), LARGE):
        block = secalloc.pipe(secret(n))
        with block as fd:
            assert runs(READS, "/dev/stdin", stdin=fd) == content(n)
        assert block.unread == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_function_before_exec_does_not_take_it_away(way: str) -> None:
    """Python tells of a fork there, too."""
    with secret() as arena, opened(way, arena) as given:
        fd = descriptor(given)
        assert runs(READS, f"/dev/fd/{fd}", fds=(fd,), preexec_fn=int) == SECRET


FORKS = """
import select
def is_open(fd):
    try: os.fstat(fd)
    except OSError: return False
    return True
block = secalloc.pipe(secret(300_000))
with secret(300_000) as a, block as fd, secalloc.as_path(a) as path:
    fds = [fd, *path.fds]
    if sys.platform == "linux":
        file = secalloc.as_path(a, seekable=True)
        fds += file.__enter__().fds
    before = sorted(os.listdir("/dev/fd"))
    child = {fork}
    if child == 0:
        try:
            assert [is_open(fd) for fd in fds] == [{kept}] * len(fds), fds
            own = secalloc.pipe(secret())
            with own as mine:
                assert os.read(mine, 1000) == SECRET
            block.__exit__(None, None, None)
            if {kept}: assert os.read(fds[1], 100) == secret(100)
            os._exit(0)
        except BaseException as error:
            print(error, flush=True)
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert sorted(os.listdir("/dev/fd")) == before
    assert os.read(fd, 1000) == secret(1000)
    if sys.platform == "linux": file.__exit__(None, None, None)
assert block.unread == 299_000
"""


def test_no_child_by_fork_has_it() -> None:
    check(FORKS.format(fork="os.fork()", kept="False"))


@linux_only
def test_a_raw_clone_has_it_which_is_a_stated_limit() -> None:
    check(FORKS.format(fork="raw_fork()", kept="True"))


@linux_only
def test_only_the_user_opens_the_file() -> None:
    with secret() as arena, secalloc.as_path(arena, seekable=True) as path:
        if os.geteuid() == 0:
            nobody = f"import os; os.setuid(65534); open({str(path)!r})"
            with pytest.raises(subprocess.CalledProcessError):
                runs(nobody, fds=path.fds, stderr=subprocess.DEVNULL)
        writes = f"open({str(path)!r}, 'r+b', 0).write(b'x')"  # root may open it so
        with pytest.raises(subprocess.CalledProcessError):
            runs(writes, fds=path.fds, stderr=subprocess.DEVNULL)
        runs(f"open({str(path)!r}, 'rb', 0).read()", fds=path.fds)  # the control


# ---- who does not read -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [len(SECRET), LARGE])
def test_what_nobody_read_is_read_back(size: int) -> None:
    with Arena(content(size)) as arena:
        block = secalloc.pipe(arena)
        with block as fd:
            assert os.read(fd, 7) == content(7)
            other = os.dup(fd)
        assert block.unread == size - 7
        assert select.select([other], [], [], 300)[0]
        assert os.read(other, 1) == b""
        os.close(other)


@pytest.mark.parametrize("size", [len(SECRET), LARGE])
def test_a_reader_that_lives_on_or_dies(size: int) -> None:
    """The block ends though a child holds the reader and never reads, or died after a part."""
    waits = "import sys; print('here', flush=True); sys.stdin.read()"
    part = "import os, sys; print(len(os.read(int(sys.argv[1]), 40)))"
    with Arena(content(size)) as arena:
        block = secalloc.pipe(arena)
        with block as fd:
            child = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", "-S", "-c", waits],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[fd],
            )
            assert child.stdout is not None
            assert child.stdout.readline() == b"here\n"
            assert runs(part, str(fd), fds=(fd,)) == b"40\n"
        assert block.unread == size - 40
        assert child.poll() is None
        child.communicate(b"")


def test_closed_by_the_program_itself() -> None:
    with secret() as arena:
        block = secalloc.pipe(arena)
        with block as fd:
            os.close(fd)
            other = os.open(os.devnull, os.O_RDONLY)
            os.dup2(other, fd)  # its number is another file's
        assert block.unread == len(SECRET)
        os.fstat(fd)
        os.close(fd)
        if other != fd:
            os.close(other)


def test_a_child_without_the_descriptor_is_refused_the_path() -> None:
    with secret() as arena, secalloc.as_path(arena) as path:
        with pytest.raises(subprocess.CalledProcessError):
            runs(READS, path, stderr=subprocess.DEVNULL)
        assert os.read(path.fds[0], 1000) == SECRET


# ---- what is given -----------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_a_sealed_arena_is_opened_for_as_long_as_it_takes(way: str) -> None:
    for size in (len(SECRET), LARGE):
        with Arena(content(size)) as arena:
            arena.seal()
            with opened(way, arena) as given:
                assert arena.sealed == (way == "file" or size < LARGE)
                assert read_all(descriptor(given)) == content(size)
            assert arena.sealed


@pytest.mark.parametrize("way", WAYS)
def test_what_cannot_be_read_leaves_nothing_open(way: str) -> None:
    before = descriptors(), secalloc.status().arenas
    with secalloc.Pool() as pool, secret() as arena:
        inside = pool.alloc(SECRET)
        pool.seal()
        with pytest.raises(SealedError), opened(way, inside):
            pass
        with arena.open("r") as view:
            pass
        with pytest.raises(SealedError), opened(way, view):
            pass
        arena.clear()
        with pytest.raises(WipedError), opened(way, arena):
            pass
        with arena.open("w") as view, pytest.raises(WipedError), opened(way, view):
            pass
        arena.close()
        with pytest.raises(ValueError, match="closed"), opened(way, arena):
            pass
    for bad in (SECRET, bytearray(SECRET), memoryview(secret()), "text", None, 5):
        with pytest.raises(TypeError, match="an Arena or ArenaView is needed"):
            opened(way, bad)  # type: ignore[arg-type]
    gc.collect()
    assert (descriptors(), secalloc.status().arenas) == before


@pytest.mark.parametrize("way", WAYS)
def test_a_block_is_entered_once(way: str) -> None:
    block = opened(way, secret())
    with block, pytest.raises(ValueError, match="entered once"):
        block.__enter__()
    with pytest.raises(ValueError, match="entered once"):
        block.__enter__()
    opened(way, secret())  # never


@pytest.mark.parametrize("way", WAYS)
def test_dropped_without_an_end(way: str) -> None:
    before = descriptors(), secalloc.status().arenas
    for size in (len(SECRET), LARGE):
        opened(way, secret(size)).__enter__()
    gc.collect()
    assert (descriptors(), secalloc.status().arenas) == before


@linux_only
def test_no_descriptor_is_to_be_had() -> None:
    check("""
        arenas = secalloc.status().arenas
        kept = secret()
        for seekable in (None, False, True):
            for more in range(6):
                top = os.dup(0); os.close(top)
                resource.setrlimit(resource.RLIMIT_NOFILE, (top + more, 4096))
                try:
                    way = secalloc.pipe(kept) if seekable is None else (
                        secalloc.as_path(kept, seekable=seekable))
                    with way: pass
                except OSError as error: assert error.errno == errno.EMFILE, error
                else: assert more > 1
                resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
                again = os.dup(0); os.close(again)
                assert again == top, (more, again, top)
        assert secalloc.status().arenas == arenas + 1
    """)


def test_no_thread_is_to_be_had() -> None:
    if not LINUX or os.geteuid() != 0:
        pytest.skip("takes another user's last process, for which it must be root")
    check("""
        top = os.dup(0); os.close(top)
        kept = secret(300_000)
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        os.setgroups([]); os.setgid(54321); os.setuid(54321)  # who has no other process
        try:
            with secalloc.pipe(kept): pass
        except OSError as error: assert "pthread_create" in str(error), error
        else: raise AssertionError("there was a thread")
        again = os.dup(0); os.close(again)
        assert again == top
        kept.seal()  # nothing is open any more
    """)


# ---- wipes -------------------------------------------------------------------------------------


def test_wiped_while_it_was_fed() -> None:
    """Who reads gets an end all the same, and the block says what happened."""
    with secret(LARGE) as arena:
        block = secalloc.pipe(arena)
        fd = block.__enter__()
        assert secalloc.lockdown() >= 1
        assert len(read_all(fd)) < LARGE
        with pytest.raises(WipedError, match="while it was being given out"):
            block.__exit__(None, None, None)
        arena[:] = content(LARGE)
        block = secalloc.pipe(arena)
        block.__enter__()
        arena.clear()
        block.__exit__(KeyError, KeyError(), None)  # never instead of another


@linux_only
def test_a_lockdown_overwrites_a_file() -> None:
    for size in (len(SECRET), LARGE):
        with secret(size) as arena:
            block = secalloc.as_path(arena, seekable=True)
            with open(block.__enter__(), "rb") as file:
                assert secalloc.lockdown() >= 2
                got = file.read()
                assert len(got) == size
                assert content(16) not in got
            with pytest.raises(WipedError, match="wiped"):
                block.__exit__(None, None, None)


@linux_only
def test_a_file_is_overwritten_at_the_end_whoever_has_it() -> None:
    with secret() as arena:
        with secalloc.as_path(arena, seekable=True) as path:
            other = os.dup(path.fds[0])
            assert os.pread(other, 1000, 0) == SECRET
        left = os.pread(other, 1000, 0)
        os.close(other)
        assert len(left) == len(SECRET)
        assert content(8) not in left


@linux_only
def test_a_file_is_never_secretmem() -> None:
    before = secalloc.require(Protection.SECRETMEM)
    try:
        arena = secret()
    except ProtectionError:
        secalloc.require(before)
        pytest.skip("there is no secretmem here")
    try:
        open_before = descriptors()
        with pytest.raises(ProtectionError, match="SECRETMEM is required"):
            secalloc.as_path(arena, seekable=True).__enter__()
        with secalloc.pipe(arena) as fd:
            assert os.read(fd, 1000) == SECRET
        assert descriptors() == open_before
    finally:
        secalloc.require(before)


@linux_only
def test_a_file_without_its_lock() -> None:
    """It works, and it is told once; where LOCK is required there is none."""
    check("""
        collected = collect_warnings()
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
        if os.geteuid() == 0: become_nobody()
        kept = secret()
        with secalloc.as_path(kept, seekable=True) as path, open(path, "rb") as file:
            assert file.read() == SECRET
        assert any("LOCK" in str(each.message) for each in collected), collected
        secalloc.require(Protection.LOCK)
        try:
            with secalloc.as_path(kept, seekable=True): pass
        except secalloc.ProtectionError as error: assert "LOCK" in str(error), error
        else: raise AssertionError("it was locked")
    """)


@pytest.mark.skipif(LINUX, reason="Linux has such files")
def test_macos_has_no_file_in_memory() -> None:
    with pytest.raises(NotImplementedError, match="macOS"):
        secalloc.as_path(secret(), seekable=True)


# ---- beside others -----------------------------------------------------------------------------


def test_many_at_once() -> None:
    """Each of several threads, of one arena."""
    before = descriptors()
    arena = secret(LARGE)
    wrong: list[object] = []

    def reads() -> None:
        try:
            for way in WAYS:
                with opened(way, arena) as given:
                    if read_all(descriptor(given)) != content(LARGE):
                        wrong.append(way)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=reads) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert not wrong
    arena.rotate()  # nothing holds it
    assert descriptors() == before


def test_who_else_uses_the_arena_meanwhile() -> None:
    with secret(LARGE) as arena, secalloc.pipe(arena) as fd:
        with pytest.raises(BufferError):
            arena.seal()
        with pytest.raises(SealedError):
            arena[0] = 1
        assert read_all(fd) == content(LARGE)


def test_the_limits_of_this_process_are_as_before() -> None:
    """The block of a file is within RLIMIT_FSIZE, whose signal nobody gets."""
    if not LINUX:
        pytest.skip("has no files in memory")
    check("""
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        try:
            with secalloc.as_path(secret(1001), seekable=True): pass
        except OSError as error: assert error.errno == errno.EFBIG, error
        else: raise AssertionError
        with secalloc.as_path(secret(1000), seekable=True): pass
    """)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY


# ---- a crash -----------------------------------------------------------------------------------


@linux_only
def test_a_crash_wipes_a_file_and_leaves_what_is_in_a_pipe() -> None:
    """As another process finds them that got both before. The pipe is a stated limit."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        dies(
            f"""
            import socket
            kept = secret()
            with secalloc.pipe(kept) as fd, secalloc.as_path(kept, seekable=True) as path:
                assert os.pread(path.fds[0], 1000, 0) == SECRET
                with socket.socket(fileno={theirs.fileno()}) as to:
                    socket.send_fds(to, [b"x"], [fd, *path.fds])
                fault('segv')
            """,
            11,
            pass_fds=[theirs.fileno()],
        )
        _, fds, _, _ = socket.recv_fds(ours, 1, 2)
    assert os.read(fds[0], 1000) == SECRET
    left = os.pread(fds[1], 1000, 0)
    assert len(left) == len(SECRET)
    assert not any(SECRET[i : i + 8] in left for i in range(len(SECRET) - 8))
    for fd in fds:
        os.close(fd)
