"""Files that hold secrets: reading one into an arena, and writing one. Neither leaves a copy."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EBUSY, EEXIST, EFAULT, EINVAL, EISDIR, ELOOP, ENOTSUP, EPERM
from operator import index
from os import PathLike

from secalloc._core import Arena, ArenaView, _read_by_page, concat
from secalloc._kind import Kind
from secalloc._values import Protection

_PAGE, _MOST = os.sysconf("SC_PAGESIZE"), 1 << 20  # bytes asked for at a time
_LF, _CR = b"\n"[0], b"\r"[0]

Path = str | bytes | PathLike[str] | PathLike[bytes]


# ---- reading -------------------------------------------------------------------------------


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


def _line_end(parts: list[ArenaView]) -> int:
    """Bytes of the line end at the end of all parts: LF, CR LF, or none."""
    last: list[int] = []
    for part in reversed(parts):
        last.extend(part[-1 - i] for i in range(min(len(part), 2 - len(last))))
    if last[:1] != [_LF]:
        return 0
    return 2 if last[1:] == [_CR] else 1


def _line_end_ahead(fd: int, left: int, kind: Kind) -> int:
    """The same of a regular file, by a look at its end; 0 too where that cannot be had."""
    count = min(left, 2)
    end = os.lseek(fd, 0, os.SEEK_CUR) + left
    with kind.arena(count) as tail:
        try:
            with tail.open("w") as view:
                if os.preadv(fd, [view], end - count) < count:
                    return 0
        except OSError:  # past the cache, in whole blocks alone: it is read and cut afterwards
            return 0
        return _line_end([tail[:]])


class _Reading:
    """What has been read so far, in parts that are closed at the end."""

    def __init__(self, fd: int, kind: Kind) -> None:
        self._fd, self._kind = fd, kind
        self._arenas: list[Arena] = []
        self.parts: list[ArenaView] = []

    @property
    def total(self) -> int:
        return sum(map(len, self.parts))

    def more(self, size: int) -> bool:
        """Read another part of up to that size; whether it was as much."""
        arena = self._kind.arena(size)
        self._arenas.append(arena)
        got = _fill(arena, self._fd)
        if not got:
            arena.close()
        if 0 < got < size and self.parts:  # what is not filled shall not be kept beside the rest
            self._arenas.append(self._kind.arena(arena[:got]))
            arena.close()
            arena = self._arenas[-1]
        if got:
            self.parts.append(arena[:got])
        return got == size

    def drop(self, count: int) -> None:
        """Leave the last bytes off."""
        while count:
            last = self.parts.pop()
            if len(last) > count:
                self.parts.append(last[: len(last) - count])
            count -= min(count, len(last))

    def whole(self) -> Arena:
        """All of it in one arena, which is the caller's."""
        if len(self.parts) == 1 and len(self.parts[0]) == len(self.parts[0].arena):
            arena = self.parts[0].arena
            self._arenas.remove(arena)
            return arena
        return concat(*self.parts, require=self._kind.require, name=self._kind.name)

    def close(self) -> None:
        for arena in self._arenas:
            arena.close()


def _read_all(fd: int, strip: bool, max_size: int | None, kind: Kind) -> Arena:
    """To the end. A file that tells its size needs no more than that, others are put together."""
    told = _left(fd)
    ahead = _line_end_ahead(fd, told, kind) if told and strip else 0
    most = None if max_size is None else max_size + 2 * strip
    if most is not None and (told - ahead > most or (ahead and told - ahead > most - 2)):
        raise ValueError(f"the content is larger than {max_size} bytes")
    reading = _Reading(fd, kind)
    try:
        size = told - ahead or _PAGE
        while True:
            if most is not None:
                size = min(size, most + 1 - reading.total)
            if not reading.more(size) or (told and not ahead and not _left(fd)):
                break
            if most is not None and reading.total > most:
                break
            size, ahead = (3, 0) if ahead else (_next(reading.total), 0)
        if strip:
            reading.drop(_line_end(reading.parts))
        if max_size is not None and reading.total > max_size:
            raise ValueError(f"the content is larger than {max_size} bytes")
        return reading.whole()
    finally:
        reading.close()


