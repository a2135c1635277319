"""A secret that a person types. It leaves no copy behind."""

import errno
import io
import locale
import os
import select
import signal
import sys
import termios
import warnings
from _thread import get_ident
from codecs import lookup
from collections.abc import Callable
from contextlib import suppress
from getpass import GetPassWarning
from typing import TextIO

from secalloc._core import Arena, _echo_back, _echo_before, _echo_off, _scrub, encode

FD_SETSIZE = 1024  # select() knows descriptors below that; poll() no terminal on macOS
LF, CR = b"\n"[0], b"\r"[0]


def _is_continuation(byte: int) -> bool:
    """Of a UTF-8 character, the second byte or a later one."""
    return byte & 0xC0 == 0x80  # noqa: PLR2004


def _is_ready(fd: int) -> bool:
    """Whether there is something to read, after a short wait. A signal that comes right before
    the wait, after the interpreter's last look for signals, interrupts nothing: so the wait is
    done in pieces."""
    return fd >= FD_SETSIZE or bool(select.select([fd], [], [], 0.1)[0])


class _Line:
    """A line that is being typed, in an arena that grows."""

    def __init__(self) -> None:
        self.arena = Arena(128)
        self.size = 0

    def _make_room(self) -> None:
        if self.size == len(self.arena):
            larger = Arena(2 * self.size)
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
                while not _is_ready(fd):
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
        return Arena(self.arena[: self.size])

    def drop_return(self) -> None:
        """CR, of a line that ended by CR and LF."""
        if self.size and self.arena[self.size - 1] == CR:
            self.size -= 1

    def close(self) -> None:
        self.arena.close()

    # ---- what a terminal's line discipline does --------------------------------------

    def _before(self, whole: bool) -> int:
        """Where the last character begins; the size: there is none, or not its first byte."""
        at = self.size - 1
        while whole and at > 0 and _is_continuation(self.arena[at]):
            at -= 1
        if at < 0 or (whole and _is_continuation(self.arena[at])):
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


# ---- a terminal -----------------------------------------------------------------------

BSD = sys.platform == "darwin"
UTF8_INPUT = 0x4000  # IUTF8 of Linux and macOS, which termios lacks before 3.13
ALTERNATE_WORDS = 0x200 if BSD else 0  # ALTWERASE

# What a key does: change the line, raise a signal, quote the next one, end the input, nothing.
_Action = Callable[[_Line, bool], None] | signal.Signals | str
NO_CODE_PAGE = ("utf-8", "ascii")
LITERAL, END, NOTHING = "literal", "end", "nothing"


def _encoding() -> str:
    return "utf-8" if sys.flags.utf8_mode else locale.getencoding()


class _Keys:
    """What the keys mean, as the terminal was set before its own editing was turned off."""

    def __init__(self, fd: int) -> None:
        self.continued, flags, local, self._codes = _echo_before()
        try:
            self._disabled = os.fpathconf(fd, "PC_VDISABLE")
        except (OSError, ValueError):
            self._disabled = 0
        # Or where nothing says that a byte is a character of its own.
        self.whole_characters = bool(flags & UTF8_INPUT) or lookup(_encoding()).name in NO_CODE_PAGE
        self.keeps_line = bool(local & termios.NOFLSH)  # when a signal's key is typed
        self.actions: dict[int, _Action] = {LF: END, CR: END, 0x7F: _Line.erase, 8: _Line.erase}
        if flags & termios.IGNCR:
            self.actions[CR] = NOTHING
        extended = bool(local & termios.IEXTEN)
        self._set(END, "VEOF")
        if extended:
            by_letters = not BSD or local & ALTERNATE_WORDS
            self._set(LITERAL, "VLNEXT")
            self._set(_Line.erase_word if by_letters else _Line.erase_blanks_and_word, "VWERASE")
            if BSD:  # Linux knows the one with an echo alone, and not the other
                self._set(NOTHING, "VREPRINT", "VDISCARD")
        self._set(_Line.kill, "VKILL")
        self._set(_Line.erase, "VERASE")
        if local & termios.ISIG:
            self._set(signal.SIGTSTP, "VSUSP", *(["VDSUSP"] if extended else []))
            self._set(signal.SIGQUIT, "VQUIT")
            self._set(signal.SIGINT, "VINTR")
        if flags & termios.IXON:
            self._set(NOTHING, "VSTART", "VSTOP")

    def _set(self, action: _Action, *names: str) -> None:
        for name in names:
            code = self._codes[getattr(termios, name)] if hasattr(termios, name) else None
            if code is not None and code != self._disabled:
                self.actions[code] = action

    def ends_input(self, byte: int) -> bool:
        return byte not in (LF, CR) and self.actions.get(byte) == END


