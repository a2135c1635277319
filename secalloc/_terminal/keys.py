"""What the keys of a terminal mean."""

import locale
import os
import signal
import sys
import termios
from codecs import lookup
from collections.abc import Callable

from secalloc._core import _echo_before
from secalloc._terminal.line import CR, LF, Line

BSD = sys.platform == "darwin"
UTF8_INPUT = 0x4000  # IUTF8 of Linux and macOS, which termios lacks before 3.13
ALTERNATE_WORDS = 0x200 if BSD else 0  # ALTWERASE

# What a key does: change the line, raise a signal, quote the next one, end the input, nothing.
Action = Callable[[Line, bool], None] | signal.Signals | str
NO_CODE_PAGE = ("utf-8", "ascii")
LITERAL, END, NOTHING = "literal", "end", "nothing"


def encoding() -> str:
    return "utf-8" if sys.flags.utf8_mode else locale.getencoding()


class Keys:
    """What the keys mean, as the terminal was set before its own editing was turned off."""

    def __init__(self, fd: int) -> None:
        self.continued, flags, local, self._codes = _echo_before()
        try:
            self._disabled = os.fpathconf(fd, "PC_VDISABLE")
        except (OSError, ValueError):
            self._disabled = 0
        # Or nothing says that a byte is a character of its own.
        self.whole_characters = bool(flags & UTF8_INPUT) or lookup(encoding()).name in NO_CODE_PAGE
        self.keeps_line = bool(local & termios.NOFLSH)  # when a signal's key is typed
        self.actions: dict[int, Action] = {LF: END, CR: END, 0x7F: Line.erase, 8: Line.erase}
        if flags & termios.IGNCR:
            self.actions[CR] = NOTHING
        extended = bool(local & termios.IEXTEN)
        self._set(END, "VEOF")
        if extended:
            by_letters = not BSD or local & ALTERNATE_WORDS
            self._set(LITERAL, "VLNEXT")
            self._set(Line.erase_word if by_letters else Line.erase_blanks_and_word, "VWERASE")
            if BSD:  # Linux knows the one with an echo alone, and not the other
                self._set(NOTHING, "VREPRINT", "VDISCARD")
        self._set(Line.kill, "VKILL")
        self._set(Line.erase, "VERASE")
        if local & termios.ISIG:
            self._set(signal.SIGTSTP, "VSUSP", *(["VDSUSP"] if extended else []))
            self._set(signal.SIGQUIT, "VQUIT")
            self._set(signal.SIGINT, "VINTR")
        if flags & termios.IXON:
            self._set(NOTHING, "VSTART", "VSTOP")

    def _set(self, action: Action, *names: str) -> None:
        for name in names:
            code = self._codes[getattr(termios, name)] if hasattr(termios, name) else None
            if code is not None and code != self._disabled:
                self.actions[code] = action

    def ends_input(self, byte: int) -> bool:
        return byte not in (LF, CR) and self.actions.get(byte) == END
