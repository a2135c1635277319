"""A line that is being typed, and what the keys that edit it do to it."""

import os
import select

from secalloc._core import Arena
from secalloc._kind import Kind

FD_SETSIZE = 1024  # select() knows descriptors below that; poll() no terminal on macOS
LF, CR = b"\n"[0], b"\r"[0]


def is_continuation(byte: int) -> bool:
    """Of a UTF-8 character, the second byte or a later one."""
    return byte & 0xC0 == 0x80  # noqa: PLR2004


def is_ready(fd: int) -> bool:
    """Whether there is something to read, after a short wait. A signal that comes right before
    the wait, after the interpreter's last look for signals, interrupts nothing: so the wait is
    done in pieces."""
    return fd >= FD_SETSIZE or bool(select.select([fd], [], [], 0.1)[0])


class Line:
    """A line that is being typed, in an arena that grows."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self.arena = kind.arena(128)
        self.size = 0

    def _make_room(self) -> None:
        if self.size == len(self.arena):
            larger = self._kind.arena(2 * self.size)
            larger[: self.size] = self.arena
            self.arena.close()
            self.arena = larger

    def next(self, fd: int) -> int | None:
        """The next byte, which counts once it is kept; None: the end."""
        self._make_room()
        while True:
            try:
                if os.readv(fd, [self.arena[self.size : self.size + 1]]) == 0:
                    return None
            except BlockingIOError:  # it is set so, or somebody else was faster
                while not is_ready(fd):
                    pass
            else:
                return self.arena[self.size]

    def keep(self) -> None:
        self.size += 1

    def put(self, data: bytes) -> None:
        """Append what lies in ordinary memory already."""
        for byte in data:
            self._make_room()
            self.arena[self.size] = byte
            self.keep()

    def whole(self) -> Arena:
        return self._kind.arena(self.arena[: self.size])

    def drop_return(self) -> None:
        """CR, of a line that ended by CR and LF."""
        if self.size and self.arena[self.size - 1] == CR:
            self.size -= 1

    def characters(self, whole: bool) -> int:
        """How many were typed; with `whole` bytes of UTF-8 are characters together."""
        typed = range(self.size)
        return sum(not is_continuation(self.arena[at]) for at in typed) if whole else self.size

    def close(self) -> None:
        self.arena.close()

    # ---- what a terminal's line discipline does --------------------------------------

    def _before(self, whole: bool) -> int:
        """Where the last character begins; the size: there is none, or not its first byte."""
        at = self.size - 1
        while whole and at > 0 and is_continuation(self.arena[at]):
            at -= 1
        if at < 0 or (whole and is_continuation(self.arena[at])):
            return self.size
        return at

    def erase(self, whole: bool) -> None:
        self.size = self._before(whole)

    def erase_word(self, whole: bool) -> None:
        """Up to the letters and digits before the last ones, as Linux does it."""
        seen = False
        while (at := self._before(whole)) < self.size:
            byte = self.arena[at]
            if byte < 0x80:  # noqa: PLR2004
                letter = chr(byte).isalnum() or byte == b"_"[0]
            else:  # Latin-1, for which Linux takes what begins a character of UTF-8
                letter = byte >= 0xC0 and byte not in (0xD7, 0xF7)  # noqa: PLR2004
            if seen and not letter:
                break
            seen = seen or letter
            self.size = at

    def erase_blanks_and_word(self, whole: bool) -> None:
        """Up to the blank before the last word, as BSD does it."""
        for blank in (True, False):
            while (at := self._before(whole)) < self.size:
                if (self.arena[at] in b" \t") != blank:
                    break
                self.size = at

    def kill(self, _whole: bool = True) -> None:
        self.size = 0
