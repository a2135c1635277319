"""A secret that a person types. It leaves no copy behind."""

import errno
import os
import sys
import warnings
from collections.abc import Callable
from getpass import GetPassWarning

from secalloc._core import Arena, _echo_back, _echo_off, encode

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
