"""Where secrets come from: the environment, a file. Neither leaves a copy behind."""

import os
import stat
from _thread import RLock
from errno import EFAULT, EINVAL
from operator import index
from os import PathLike

from secalloc._core import Arena, _environ_copy, _environ_wipe, _read_by_page, _scrub, concat
from secalloc._kind import Kind
from secalloc._values import Protection

_PAGE, _MOST = os.sysconf("SC_PAGESIZE"), 1 << 20  # bytes asked for at a time


def _fill(arena: Arena, fd: int) -> int:
    """Read until the arena is full or the file at its end; how many bytes came."""
    got = 0
    with arena.open("w") as view:
        while got < len(view):
            try:
                n = os.readv(fd, [view[got:]])
            except OSError as error:
                # O_DIRECT, or FUSE with direct I/O: the kernel cannot pin secretmem, and some
                # files give whole blocks alone.
                if error.errno not in (EFAULT, EINVAL):
                    raise
                n = _read_by_page(fd, view[got:])
            if n == 0:
                break
            got += n
    return got


def _read_exactly(fd: int, size: int, kind: Kind) -> Arena:
    arena = kind.arena(size)
    try:
        got = _fill(arena, fd)
        if got < size:
            raise EOFError(f"the file has {got} bytes left, not {size}")
    except BaseException:
        arena.close()
        raise
    return arena


def _left(fd: int) -> int:
    """Bytes that a file says are left; 0: it does not say."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        return 0
    return max(status.st_size - os.lseek(fd, 0, os.SEEK_CUR), 0)


def _next(total: int) -> int:
    """How much to ask for after so much: little enough to need twice the content at most.

    In pages, a power of two of them: as small arenas take them.
    """
    pages = min(total // 8, _MOST) // _PAGE
    return _PAGE << max(pages.bit_length() - 1, 0)


def _read_all(fd: int, kind: Kind) -> Arena:
    """To the end. A file that tells its size needs no more than that, others are put together."""
    told = _left(fd)
    size, total = told or _PAGE, 0
    parts: list[Arena] = []
    try:
        while True:
            parts.append(kind.arena(size))
            got = _fill(parts[-1], fd)
            total += got
            if got < size:
                if got or len(parts) == 1:  # else there is nothing in it to keep
                    parts.insert(-1, kind.arena(parts[-1][:got]))
                parts.pop().close()
                break
            if told and not _left(fd):
                break
            size = _next(total)
        return (
            parts.pop() if len(parts) == 1 else concat(*parts, require=kind.require, name=kind.name)
        )
    finally:
        for part in parts:
            part.close()


def _read(fd: int, size: int | None, kind: Kind) -> Arena:
    return _read_all(fd, kind) if size is None else _read_exactly(fd, size, kind)


def read(
    path_or_fd: "str | bytes | PathLike[str] | PathLike[bytes] | int",
    size: int | None = None,
    *,
    require: Protection | None = None,
    name: str | None = None,
) -> Arena:
    """A new Arena with the bytes of a file, pipe or socket, to its end or exactly size.

    Unbuffered: the kernel writes straight into arenas, or where it cannot (O_DIRECT, FUSE with
    direct I/O) into a locked page that is wiped after. With a size, or of a regular file, it
    takes no more locked memory than the content, else up to twice as much for a moment. A
    path is opened and closed again; a descriptor is read from where it stands and left open.
    require and name are as for Arena().
    Raises what opening and reading raise (FileNotFoundError, IsADirectoryError,
    BlockingIOError), EOFError if there is less than size, ValueError if size is negative,
    TypeError for anything else.
    """
    if size is not None:
        if isinstance(size, bool):
            raise TypeError("size is an int, not a bool")
        size = index(size)  # Arena() would take a buffer for what is to be copied
        if size < 0:
            raise ValueError("size is not negative")
    kind = Kind(require, name)
    if isinstance(path_or_fd, bool):
        raise TypeError("a descriptor is an int, not a bool")
    if isinstance(path_or_fd, int):
        return _read(path_or_fd, size, kind)
    fd = os.open(path_or_fd, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _read(fd, size, kind)
    finally:
        os.close(fd)


# A thread would read half of what another overwrites. The lock can be taken again, as a warning
# runs code that may come here, too.
_consuming = RLock()
os.register_at_fork(after_in_child=_consuming._at_fork_reinit)  # type: ignore[attr-defined]


def getenv(
    variable: "str | bytes",
    /,
    *,
    consume: bool = True,
    require: Protection | None = None,
    name: str | None = None,
) -> Arena | None:
    """Take a variable out of the environment: a new Arena with its value, and it is gone.

    Copied from the C environment. Its bytes there are overwritten, in each entry of that name,
    and so are those that the kernel shows in the process's environ file, where the variable was
    set anew or removed before, too; as is the copy that os.environ kept, unless the program
    holds a reference to it or it is of length 1 or less; and the name is removed from
    os.environ. With consume=False all is left as it is. None: there is no such variable.
    Copies that the program made by os.environ[variable] are its own, and those of values that it
    had set before the C library's. ValueError: the variable's name is empty, or has '=' or NUL
    in it. require and name are as for Arena(). As os.environ.pop.
    """
    if not isinstance(variable, str | bytes):
        raise TypeError(f"a variable's name is a str or bytes, not {type(variable).__name__}")
    key = os.fsencode(variable)
    if not key or b"=" in key or b"\0" in key:
        raise ValueError("a variable's name is not empty, and has no '=' and no NUL")
    with _consuming:
        value = _environ_copy(key, require=require, name=name)
        if consume:
            _environ_wipe(key)
        if value is not None and consume:
            if key in os.environb:
                _scrub(os.environb, key)  # removes it from the C environment, too
            else:
                os.unsetenv(key)
    return value
