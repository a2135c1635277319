"""A secret that a person types. It leaves no copy behind."""

import errno
import os
import sys
import warnings
from collections.abc import Callable
from getpass import GetPassWarning
from typing import TextIO

from secalloc._core import Arena, compare_digest
from secalloc._kind import Kind
from secalloc._terminal.keys import encoding
from secalloc._terminal.stream import from_text, held_of, read_line, show
from secalloc._terminal.typed import at_terminal
from secalloc._values import Protection


def _from_stdin(
    prompt: str,
    stream: TextIO | None,
    kind: Kind,
    echo_char: str = "",
    refused: OSError | None = None,
) -> Arena:
    """From a terminal there, or else, unless a terminal of the session's was refused for now,
    from what is there."""
    source = sys.stdin
    try:
        gone = source is None or getattr(source, "closed", False)
    except ValueError:  # its buffer was detached
        gone = True
    if gone:
        raise EOFError("there is no terminal, and no standard input") from refused

    def say(text: str) -> None:
        show(stream or sys.stderr, text)

    held = held_of(source)
    try:
        fd = source.fileno()
    except (AttributeError, ValueError, OSError):  # something else stands there
        fd, held = -1, None
    if fd >= 0 and os.isatty(fd):
        arena = at_terminal(fd, say, prompt, held, kind, echo_char)
        if arena is not None:
            return arena
    if refused:
        raise refused
    warnings.warn("there is no terminal to turn the echo off on", GetPassWarning, stacklevel=4)
    say(prompt)
    try:
        if held:
            return read_line(fd, held, kind)
        box = {0: source.readline()}
        if not box[0]:
            raise EOFError
        return from_text(box, kind)
    finally:
        say("\n")


def _front_end() -> Callable[[str], str] | None:
    """What asks in a notebook: there the terminal, if any, is not the person's."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython and hasattr(ipython, "get_ipython") else None
    ask = getattr(getattr(shell, "kernel", None), "getpass", None)
    return ask if callable(ask) else None


def _ask(prompt: str, stream: TextIO | None, kind: Kind, echo_char: str) -> Arena:
    """A line, from wherever the person is."""
    ask = _front_end()
    if ask:
        return from_text({0: ask(prompt)}, kind)
    try:
        fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        busy = error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
        return _from_stdin(prompt, stream, kind, echo_char, error if busy else None)

    def say(text: str) -> None:
        if stream is not None:
            show(stream, text)
            return
        data = text.encode(encoding(), "replace")
        while data:
            data = data[os.write(fd, data) :]

    try:
        arena = at_terminal(fd, say, prompt, None, kind, echo_char)
    finally:
        os.close(fd)
    return _from_stdin(prompt, stream, kind, echo_char) if arena is None else arena


def _checked(echo_char: str | None) -> str:
    if echo_char is None:
        return ""
    if not isinstance(echo_char, str):
        raise TypeError(f"echo_char is a str or None, not {type(echo_char).__name__}")
    if len(echo_char) != 1 or not echo_char.isascii() or not echo_char.isprintable():
        raise ValueError("echo_char is one printable ASCII character")
    return echo_char


def getpass(  # noqa: PLR0913
    prompt: str = "Password: ",
    stream: TextIO | None = None,
    *,
    confirm: bool = False,
    echo_char: str | None = None,
    require: Protection | None = None,
    name: str | None = None,
) -> Arena:
    """A new Arena with a line that a person types, echo off: UTF-8 bytes, no newline.

    Reads the terminal itself, byte by byte into the arena; the prompt goes there too, or to
    stream. Lines may be of any length. The terminal's own settings say which keys erase a
    character, a word or the line, quote the next key, interrupt, suspend and end the input.
    Backspace and Delete both erase. The echo is put on again however the call ends: by Enter,
    Ctrl-C (KeyboardInterrupt), Ctrl-D on an empty line (EOFError), an exception from a signal
    handler, a signal that ends the process, or the interpreter's end on another thread. SIGKILL
    and os._exit are the exceptions. While the process is stopped (Ctrl-Z) the echo is on, and
    the line begins anew when the process goes on.

    With confirm it is asked for twice, and ValueError where the two differ. echo_char, one
    printable ASCII character as in Python 3.14, is shown for each character that is typed, and
    so tells an onlooker how many there are. require and name are as for Arena().

    Without a terminal the line comes from standard input, with a GetPassWarning, after what
    sys.stdin has read ahead. In a notebook the front end asks, in a field that hides what is
    typed. Input that comes through sys.stdin's buffer, through another object in its place or
    from a front end was in ordinary memory before. OSError: another thread is asking. As
    getpass.getpass, which gives a str.
    """
    if not isinstance(prompt, str):
        raise TypeError(f"a prompt is a str, not {type(prompt).__name__}")
    kind, sign = Kind(require, name), _checked(echo_char)
    kind.arena(0).close()  # what cannot be had is not asked for
    arena = _ask(prompt, stream, kind, sign)
    if not confirm:
        return arena
    try:
        with _ask("Again: ", stream, kind, sign) as again:
            same = compare_digest(arena, again)
    except BaseException:
        arena.close()
        raise
    if not same:
        arena.close()
        raise ValueError("the two that were typed differ")
    return arena
