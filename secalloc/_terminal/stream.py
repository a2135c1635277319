"""A line from standard input, where that is no terminal or has read ahead."""

import io
import os
from _thread import get_ident
from typing import TextIO

from secalloc._core import Arena, _scrub
from secalloc._kind import Kind
from secalloc._terminal.line import CR, LF, Line, is_continuation, is_ready


class _Dry(Exception):
    """A text stream has nothing more in its buffers."""


class Held:
    """What a text stream took from its file and did not give yet: a character at a time, and
    nothing of the file itself."""

    def __init__(self, text: io.TextIOWrapper, raw: io.FileIO) -> None:
        self._text, self._raw = text, raw
        self._byte: int | None = None
        self._thread = get_ident()

    def _readinto(self, buffer: memoryview) -> int | None:
        if get_ident() != self._thread:
            return io.FileIO.readinto(self._raw, buffer)
        if self._byte is None:
            raise _Dry
        buffer[0], self._byte = self._byte, None
        return 1

    def _take(self, byte: int | None) -> str | None:
        """The next character, if need be with a byte of the file; None: there is none yet."""
        self._byte = byte
        try:
            self._raw.readinto = self._readinto  # type: ignore[method-assign, assignment]
            return self._text.read(1)
        except _Dry:
            return None
        finally:
            vars(self._raw).pop("readinto", None)

    def take_line(self, line: Line, byte: int | None = None) -> bool:
        """What there is of a line, with a byte of the file; whether that is all of it."""
        while character := self._take(byte):
            if character == "\n":
                line.drop_return()
                return True
            line.put(character.encode(self._text.encoding, self._text.errors or "strict"))
            byte = None
        return False


def held_of(stream: object) -> Held | None:
    """None: there is no telling what such a stream has read ahead."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if isinstance(stream, io.TextIOWrapper) and isinstance(raw, io.FileIO):
        return Held(stream, raw)
    return None


def read_line(fd: int, held: Held, kind: Kind) -> Arena:
    """A line from what is not a terminal, byte by byte: the rest is for others."""
    line = Line(kind)
    try:
        if held.take_line(line):
            return line.whole()
        if os.isatty(fd):
            os.read(fd, 0)  # an orphan in the background gets nothing, and learns it at once
        begun = False
        while True:
            while not is_ready(fd):
                pass
            byte = line.next(fd)
            if byte is None and line.size == 0:
                raise EOFError
            if byte is not None and not begun and (byte == LF or is_continuation(byte)):
                # The stream holds what comes before it: of a line's end, or of a character.
                if held.take_line(line, byte):
                    return line.whole()
                continue
            begun = True
            if byte == LF:
                line.drop_return()
            if byte is None or byte == LF:
                return line.whole()
            line.keep()
    finally:
        line.close()


def from_text(box: dict[int, str], kind: Kind) -> Arena:
    """Without its line's end; box[0], the only reference there is, is zeroed."""
    try:
        with kind.encode(box[0]) as text:
            end = len(text)
            if end and text[end - 1] == LF:
                end -= 1
                if end and text[end - 1] == CR:
                    end -= 1
            return kind.arena(text[:end])
    finally:
        _scrub(box, 0)


def show(stream: TextIO | None, text: str) -> None:
    if stream is None:
        return
    try:
        stream.write(text)
    except UnicodeEncodeError:
        stream.write(text.encode(stream.encoding, "replace").decode(stream.encoding))
    stream.flush()
