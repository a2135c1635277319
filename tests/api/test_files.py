"""Secrets in files: read with a limit and without a line end, found by name, written whole."""

import errno
import gc
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support import check, linux_only, needs_lockable

import secalloc
from secalloc import Arena
from secalloc.sources import LARGEST

PAGE = os.sysconf("SC_PAGESIZE")


def descriptors() -> list[str]:
    return sorted(os.listdir("/dev/fd"))


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    gc.collect()  # what a test before this one left
    arenas, before = secalloc.status()[:2], descriptors()
    yield
    assert descriptors() == before
    assert secalloc.status()[:2] == arenas


# ---- read(strip=, max_size=) -------------------------------------------------------------


def through_a_pipe(data: bytes, **how: Any) -> bytes:
    reader, writer = os.pipe()

    def feed() -> None:
        with open(writer, "wb", buffering=0) as file:
            at = 0
            try:
                while at < len(data):
                    at += file.write(data[at : at + 1000])
            except BrokenPipeError:
                pass

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        with secalloc.read(reader, **how) as arena:
            return arena.reveal()
    finally:
        os.close(reader)
        thread.join()


ENDS = (b"", b"\n", b"\r\n", b"\r", b"\n\n", b"\n\r\n", b"\r\r\n", b" \n")


@pytest.mark.parametrize(
    "size", [0, 1, 2, 30, PAGE - 2, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE + 5, 40_000]
)
@pytest.mark.parametrize("end", ENDS)
def test_strip(size: int, end: bytes, tmp_path: Path) -> None:
    data = os.urandom(size).replace(b"\n", b"x").replace(b"\r", b"y") + end
    expected = data[:-2] if data.endswith(b"\r\n") else data.removesuffix(b"\n")
    path = tmp_path / "key"
    path.write_bytes(data)
    ways: list[dict[str, Any]] = [{}, {"max_size": len(expected)}, {"size": len(data)}]
    for how in ways:
        with secalloc.read(path, strip=True, **how) as arena:
            assert arena == expected
        assert through_a_pipe(data, strip=True, **how) == expected
    with secalloc.read(path) as arena:
        assert arena == data
    fd = os.open(path, os.O_RDONLY)
    try:
        with secalloc.read(fd, strip=True):
            assert os.lseek(fd, 0, os.SEEK_CUR) == len(data)
    finally:
        os.close(fd)


@pytest.mark.parametrize("size", [1, 2, 3, PAGE, PAGE + 1, 40_000])
@pytest.mark.parametrize("strip", [False, True])
def test_more_than_is_allowed(size: int, strip: bool, tmp_path: Path) -> None:
    data = b"k" * size + b"\r\n" * strip
    path = tmp_path / "key"
    path.write_bytes(data)
    how: dict[str, Any] = {"strip": strip, "max_size": size - 1}
    for call in (
        lambda: secalloc.read(path, **how),
        lambda: secalloc.read(path, len(data), **how),
        lambda: through_a_pipe(data, **how),
        lambda: through_a_pipe(data + bytes(300_000), **how),
    ):
        with pytest.raises(ValueError, match=rf"larger than {size - 1} bytes"):
            call()
    assert through_a_pipe(data, strip=strip, max_size=size) == b"k" * size


def test_an_endless_stream_is_given_up() -> None:
    with pytest.raises(ValueError, match="larger than 100000 bytes"):
        secalloc.read("/dev/zero", max_size=100_000)


def test_bad_limits(tmp_path: Path) -> None:
    read: Any = secalloc.read
    with pytest.raises(ValueError, match="max_size is not negative"):
        read(tmp_path, max_size=-1)
    for bad in (True, 1.5, "x", b"x"):
        with pytest.raises(TypeError):
            read(tmp_path, max_size=bad)


@linux_only
def test_a_file_that_grows_or_shrinks_while_it_is_read() -> None:
    """What /proc gives is of another size than it says, as a file that is written just now."""
    assert secalloc.read("/proc/self/status", strip=True).find(b"VmLck") > 0
    check("""
        import tempfile, threading
        with tempfile.NamedTemporaryFile() as file:
            done = threading.Event()
            def write():
                while not done.is_set():
                    os.ftruncate(file.fileno(), 10)
                    os.pwrite(file.fileno(), b"k" * 9000 + b"\\n", 0)
            thread = threading.Thread(target=write)
            thread.start()
            for _ in range(200):
                for strip in (False, True):
                    with secalloc.read(file.name, strip=strip) as arena:
                        assert len(arena) < 20_000
            done.set(); thread.join()
    """)


