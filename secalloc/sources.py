"""Where secrets come from: a person, the environment, a file. None leaves a copy behind."""

import errno
import os
import stat
import sys
import warnings
from _thread import RLock
from collections.abc import Callable
from getpass import GetPassWarning
from operator import index
from os import PathLike

from secalloc._core import (
    Arena,
    _echo_back,
    _echo_off,
    _environ_copy,
    _environ_wipe,
    _scrub,
    concat,
    encode,
)

_LEAST, _MOST = 4096, 1 << 20  # bytes that are asked of a file at a time


def _fill(arena: Arena, fd: int) -> int:
    """Read until the arena is full or the file at its end; how many bytes came."""
    got = 0
    with arena.open("w") as view:
        while got < len(view):
            n = os.readv(fd, [view[got:]])
            if n == 0:
                break
            got += n
    return got


def _read_exactly(fd: int, size: int) -> Arena:
    arena = Arena(size)
    try:
        got = _fill(arena, fd)
        if got < size:
            raise EOFError(f"the file has {got} bytes left, not {size}")
    except BaseException:
        arena.close()
        raise
    return arena


def _read_all(fd: int) -> Arena:
    """To the end, in arenas that grow; a file that tells its size needs one and a probe."""
    status = os.fstat(fd)
    size = _LEAST
    if stat.S_ISREG(status.st_mode):
        size = max(status.st_size - os.lseek(fd, 0, os.SEEK_CUR), 0)
    parts: list[Arena] = []
    try:
        while True:
            parts.append(Arena(size))
            got = _fill(parts[-1], fd)
            if got < size:
                whole = concat(*parts[:-1], parts[-1][:got])
                break
            size = min(max(2 * size, _LEAST), _MOST)
    finally:
        for part in parts:
            part.close()
    return whole


def _read(fd: int, size: int | None) -> Arena:
    return _read_all(fd) if size is None else _read_exactly(fd, size)


