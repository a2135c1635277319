"""A line from a terminal, without echo."""

import errno
import os
import signal
from collections.abc import Callable
from contextlib import suppress

from secalloc._core import Arena, _echo_back, _echo_before, _echo_off
from secalloc._kind import Kind
from secalloc._terminal.keys import END, LITERAL, Keys
from secalloc._terminal.line import Line, is_ready
from secalloc._terminal.stream import Held


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


class _Shown:
    """What stands on the terminal in place of what is typed."""

    def __init__(self, line: Line, say: Callable[[str], None], echo_char: str) -> None:
        self._line, self._say, self._sign = line, say, echo_char
        self._count = 0

    def prompt(self, prompt: str) -> None:
        """Anew, and the line after it."""
        self._say(prompt)
        self._count = 0

    def follow(self, keys: Keys) -> None:
        """Show as many signs as there are characters now."""
        if not self._sign:
            return
        count = self._line.characters(keys.whole_characters)
        more, less = max(count - self._count, 0), max(self._count - count, 0)
        if more or less:
            self._say(self._sign * more + "\b \b" * less)
        self._count = count


def _type_line(
    fd: int, line: Line, say: Callable[[str], None], prompt: str, echo_char: str
) -> Arena:
    """A line from a terminal whose own editing is off. It begins anew, as the terminal's would,
    when the process was stopped and goes on."""
    keys = Keys(fd)  # first: a stop after the prompt shows it again
    shown = _Shown(line, say, echo_char)
    shown.prompt(prompt)
    literal = False
    while True:
        ready = is_ready(fd)
        if ready:
            os.read(fd, 0)  # in the background this stops it, and what is there is the shell's
        if _echo_before()[0] != keys.continued:
            keys = Keys(fd)
            literal = False
            if not keys.keeps_line:
                line.kill()
            shown.prompt(prompt)
            shown.follow(keys)
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
        shown.follow(keys)


def at_terminal(  # noqa: PLR0913, PLR0917
    fd: int,
    say: Callable[[str], None],
    prompt: str,
    held: Held | None,
    kind: Kind,
    echo_char: str,
) -> Arena | None:
    """A line without echo, or with a sign for each character. None: the echo cannot be turned
    off there."""
    ours, busy = True, False
    line = Line(kind)
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
            return _type_line(fd, line, say, prompt, echo_char)
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