@linux_only
@needs_lockable(1 << 20)
def test_no_more_locked_memory_than_the_content() -> None:
    """At a limit of two pages more than it needs: the library's, and for the look at the end."""
    out = check("""
        import resource, tempfile
        secalloc.read  # imported while all files are in reach
        pages = 100
        secalloc.configure(secretmem=False)
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"k" * (pages * mmap.PAGESIZE - 1) + b"\\n"); file.flush()
            limit = secalloc.status().locked_bytes + (pages + 2) * mmap.PAGESIZE
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
            root = os.getuid() == 0
            os.setresuid(12345, 12345, 0) if root else None
            lock = secalloc.Protection.LOCK
            fd = file.fileno()
            for how in ({}, {"strip": True}, {"max_size": pages * mmap.PAGESIZE}):
                os.lseek(fd, 0, os.SEEK_SET)
                with secalloc.read(fd, require=lock, **how) as arena: print(len(arena) % 4096)
            os.lseek(fd, 0, os.SEEK_SET)
            try: secalloc.concat(secalloc.read(fd, require=lock), b"", require=lock)
            except (secalloc.ProtectionError, MemoryError): print("twice is too much")
            os.setresuid(0, 0, 0) if root else None  # the file is root's
    """)
    assert out.split("\n") == ["0", "4095", "0", "twice is too much"]


# ---- credential --------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where systemd puts them."""
    made = tmp_path / "credentials"
    made.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(made))
    monkeypatch.delenv("SECALLOC_CREDENTIALS", raising=False)
    return made


def test_a_credential(folder: Path) -> None:
    (folder / "db").write_bytes(b"pass word\r\n")
    with secalloc.credential("db", name="database") as arena:
        assert arena == b"pass word"
        assert arena.name == "database"
    with secalloc.credential("db", strip=False) as arena:
        assert arena == b"pass word\r\n"
    (folder / "db").unlink()
    (folder / "elsewhere").write_bytes(b"linked")
    (folder / "db").symlink_to(folder / "elsewhere")  # as Kubernetes has them
    with secalloc.credential("db") as arena:
        assert arena == b"linked"