def read(
    path_or_fd: "str | bytes | PathLike[str] | PathLike[bytes] | int", size: int | None = None
) -> Arena:
    """A new Arena with the bytes of a file, pipe or socket, to its end or exactly size.

    Unbuffered: the kernel writes straight into arenas. A path is opened and closed again; a
    descriptor is read from where it stands and left open. Raises what opening and reading
    raise (FileNotFoundError, IsADirectoryError, BlockingIOError), EOFError if there is less
    than size, ValueError if size is negative, TypeError for anything else.
    """
    if size is not None:
        if isinstance(size, bool):
            raise TypeError("size is an int, not a bool")
        size = index(size)  # Arena() would take a buffer for what is to be copied
        if size < 0:
            raise ValueError("size is not negative")
    if isinstance(path_or_fd, bool):
        raise TypeError("a descriptor is an int, not a bool")
    if isinstance(path_or_fd, int):
        return _read(path_or_fd, size)
    fd = os.open(path_or_fd, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _read(fd, size)
    finally:
        os.close(fd)


# What one thread overwrites another would half read. The same thread comes again from code
# that a warning runs.
_consuming = RLock()
os.register_at_fork(after_in_child=_consuming._at_fork_reinit)  # type: ignore[attr-defined]


def getenv(name: "str | bytes", *, consume: bool = True) -> Arena | None:
    """Take a variable out of the environment: a new Arena with its value, and it is gone.

    Copied from the C environment. Its bytes there, which the kernel shows in the process's
    environ file, are overwritten, as is the copy that os.environ kept, unless the program
    holds a reference to it or it is of length 1 or less; and the name is removed from
    os.environ. With consume=False all is left as it is. None: there is no such variable.
    Copies that the program made by os.environ[name] are its own. ValueError: the name is
    empty, or has '=' or NUL in it. As os.environ.pop.
    """
    if not isinstance(name, str | bytes):
        raise TypeError(f"a name is a str or bytes, not {type(name).__name__}")
    key = os.fsencode(name)
    if not key or b"=" in key or b"\0" in key:
        raise ValueError("a name is not empty, and has no '=' and no NUL")
    with _consuming:
        value = _environ_copy(key)
        if value is not None and consume:
            _environ_wipe(key)
            if key in os.environb:
                _scrub(os.environb, key)  # removes it from the C environment, too
            else:
                os.unsetenv(key)
    return value


# ---- the terminal ---------------------------------------------------------------------

FD_SETSIZE = 1024  # select() knows descriptors below that; poll() no terminal on macOS


def _await(fd: int) -> None:
    """Until there is something to read. A signal that comes right before the wait, after the
    interpreter's last look for signals, interrupts nothing: so the wait is done in pieces."""
    import select  # noqa: PLC0415 - only for who reads a line

    while fd < FD_SETSIZE and not select.select([fd], [], [], 0.1)[0]:
        pass


class _Line:
    """A line that is being typed, in an arena that grows."""

    def __init__(self) -> None:
        self.arena = Arena(128)
        self.size = 0

    def take(self, fd: int) -> int | None:
        """The next byte, which is kept until the next one; None: the end."""
        if self.size == len(self.arena):
            larger = Arena(2 * self.size)
            larger[: self.size] = self.arena
            self.arena.close()
            self.arena = larger
        _await(fd)
        if os.readv(fd, [self.arena[self.size : self.size + 1]]) == 0:
            return None
        return self.arena[self.size]

    def keep(self) -> None:
        self.size += 1

    def erase(self) -> None:
        """The last character: its first byte is not 10xxxxxx."""
        while self.size:
            self.size -= 1
            if self.arena[self.size] & 0xC0 != 0x80:  # noqa: PLR2004
                break

    def kill(self) -> None:
        self.size = 0


def _type_line(fd: int) -> Arena:
    """A line from a terminal whose own editing is off."""
    import termios  # noqa: PLC0415 - only where there is a terminal

    keys = termios.tcgetattr(fd)[6]
    erase, kill, end = (keys[k] for k in (termios.VERASE, termios.VKILL, termios.VEOF))
    line = _Line()
    actions: dict[bytes, Callable[[], None]] = {
        b"\x7f": line.erase,
        b"\b": line.erase,
        erase: line.erase,
        kill: line.kill,
    }
    try:
        while True:
            byte = line.take(fd)
            if byte is None or (byte == end[0] and line.size == 0):
                raise EOFError
            if byte in (b"\n"[0], b"\r"[0], end[0]):
                return Arena(line.arena[: line.size])
            action = actions.get(byte.to_bytes(1, "big"), line.keep)
            action()
    finally:
        line.arena.close()


def _read_line(fd: int) -> Arena:
    """A line from what is not a terminal, byte by byte: the rest is for others."""
    line = _Line()
    try:
        while True:
            byte = line.take(fd)
            if byte is None and line.size == 0:
                raise EOFError
            if byte is None or byte == b"\n"[0]:
                end = line.size
                if end and byte is not None and line.arena[end - 1] == b"\r"[0]:
                    end -= 1
                return Arena(line.arena[:end])
            line.keep()
    finally:
        line.arena.close()


def _without_terminal(prompt: str) -> Arena:
    warnings.warn("there is no terminal to turn the echo off on", GetPassWarning, stacklevel=3)
    sys.stderr.write(prompt)
    sys.stderr.flush()
    try:
        fd = sys.stdin.fileno()
    except (AttributeError, ValueError, OSError):  # something else stands there
        text = sys.stdin.readline()
        if not text:
            raise EOFError from None
        return encode(text.rstrip("\n"))
    return _read_line(fd)


def getpass(prompt: str = "Password: ") -> Arena:
    """A new Arena with a line that a person types, echo off: UTF-8 bytes, no newline.

    Reads the terminal itself, byte by byte into the arena; the prompt goes there too. Erase
    and kill keys work, lines may be of any length, and the echo is on again however it ends:
    by Enter, Ctrl-C (KeyboardInterrupt), Ctrl-D on an empty line (EOFError), an exception from
    a signal handler, or a fatal signal. Without a terminal the line comes from standard input,
    with a GetPassWarning. OSError: another thread is at it. As getpass.getpass, which
    gives a str.
    """
    if not isinstance(prompt, str):
        raise TypeError(f"a prompt is a str, not {type(prompt).__name__}")
    try:
        fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ENXIO, errno.ENOENT, errno.ENOTTY, errno.EACCES, errno.EIO):
            raise
        return _without_terminal(prompt)
    try:
        _echo_off(fd)
        try:
            os.write(fd, prompt.encode(errors="replace"))
            return _type_line(fd)
        finally:
            _echo_back()
            os.write(fd, b"\n")
    finally:
        os.close(fd)