def _read_some(fd: int, size: int, strip: bool, kind: Kind) -> Arena:
    """Exactly so many bytes, and with `strip` without the line end that they end with."""
    arena = _read_exactly(fd, size, kind)
    count = _line_end([arena[:]]) if strip else 0
    if not count:
        return arena
    with arena:
        return kind.arena(arena[: size - count])


def _read(fd: int, size: int | None, strip: bool, max_size: int | None, kind: Kind) -> Arena:
    if size is None:
        return _read_all(fd, strip, max_size, kind)
    return _read_some(fd, size, strip, kind)


def _count_of(number: int | None, what: str) -> int | None:
    if number is None:
        return None
    if isinstance(number, bool):
        raise TypeError(f"{what} is an int, not a bool")
    number = index(number)  # Arena() would take a buffer for what is to be copied
    if number < 0:
        raise ValueError(f"{what} is not negative")
    return number


def read(  # noqa: PLR0913
    path_or_fd: Path | int,
    size: int | None = None,
    *,
    strip: bool = False,
    max_size: int | None = None,
    require: Protection | None = None,
    name: str | None = None,
) -> Arena:
    """A new Arena with the bytes of a file, pipe or socket, to its end or exactly size.

    It is unbuffered: the kernel writes straight into arenas. If it cannot (O_DIRECT, FUSE with
    direct I/O), it writes into a locked page that is wiped afterwards. A regular file, or a
    read with a size, takes no more locked memory than the content. Anything else takes up to
    twice as much for a moment; with max_size, never more than twice that. A path is opened and
    closed again. A descriptor is read from its position and left open. strip drops one line end
    at the end, LF or CR LF, as editors and echo write it. require and name are as for Arena().

    Raises what opening and reading raise (FileNotFoundError, IsADirectoryError,
    BlockingIOError), EOFError if there is less than size, ValueError if there is more than
    max_size, or size or max_size is negative, TypeError for anything else. A named pipe that
    nobody writes to is waited for, as by open().
    """
    size, max_size = _count_of(size, "size"), _count_of(max_size, "max_size")
    if size is not None and max_size is not None and size > max_size + 2 * strip:
        raise ValueError(f"the content is larger than {max_size} bytes")
    kind = Kind(require, name)
    if isinstance(path_or_fd, bool):
        raise TypeError("a descriptor is an int, not a bool")
    if isinstance(path_or_fd, int):
        return _read(path_or_fd, size, strip, max_size, kind)
    fd = os.open(path_or_fd, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _read(fd, size, strip, max_size, kind)
    finally:
        os.close(fd)


def read_regular(path: str, max_size: int, *, strip: bool, kind: Kind) -> Arena:
    """The content of what must be a regular file. FileNotFoundError, IsADirectoryError;
    ValueError: another kind of file, which is not waited for, or one that is empty or
    too large."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    fd = os.open(path, flags)
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(EISDIR, "a directory is no secret", path)
        if not stat.S_ISREG(mode):
            raise ValueError("it is not a regular file")
        arena = _read_all(fd, strip, max_size, kind)
        if len(arena) == 0:
            arena.close()
            raise ValueError("it is empty")
    except ValueError as error:
        raise ValueError(f"{path!r}: {error}") from None
    finally:
        os.close(fd)
    return arena


# ---- writing -------------------------------------------------------------------------------


@contextmanager
def _bytes_of(data: object) -> Iterator[memoryview]:
    """The content, which stays one: WipedError at the end where a wipe overtook it."""
    if isinstance(data, str):
        raise TypeError(
            "a bytes-like object is needed, not a str: secalloc.encode() makes an arena"
        )
    view = memoryview(data)  # type: ignore[arg-type]
    try:
        if not isinstance(data, Arena | ArenaView):
            with view.cast("B") as flat:
                yield flat
            return
        arena = data if isinstance(data, Arena) else data.arena
        with arena.open("r"):
            try:
                yield view
            finally:
                view.release()
    finally:
        view.release()


def _target_of(path: Path) -> tuple[str | bytes, bool]:
    """Where the file is to be, symbolic links followed, and whether one is there."""
    target = os.path.realpath(os.fspath(path))
    try:
        mode = os.lstat(target).st_mode
    except FileNotFoundError:
        return target, False
    if stat.S_ISLNK(mode):
        raise OSError(ELOOP, os.strerror(ELOOP), path)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(EISDIR, os.strerror(EISDIR), path)
    if not stat.S_ISREG(mode):
        raise ValueError(f"{os.fsdecode(target)!r} is not a regular file")
    return target, True


def _beside(target: str | bytes) -> tuple[str, str]:
    """The folder that it lies in, and a path there that is nobody's."""
    folder = os.path.dirname(os.fsdecode(target))
    return folder, os.path.join(folder, f".secalloc-{os.urandom(8).hex()}")


def _put(fd: int, content: memoryview, mode: int) -> None:
    done = 0
    while done < len(content):
        with content[done:] as rest:
            done += os.write(fd, rest)
    os.fchmod(fd, mode)
    os.fsync(fd)


def _sync_folder(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # a file system that does not do that: the file itself is synced
            os.fsync(fd)
    finally:
        os.close(fd)


def _move(aside: str, target: str | bytes, exclusive: bool) -> None:
    if not exclusive:
        try:
            os.rename(aside, target)
        except OSError as error:
            if error.errno != EBUSY:
                raise
            raise OSError(
                EBUSY,
                "it is a mount point, as a bind-mounted file in a container is, and cannot be "
                "replaced; mount its folder instead, or write elsewhere",
                target,
            ) from None
        return
    try:
        os.link(aside, target)
    except OSError as error:
        if error.errno not in (EPERM, ENOTSUP):
            raise
        # A file system without hard links: the name is taken first, and what takes it is replaced.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            os.rename(aside, target)
        except BaseException:
            os.unlink(target)
            raise
    else:
        os.unlink(aside)


def write(path: Path, data: object, *, mode: int = 0o600, exclusive: bool = False) -> None:
    """Write a secret to a file, whole: the bytes of an arena, a view or any bytes-like object.

    It writes, unbuffered, to a new file in the same folder, syncs that, and then renames it
    over the path. A reader of the path finds the old or the new content. After an error the old
    file is there, and nothing else. A symbolic link is followed first. The file has exactly
    that mode, whatever the umask, and this process's owner. With exclusive, an existing file
    raises FileExistsError.

    Raises what opening, writing and renaming raise (FileNotFoundError: no such folder;
    IsADirectoryError, PermissionError, ENOSPC); OSError with EBUSY: a mount point, as a
    bind-mounted file is, which cannot be replaced; ValueError: it is there and no regular file,
    or the mode is none; TypeError: a str, or no buffer. WipedError: a wipe overtook the content.
    What the file system keeps of an old file is not overwritten.
    """
    if isinstance(mode, bool):
        raise TypeError("a mode is an int, not a bool")
    mode = index(mode)
    if not 0 <= mode <= 0o7777:  # noqa: PLR2004
        raise ValueError("a mode is an int of up to 0o7777")
    target, there = _target_of(path)
    if there and exclusive:
        raise FileExistsError(EEXIST, os.strerror(EEXIST), path)
    folder, aside = _beside(target)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(aside, flags, 0o600)
    try:
        try:
            with _bytes_of(data) as content:
                _put(fd, content, mode)
        finally:
            os.close(fd)
        _move(aside, target, exclusive)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(aside)
        raise
    _sync_folder(folder)