def test_the_order_of_places(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [folder, tmp_path / "docker", tmp_path / "one", tmp_path / "two"]
    for place in places[1:]:
        place.mkdir()
    monkeypatch.setenv("SECALLOC_CREDENTIALS", f"{places[2]}:{tmp_path / 'none'}:{places[3]}:")
    monkeypatch.setattr("secalloc.sources.MOUNTED", str(places[1]))
    for place in places:
        (place / "db").write_text(place.name)
    for place in places:
        with secalloc.credential("db") as arena:
            assert arena == place.name.encode()
        (place / "db").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        secalloc.credential("db")
    told = str(caught.value)
    at = [told.index(str(place / "db")) for place in places]
    assert at == sorted(at)
    assert caught.value.errno == errno.ENOENT
    assert secalloc.credential("db", required=False) is None


def test_where_no_variable_is_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(FileNotFoundError, match=r"/run/secrets/db.*systemd sets, is not set"):
        secalloc.credential("db")


@pytest.mark.parametrize("bad", ["", ".", "..", "a/b", "/etc/passwd", "../x", "a\0b", "/"])
def test_names_that_are_none(bad: str, folder: Path) -> None:
    for required in (True, False):
        with pytest.raises(ValueError, match="a credential's name"):
            secalloc.credential(bad, required=required)


@pytest.mark.parametrize("bad", [None, 5, b"db", Path("db")])
def test_names_of_another_type(bad: Any, folder: Path) -> None:
    with pytest.raises(TypeError, match="a credential's name"):
        secalloc.credential(bad)


def test_credentials_that_are_none(folder: Path) -> None:
    (folder / "empty").touch()
    (folder / "line").write_bytes(b"\n")
    (folder / "large").write_bytes(bytes(LARGEST + 1))
    (folder / "largest").write_bytes(b"k" * LARGEST + b"\n")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as listener:
        where = os.getcwd()
        os.chdir(folder)
        listener.bind("socket")
        os.chdir(where)
        for name, error, text in (
            ("empty", ValueError, "it is empty"),
            ("line", ValueError, "it is empty"),
            ("large", ValueError, "larger than 1048576 bytes"),
            ("folder", IsADirectoryError, "directory"),
            ("fifo", ValueError, "not a regular file"),
            ("dangling", FileNotFoundError, "no such credential"),
            ("loop", OSError, "symbolic links"),
            ("socket", OSError, "socket"),
        ):
            with pytest.raises(error, match=text) as caught:
                secalloc.credential(name)
            assert name in str(caught.value)
            if error is not FileNotFoundError:  # it is there, and of no use
                with pytest.raises(error):
                    secalloc.credential(name, required=False)
    with secalloc.credential("largest") as arena:
        assert len(arena) == LARGEST
    with pytest.raises(ValueError, match="larger than 5 bytes"):
        secalloc.credential("largest", max_size=5)


@linux_only
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of other privileges")
def test_the_environment_of_raised_privileges(folder: Path) -> None:
    """AT_SECURE, which an exec sets where the real and the effective user differ."""
    (folder / "db").write_bytes(b"planted")
    code = (
        "import secalloc\n"
        "try: print(bytes(secalloc.credential('db')))\n"
        "except FileNotFoundError as error: print(error)\n"
    )
    env = {**os.environ, "SECALLOC_CREDENTIALS": str(folder)}
    told = []
    for user in (0, 12345):
        end = subprocess.run(  # noqa: S603
            [sys.executable, "-P", "-W", "ignore", "-c", code],
            env=env,
            cwd="/",
            preexec_fn=partial(os.setreuid, user, 0),
            capture_output=True,
            text=True,
            check=False,
        )
        told.append(end.stdout)
    assert told[0] == "b'planted'\n"
    assert "/run/secrets/db" in told[1]
    assert "raised privileges" in told[1]
    assert str(folder) not in told[1]


@linux_only
def test_a_fifo_that_nobody_writes(tmp_path: Path) -> None:
    """read() waits for it, as open() does, and a signal's exception gets out of that."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
        with pytest.raises(TimeoutError):
            secalloc.read(fifo)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# ---- write -------------------------------------------------------------------------------


def alone(path: Path) -> bool:
    """Whether nothing lies beside it."""
    return os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("size", [0, 1, 100, 5000, 300_000])
def test_write(size: int, tmp_path: Path) -> None:
    path = tmp_path / "key"
    data = os.urandom(size)
    with Arena(data) as arena, Arena(b"#" + data) as around:
        for source in (arena, around[1:], data, bytearray(data), memoryview(data)):
            for where in (path, str(path), os.fsencode(path)):
                secalloc.write(where, source)
                assert path.read_bytes() == data
                assert alone(path)
            path.unlink()
        arena.rotate()
        around.rotate()


def test_the_mode_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    before = os.umask(0o077)
    try:
        for mode in (0o600, 0o644, 0o400, 0o640):
            secalloc.write(path, b"x", mode=mode)
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(before)
    secalloc.write(path, b"x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_exclusive(tmp_path: Path) -> None:
    path = tmp_path / "key"
    secalloc.write(path, b"first", exclusive=True)
    with pytest.raises(FileExistsError):
        secalloc.write(path, b"second", exclusive=True)
    assert path.read_bytes() == b"first"
    assert alone(path)


def test_exclusive_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refused)
    path = tmp_path / "key"
    secalloc.write(path, b"first", exclusive=True)
    assert path.read_bytes() == b"first"
    monkeypatch.setattr("secalloc._file._target_of", lambda path: (os.fspath(path), False))
    with pytest.raises(FileExistsError):  # who came first in the meantime
        secalloc.write(path, b"second", exclusive=True)
    assert path.read_bytes() == b"first"
    assert alone(path)


def test_symbolic_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there/key")
    for data in (b"new", b"newer"):
        secalloc.write(tmp_path / "link", data)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "there" / "key").read_bytes() == data
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links") as caught:
        secalloc.write(tmp_path / "loop", b"x")
    assert caught.value.errno == errno.ELOOP


def fails_to(name: str, error: OSError) -> Callable[..., None]:
    def refused(*_: object, **__: object) -> None:
        raise error

    return refused


@pytest.mark.parametrize(
    ("call", "number"),
    [
        ("write", errno.ENOSPC),
        ("fchmod", errno.EPERM),
        ("fsync", errno.EIO),
        ("rename", errno.EBUSY),
        ("rename", errno.EACCES),
    ],
)
def test_the_old_file_stays(
    call: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"old")
    told = "mount point" if number == errno.EBUSY else os.strerror(number)
    with monkeypatch.context() as patched, Arena(b"new") as arena:
        patched.setattr(os, call, fails_to(call, OSError(number, os.strerror(number))))
        with pytest.raises(OSError, match=told) as caught:
            secalloc.write(path, arena)
        assert caught.value.errno == number
        arena.rotate()  # nothing holds its buffer
    assert path.read_bytes() == b"old"
    assert alone(path)


@linux_only
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_file_that_is_mounted(tmp_path: Path) -> None:
    """As containers have single files."""
    outer, inner = tmp_path / "outer", tmp_path / "inner"
    outer.write_bytes(b"old")
    inner.touch()
    script = f'mount --bind {outer} {inner} && exec {sys.executable} -P -c "$1"'
    code = (
        "import secalloc\n"
        f"try: secalloc.write({str(inner)!r}, b'new')\n"
        "except OSError as error: print(error.errno, error.strerror)\n"
    )
    end = subprocess.run(  # noqa: S603
        ["unshare", "-m", "sh", "-c", script, "sh", code],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    if "mount" in end.stderr or "unshare" in end.stderr:
        pytest.skip(f"nothing can be mounted here: {end.stderr}")
    assert end.stdout.startswith(f"{errno.EBUSY} it is a mount point"), end.stderr
    assert outer.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["inner", "outer"]


def test_what_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"old")
    os.mkfifo(tmp_path / "fifo")
    write: Any = secalloc.write
    wiped, closed, sealed = Arena(3), Arena(3), Arena(3)
    wiped.clear()
    closed.close()
    sealed.seal()
    for args, how, error in (
        ((tmp_path, b"x"), {}, IsADirectoryError),
        ((tmp_path / "none" / "key", b"x"), {}, FileNotFoundError),
        ((path / "below", b"x"), {}, NotADirectoryError),
        ((tmp_path / "fifo", b"x"), {}, ValueError),
        (("a\0b", b"x"), {}, ValueError),
        ((5, b"x"), {}, TypeError),
        ((path, "text"), {}, TypeError),
        ((path, None), {}, TypeError),
        ((path, 5), {}, TypeError),
        ((path, memoryview(b"xyz")[::2]), {}, TypeError),
        ((path, b"x"), {"mode": True}, TypeError),
        ((path, b"x"), {"mode": -1}, ValueError),
        ((path, b"x"), {"mode": 0o10000}, ValueError),
        ((path, wiped), {}, secalloc.WipedError),
        ((path, closed), {}, secalloc.ClosedError),
        ((path, sealed), {}, secalloc.SealedError),
    ):
        with pytest.raises(error):
            write(*args, **how)
    assert path.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["fifo", "key"]
    wiped.close()
    sealed.close()


def test_a_wipe_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"old")
    arena, plain = Arena(b"new"), os.write

    def late(fd: int, data: Any) -> int:
        arena.clear()
        return plain(fd, data)

    monkeypatch.setattr(os, "write", late)
    with arena, pytest.raises(secalloc.WipedError):
        secalloc.write(path, arena)
    assert path.read_bytes() == b"old"
    assert alone(path)


@linux_only
def test_residue(tmp_path: Path) -> None:
    """None of reading, finding and writing, for what comes from a file that the kernel made."""
    key = tmp_path / "key"
    with key.open("wb") as file:
        subprocess.run(["head", "-c", "500", "/dev/urandom"], stdout=file, check=True)  # noqa: S607
    with key.open("ab") as file:
        file.write(b"\n")
    out = check(
        f"""
        from secalloc import residue
        os.chdir({str(tmp_path)!r})
        def shown(): return len(arena.reveal() + arena.strip().reveal())
        with secalloc.credential("key") as arena:
            for _ in range(3):
                secalloc.read("key", strip=True).close()
                secalloc.read("key", 501, strip=True).close()
                secalloc.read("key", max_size=600).close()
                secalloc.write("copy", arena); secalloc.write("copy", arena[5:], mode=0o640)
                try: secalloc.shelter(shown)
                except NotImplementedError: pass
                try: secalloc.read("key", max_size=400)
                except ValueError: pass
            print(residue.find(arena))
            kept = open("key", "rb").read()
            print(len(residue.find(arena)) > 0)
        """,
        env={"CREDENTIALS_DIRECTORY": str(tmp_path)},
    )
    assert out.split("\n") == ["[]", "True"]