def _in_background(fd: int) -> bool:
    try:
        return os.tcgetpgrp(fd) != os.getpgrp()
    except OSError:
        return False


def _send(fd: int, number: signal.Signals) -> None:
    """As the terminal does it: to all that run in its foreground."""
    try:
        os.killpg(os.tcgetpgrp(fd), number)
    except OSError:  # it is not the session's, or the others are another user's
        os.kill(os.getpid(), number)


def _type_line(fd: int, line: _Line, say: Callable[[str], None], prompt: str) -> Arena:
    """A line from a terminal whose own editing is off. It begins anew, as the terminal's would,
    when the process was stopped and goes on."""
    keys = _Keys(fd)  # first: a stop after the prompt shows it again
    say(prompt)
    literal = False
    while True:
        ready = _is_ready(fd)
        if ready:
            os.read(fd, 0)  # in the background this stops it, and what is there is the shell's
        if _echo_before()[0] != keys.continued:
            keys = _Keys(fd)
            literal = False
            if not keys.keeps_line:
                line.kill()
            say(prompt)
            continue
        if not ready:
            continue
        byte = line.next(fd)
        if byte is None or (not literal and line.size == 0 and keys.ends_input(byte)):
            raise EOFError
        action = None if literal else keys.actions.get(byte)
        literal = action == LITERAL
        if action is None:
            line.keep()
        elif isinstance(action, signal.Signals):
            if not keys.keeps_line:
                line.kill()
            _send(fd, action)
        elif action == END:
            return line.whole()
        elif not isinstance(action, str):
            action(line, keys.whole_characters)


def _at_terminal(
    fd: int, say: Callable[[str], None], prompt: str, held: "_Held | None"
) -> Arena | None:
    """A line without echo; None: it cannot be turned off there."""
    ours, busy = True, False
    line = _Line()
    try:
        try:
            _echo_off(fd)
        except OSError as error:
            ours, busy = False, error.errno == errno.EBUSY
            if busy or error.errno is None or isinstance(error, TimeoutError):
                raise  # not the terminal's: a signal's handler may raise its own
            return None
        try:
            if held and held.take_line(line):
                say(prompt)
                return line.whole()
            return _type_line(fd, line, say, prompt)
        except OSError as error:
            if error.errno == errno.EIO and not _in_background(fd):
                raise EOFError("the terminal is gone") from error
            raise
    finally:
        if not busy:  # first: a signal's handler may raise out of anything that follows
            _echo_back(fd)
        line.close()
        if ours:
            with suppress(OSError):  # it is gone
                say("\n")


# ---- standard input -------------------------------------------------------------------


class _Dry(Exception):
    """A text stream has nothing more in its buffers."""


class _Held:
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

    def take_line(self, line: _Line, byte: int | None = None) -> bool:
        """What there is of a line, with a byte of the file; whether that is all of it."""
        while character := self._take(byte):
            if character == "\n":
                line.drop_return()
                return True
            line.put(character.encode(self._text.encoding, self._text.errors or "strict"))
            byte = None
        return False


