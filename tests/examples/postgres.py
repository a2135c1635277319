"""A PostgreSQL server: the machine's own, where it has one, else what the example needs of one."""
# ruff: noqa: S603, PLR0912

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

CATALOGUE = Path("/usr/lib/postgresql")  # where Debian has it


def programs() -> Path | None:
    """The newest version's folder."""
    found = sorted(CATALOGUE.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return found[-1].parent if found else None


class Server:
    """Has a user app, with that password, and a database app."""

    def __init__(self, directory: Path, password: str) -> None:
        self.password, self.directory = password, directory
        self.process: subprocess.Popen[bytes] | None = None
        self.listener: socket.socket | None = None
        where = programs()
        if where:
            self.own(where)
        else:
            self.listener = socket.create_server(("127.0.0.1", 0))
            threading.Thread(target=self.stand_in, args=(self.listener,), daemon=True).start()
            host, port = self.listener.getsockname()
            self.environment = {"PGHOST": host, "PGPORT": str(port), "PGSSLMODE": "disable"}
        self.environment |= {"PGDATABASE": "app", "PGUSER": "app", "PGGSSENCMODE": "disable"}

    def own(self, where: Path) -> None:
        """Debian's, in a directory of its own, by a socket there. It does not run as root."""
        directory = Path(tempfile.mkdtemp(prefix="pg"))  # a socket's path is short
        self.directory = directory
        user: list[str] = []
        if os.geteuid() == 0:
            user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
            os.chown(directory, pwd.getpwnam("postgres").pw_uid, -1)
        (directory / "pw").write_text(self.password)
        (directory / "pw").chmod(0o444)
        data, env = directory / "data", {"PATH": os.environ["PATH"], "LC_ALL": "C"}
        initdb = [
            str(where / "initdb"),
            "-D",
            str(data),
            "-U",
            "app",
            f"--pwfile={directory}/pw",
            "-N",
        ]
        subprocess.run(
            [*user, *initdb, "-A", "scram-sha-256"], check=True, env=env, stdout=subprocess.DEVNULL
        )
        options = ["-c", "listen_addresses=", "-c", "fsync=off", "-k", str(directory)]
        with (directory / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [*user, str(where / "postgres"), "-D", str(data), *options], env=env, stderr=log
            )
        ready = [str(where / "pg_isready"), "-q", "-t", "60", "-h", str(directory)]
        while subprocess.run(ready, check=False, timeout=120).returncode:
            assert self.process.poll() is None, (self.directory / "log").read_text()
        self.environment = {"PGHOST": str(directory)}
        subprocess.run(
            [where / "psql", "-q", "-d", "postgres", "-c", "create database app"],
            env=env | {"PGUSER": "app", "PGPASSWORD": self.password, "PGHOST": str(directory)},
            check=True,
        )

    def close(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGINT)  # for the fast end: without the clients' leave
            self.process.wait(60)
            shutil.rmtree(self.directory)
        if self.listener:
            self.listener.close()

    # ---- the stand-in ------------------------------------------------------------------------

    def stand_in(self, listener: socket.socket) -> None:
        kept: dict[bytes, bytes] = {}
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, connection.makefile("rb") as stream:
                    self.serve(connection, stream, kept)

    def serve(self, connection: socket.socket, stream: BinaryIO, kept: dict[bytes, bytes]) -> None:
        """The protocol's version 3: a password in clear, and what is put and got by name."""

        def say(kind: bytes, *parts: bytes) -> None:
            body = b"".join(parts)
            connection.sendall(kind + (len(body) + 4).to_bytes(4, "big") + body)

        def number(value: int, size: int = 4) -> bytes:
            return value.to_bytes(size, "big", signed=True)

        stream.read(int.from_bytes(stream.read(4), "big") - 4)
        say(b"R", number(3))
        values: list[bytes] = []
        while kind := stream.read(1):
            body = stream.read(int.from_bytes(stream.read(4), "big") - 4)
            if kind == b"p":
                if body != self.password.encode() + b"\0":
                    return say(b"E", b"SFATAL\0C28P01\0Mno\0\0")
                say(b"R", number(0))
                say(b"S", b"client_encoding\0UTF8\0")
                say(b"S", b"server_version\x0016.0\0")
                say(b"Z", b"I")
            elif kind == b"Q":
                say(b"C", b"CREATE TABLE\0")
                say(b"Z", b"I")
            elif kind == b"P":
                say(b"1")
            elif kind == b"B":
                values = self.values(body)
                say(b"2")
            elif kind == b"D" and len(values) == 1:
                column = b"token\0" + number(0) + number(0, 2) + number(17) + number(-1, 2)
                say(b"T", number(1, 2), column, number(-1), number(1, 2))
            elif kind == b"D":
                say(b"n")
            elif kind == b"E" and len(values) == 1:
                if (got := kept.get(values[0])) is not None:
                    say(b"D", number(1, 2), number(len(got)), got)
                say(b"C", b"SELECT 1\0")
            elif kind == b"E":
                kept[values[0]] = values[1]
                say(b"C", b"INSERT 0 1\0")
            elif kind == b"S":
                say(b"Z", b"I")
            elif kind == b"X":
                return None
        return None

    @staticmethod
    def values(body: bytes) -> list[bytes]:
        """The parameters of a Bind."""
        rest = body.split(b"\0", 2)[2]  # the names of a portal and a statement, both empty
        rest = rest[2 + 2 * int.from_bytes(rest[:2], "big") :]
        count, rest = int.from_bytes(rest[:2], "big"), rest[2:]
        values = []
        for _ in range(count):
            size = int.from_bytes(rest[:4], "big")
            values.append(rest[4 : 4 + size])
            rest = rest[4 + size :]
        return values
