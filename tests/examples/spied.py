"""Starts examples as their heads say, on a terminal or without, and looks into their processes."""

import json
import os
import pty
import select
import signal
import socket
import sys
import termios
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
SOON = 180.0
"""Seconds after which something is taken to hang."""


class Spy:
    """What sitecustomize.py in each process answers to."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "spy"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen(64)
        self.came = threading.Condition()
        self.processes: dict[int, socket.socket] = {}
        self.all: list[socket.socket] = []
        threading.Thread(target=self.take, daemon=True).start()

    def take(self) -> None:
        """Connections as they come: a process that runs another program comes twice."""
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                pid = int.from_bytes(connection.recv(4, socket.MSG_WAITALL), "big")
                with self.came:
                    self.all.append(connection)
                    self.processes[pid] = connection
                    self.came.notify_all()

    def environment(self, **more: str) -> dict[str, str]:
        return os.environ | {
            "PYTHONPATH": str(Path(__file__).parent / "spy"),
            "SPY": str(self.path),
            **more,
        }

    def connection_of(self, pid: int, but: socket.socket | None) -> socket.socket:
        with self.came:
            came = self.came.wait_for(lambda: self.processes.get(pid) not in (None, but), SOON)
            assert came, f"process {pid} does not answer"
            return self.processes[pid]

    def ask(self, pid: int, command: bytes, secret: bytes = b"") -> list[str]:
        connection: socket.socket | None = None
        while True:
            connection = self.connection_of(pid, connection)
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(command + len(secret).to_bytes(4, "big") + secret)
                with connection.makefile("rb") as stream:
                    if line := stream.readline():
                        found: list[str] | str = json.loads(line)
                        assert not isinstance(found, str), f"process {pid} cannot look: {found}"
                        return found

    def find(self, pid: int, secret: bytes) -> list[str]:
        """Where the process has copies of a secret, outside of arenas and the shelter."""
        return self.ask(pid, b"f", secret)

    def none_but_a_planted_one(self, pid: int, *secrets: bytes) -> None:
        """No copies. The control: one that it is told to keep is found."""
        for secret in secrets:
            assert self.find(pid, secret) == []
            assert self.ask(pid, b"p", secret) != []

    def lock_down(self, pid: int) -> None:
        self.ask(pid, b"l")

    def let_end(self, pid: int) -> None:
        """It was started with SPY_HOLD, and waits at its end."""
        self.ask(pid, b"q")

    def close(self) -> None:
        self.listener.close()
        for connection in self.all:
            connection.close()


class Person:
    """Who types at a program's terminal."""

    def __init__(self, program: str, *arguments: str, env: dict[str, str], cwd: Path) -> None:
        command = program_of(program, arguments)
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(cwd)
                os.execvpe(command[0], command, env)  # noqa: S606
            finally:
                os._exit(127)
        self.shown = b""

    def sees(self, text: str) -> str:
        """Wait for a text; all that was shown up to there."""
        end, wanted = time.monotonic() + SOON, text.encode()
        while wanted not in self.shown:
            left = end - time.monotonic()
            ready = select.select([self.terminal], [], [], max(left, 0))[0]
            assert ready, f"no {text!r} in {self.shown.decode()!r}"
            try:
                self.shown += os.read(self.terminal, 4096)
            except OSError:
                raise AssertionError(f"it ended: {self.shown.decode()}") from None
        before, _, self.shown = self.shown.partition(wanted)
        return before.decode()

    def types(self, line: str) -> None:
        os.write(self.terminal, line.encode() + b"\n")

    def hidden(self, prompt: str, line: str) -> None:
        """What is asked for with echo off, which the prompt comes after."""
        self.sees(prompt)
        assert not termios.tcgetattr(self.terminal)[3] & termios.ECHO
        self.types(line)

    def leaves(self) -> tuple[int, str]:
        """The program's exit status, and what it said at last."""
        try:
            while got := os.read(self.terminal, 4096):
                self.shown += got
        except OSError:  # at its end
            pass
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.pid = 0
        return status, self.shown.decode()

    def close(self) -> None:
        os.close(self.terminal)
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


def program_of(name: str, arguments: Sequence[str]) -> list[str]:
    """As the example's head says; `run NAME`: by python -m secalloc run."""
    under = ["-m", "secalloc", "run"] if name.startswith("run ") else []
    return [sys.executable, *under, str(EXAMPLES / name.removeprefix("run ")), *arguments]
