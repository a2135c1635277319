"""A program on a terminal of its own, and the hand that types there."""

import os
import pty
import select
import sys
import termios
import time
from pathlib import Path

import pytest


class Typist:
    """A child whose terminal is ours to read and to type on."""

    def __init__(self, code: str, *arguments: str, shell: str = "") -> None:
        """Its session's leader is the program itself, or a shell, which has the terminal back
        when the program is stopped."""
        self.seen = b""
        command = [sys.executable, "-P", "-W", "ignore", "-c", code, *arguments]
        if shell:
            command = [sys.executable, "-P", "-c", shell, *command]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "LC_ALL": "C.UTF-8"}
        try:
            self.child, self.master = pty.fork()
        except OSError as error:
            pytest.skip(f"no terminal is to be had: {error}")
        if self.child == 0:
            try:  # else it went on with the caller's tests, where it is not to be executed
                os.execve(command[0], command, environment)  # noqa: S606
            finally:
                os._exit(127)

    def flags(self) -> tuple[bool, bool]:
        """Whether it echoes, and edits lines itself."""
        local = termios.tcgetattr(self.master)[3]
        return bool(local & termios.ECHO), bool(local & termios.ICANON)

    def settles(self, flags: tuple[bool, bool]) -> None:
        deadline = time.monotonic() + 30
        while self.flags() != flags:
            assert time.monotonic() < deadline, (self.flags(), self.seen)
            time.sleep(0.02)

    def expect(self, text: bytes) -> bytes:
        """What came up to there, which is not looked at again."""
        deadline = time.monotonic() + 40
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.master], [], [], 1)[0]:
                got = self.read()
                assert got, self.seen
        before, _, self.seen = self.seen.partition(text)
        return before

    def read(self) -> bytes:
        """More of what it says; nothing, where all who had the terminal open are gone."""
        try:
            got = os.read(self.master, 4096)
        except OSError:
            got = b""
        self.seen += got
        return got

    def type(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.master, data[:200]) :]

    def end(self) -> int:
        """How it ended, once all is read."""
        while self.read():
            pass
        status = os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])
        os.close(self.master)
        return status