def _held_of(stream: object) -> _Held | None:
    """None: there is no telling what such a stream has read ahead."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if isinstance(stream, io.TextIOWrapper) and isinstance(raw, io.FileIO):
        return _Held(stream, raw)
    return None


def _read_line(fd: int, held: _Held) -> Arena:
    """A line from what is not a terminal, byte by byte: the rest is for others."""
    line = _Line()
    try:
        if held.take_line(line):
            return line.whole()
        if os.isatty(fd):
            os.read(fd, 0)  # an orphan in the background gets nothing, and learns it at once
        begun = False
        while True:
            while not _is_ready(fd):
                pass
            byte = line.next(fd)
            if byte is None and line.size == 0:
                raise EOFError
            if byte is not None and not begun and (byte == LF or _is_continuation(byte)):
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


def _from_text(box: dict[int, str]) -> Arena:
    """Without its line's end; box[0], the only reference there is, is zeroed."""
    try:
        with encode(box[0]) as text:
            end = len(text)
            if end and text[end - 1] == LF:
                end -= 1
                if end and text[end - 1] == CR:
                    end -= 1
            return Arena(text[:end])
    finally:
        _scrub(box, 0)


def _show(stream: TextIO | None, text: str) -> None:
    if stream is None:
        return
    try:
        stream.write(text)
    except UnicodeEncodeError:
        stream.write(text.encode(stream.encoding, "replace").decode(stream.encoding))
    stream.flush()


def _from_stdin(prompt: str, stream: TextIO | None, refused: OSError | None = None) -> Arena:
    """From a terminal there, or else, unless a terminal of the session's was refused for now,
    from whatever is there."""
    source = sys.stdin
    try:
        gone = source is None or getattr(source, "closed", False)
    except ValueError:  # its buffer was detached
        gone = True
    if gone:
        raise EOFError("there is no terminal, and no standard input") from refused

    def say(text: str) -> None:
        _show(stream or sys.stderr, text)

    held = _held_of(source)
    try:
        fd = source.fileno()
    except (AttributeError, ValueError, OSError):  # something else stands there
        fd, held = -1, None
    if fd >= 0 and os.isatty(fd):
        arena = _at_terminal(fd, say, prompt, held)
        if arena is not None:
            return arena
    if refused:
        raise refused
    warnings.warn("there is no terminal to turn the echo off on", GetPassWarning, stacklevel=3)
    say(prompt)
    try:
        if held:
            return _read_line(fd, held)
        box = {0: source.readline()}
        if not box[0]:
            raise EOFError
        return _from_text(box)
    finally:
        say("\n")


def _front_end() -> Callable[[str], str] | None:
    """What asks in a notebook: there the terminal, if any, is not the person's."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython and hasattr(ipython, "get_ipython") else None
    ask = getattr(getattr(shell, "kernel", None), "getpass", None)
    return ask if callable(ask) else None


def getpass(prompt: str = "Password: ", stream: TextIO | None = None) -> Arena:
    """A new Arena with a line that a person types, echo off: UTF-8 bytes, no newline.

    Reads the terminal itself, byte by byte into the arena; the prompt goes there too, or to
    stream. Lines may be of any length. The keys that erase a character, a word or the line,
    that quote the next one, interrupt, suspend and end the input are those that the terminal
    has set; Backspace and Delete both erase. The echo is on again however it ends: by Enter,
    Ctrl-C (KeyboardInterrupt), Ctrl-D on an empty line (EOFError), an exception from a signal
    handler, a signal that ends the process, or the interpreter's end on another thread; but not
    by SIGKILL or os._exit. It is on while the process is stopped (Ctrl-Z), and the line begins
    anew when that goes on.

    Without a terminal the line comes from standard input, with a GetPassWarning, after what
    sys.stdin has read ahead. In a notebook the front end asks. What comes by way of sys.stdin's
    buffer, of another object in its place or of a front end was in ordinary memory before.
    OSError: another thread is at it. As getpass.getpass, which gives a str.
    """
    if not isinstance(prompt, str):
        raise TypeError(f"a prompt is a str, not {type(prompt).__name__}")
    ask = _front_end()
    if ask:
        return _from_text({0: ask(prompt)})
    try:
        fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        busy = error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
        return _from_stdin(prompt, stream, error if busy else None)

    def say(text: str) -> None:
        if stream is not None:
            _show(stream, text)
            return
        data = text.encode(_encoding(), "replace")
        while data:
            data = data[os.write(fd, data) :]

    try:
        arena = _at_terminal(fd, say, prompt, None)
    finally:
        os.close(fd)
    return _from_stdin(prompt, stream) if arena is None else arena
