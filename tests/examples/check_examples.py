"""The programs of examples/, as a user starts them, and what their processes hold meanwhile.

    make check-examples         # EXAMPLE_BYTES=1073741824: the backup of 1 GiB

What is searched for is a secret that this process made up and typed, or wrote to a file.
"""
# ruff: noqa: S603

import hmac
import http.client
import os
import secrets
import select
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from postgres import Server
from spied import SOON, Person, Spy, program_of
from support import linux_only

BYTES = int(os.environ.get("EXAMPLE_BYTES", str(20 << 20)))

pytestmark = linux_only


@pytest.fixture
def spy(tmp_path: Path) -> Iterator[Spy]:
    spy = Spy(tmp_path)
    yield spy
    spy.close()


@pytest.fixture
def person(spy: Spy, tmp_path: Path) -> Iterator[Callable[..., Person]]:
    """Starts an example on a terminal."""
    people: list[Person] = []

    def start(*command: str, **env: str) -> Person:
        people.append(Person(*command, env=spy.environment(**env), cwd=tmp_path))
        return people[-1]

    yield start
    for one in people:
        one.close()


@pytest.fixture
def start(spy: Spy, tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts an example without a terminal."""
    processes: list[subprocess.Popen[str]] = []

    def start(name: str, *arguments: str, **env: str) -> "subprocess.Popen[str]":
        with (tmp_path / "errors").open("w") as errors:
            process = subprocess.Popen(
                program_of(name, arguments),
                env=spy.environment(**env),
                cwd=tmp_path,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # so that its workers are ended with it
            )
        processes.append(process)
        return process

    yield start
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def says(process: "subprocess.Popen[str]") -> str:
    """Its next line."""
    assert process.stdout
    ready = select.select([process.stdout], [], [], SOON)[0]
    assert ready, "it says nothing"
    return process.stdout.readline()


def until(true: Callable[[], Any]) -> None:
    end = time.monotonic() + SOON
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


# ---- passwords.py ---------------------------------------------------------------------------


def test_passwords(person: Callable[..., Person], spy: Spy, tmp_path: Path) -> None:
    phrase, later, password = (secrets.token_hex(16) for _ in range(3))
    vault = tmp_path / "vault"
    me = person("passwords.py", str(vault))
    me.hidden("Passphrase: ", phrase)
    me.hidden("Again: ", phrase)
    for command, name in (("new", "mail"), ("add", "bank"), ("add", "bank")):
        me.sees("> ")
        me.types(f"{command} {name}")
        if command == "add":
            me.hidden("Password: ", password)
            me.hidden("Again: ", password)
    me.sees("> ")
    me.types("list")
    assert me.sees("> ").split() == ["list", "mail", "bank"]
    me.types("show bank")
    assert me.sees("> ").split() == ["show", "bank", password]
    me.types("show mail")
    made = me.sees("> ").split()[-1]
    assert len(made) == 24
    assert made != password
    me.types("passphrase")
    me.hidden("Passphrase: ", later)
    me.hidden("Again: ", later)
    me.sees("> ")
    assert not any(text.encode() in vault.read_bytes() for text in (phrase, password, made, "bank"))
    spy.none_but_a_planted_one(me.pid, *(x.encode() for x in (phrase, later, password, made)))

    spy.lock_down(me.pid)  # as lock_on() does, or as expire() clears the key
    me.types("show bank")
    me.hidden("Passphrase: ", later)
    assert password in me.sees("> ")
    me.types("quit")
    assert me.leaves()[0] == 0


def test_passwords_by_another_passphrase_or_from_another_file(
    person: Callable[..., Person], tmp_path: Path
) -> None:
    vault = tmp_path / "vault"
    me = person("passwords.py", str(vault))
    me.hidden("Passphrase: ", "correct horse")
    me.hidden("Again: ", "correct horse")
    me.sees("> ")
    me.types("new mail")
    me.sees("> ")
    whole = vault.read_bytes()
    vault.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    me.types("show mail")
    assert "the file was changed" in me.sees("> ")
    vault.write_bytes(whole)
    me.types("show mail")
    me.hidden("Passphrase: ", "battery staple")
    assert "another passphrase" in me.sees("> ")
    me.types("list")
    me.hidden("Passphrase: ", "correct horse")
    assert me.sees("> ").split() == ["mail"]


# ---- service.py -----------------------------------------------------------------------------


def renew(directory: Path, certificate: Path) -> bytes:
    """New files for the service; its signing key."""
    pem = certificate.read_bytes()
    end = pem.index(b"-----BEGIN CERTIFICATE-----")
    (directory / "tls.key").write_bytes(pem[:end])
    (directory / "chain.pem").write_bytes(pem[end:])
    key = secrets.token_bytes(32)
    (directory / "new").write_bytes(key)
    (directory / "new").rename(directory / "signing.key")
    return key


def test_service(
    start: Callable[..., "subprocess.Popen[str]"], spy: Spy, tmp_path: Path, certificate: Path
) -> None:
    keys = [renew(tmp_path, certificate)]
    service = start("service.py", "0", "chain.pem", SECALLOC_CREDENTIALS=str(tmp_path))
    port = int(says(service).rpartition(":")[2])
    answers: list[str] = []
    failed: list[BaseException] = []
    over = threading.Event()
    context = ssl.create_default_context(cafile=str(tmp_path / "chain.pem"))

    def ask(keep: bool) -> None:
        """One request after another, on one connection or a new one for each."""
        connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=SOON)
        try:
            while not over.is_set():
                connection.request("GET", "/sign/me")
                answers.append(connection.getresponse().read().decode())
                if not keep:
                    connection.close()
        except BaseException as error:
            failed.append(error)
        connection.close()

    def some_more() -> None:
        before = len(answers)
        until(lambda: failed or len(answers) > before + 20)

    clients = [threading.Thread(target=ask, args=(keep,)) for keep in (True, True, False)]
    for client in clients:
        client.start()
    for _ in range(5):
        some_more()
        keys.append(renew(tmp_path, certificate))
        service.send_signal(signal.SIGHUP)
        assert says(service) == "new keys\n"
        some_more()
        assert answers[-1] == hmac.digest(keys[-1], b"me", "sha256").hex()
    (tmp_path / "signing.key").write_bytes(b"too short")
    service.send_signal(signal.SIGHUP)
    assert says(service).startswith("still the old keys: ")
    some_more()
    assert answers[-1] == hmac.digest(keys[-1], b"me", "sha256").hex()
    over.set()
    for client in clients:
        client.join()
    assert failed == []
    assert set(answers) == {hmac.digest(key, b"me", "sha256").hex() for key in keys}
    text = (tmp_path / "tls.key").read_bytes().splitlines()[1]
    spy.none_but_a_planted_one(service.pid, text, keys[0], keys[-1])
    service.terminate()
    assert service.wait(SOON) == 0
    assert (tmp_path / "errors").read_text() == ""


# ---- database.py ----------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, secrets.token_hex(16))
    yield server
    server.close()


def test_database(
    start: Callable[..., "subprocess.Popen[str]"],
    person: Callable[..., Person],
    spy: Spy,
    server: Server,
    tmp_path: Path,
) -> None:
    (tmp_path / "database").write_text(server.password + "\n")
    env = server.environment | {"SECALLOC_CREDENTIALS": str(tmp_path)}
    password, token = server.password.encode(), secrets.token_hex(16)

    me = person("run database.py", "put", "mail", **env)
    me.sees("Token: ")  # it is connected
    assert spy.find(me.pid, password) == []
    me.types(token)
    assert me.leaves()[0] == 0

    held = start("run database.py", "get", "mail", SPY_HOLD="", **env)
    assert says(held) == token + "\n", (tmp_path / "errors").read_text()
    spy.none_but_a_planted_one(held.pid, token.encode(), password)
    spy.let_end(held.pid)
    assert held.wait(SOON) == 0

    careless = person("database.py", "put", "mail", SPY_CARELESS="", **env)
    careless.sees("Token: ")
    assert spy.find(careless.pid, password) != []  # libpq keeps it while it is connected


# ---- agent.py -------------------------------------------------------------------------------


def workers_of(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for each in listed for child in each.read_text().split()]


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_agent(start: Callable[..., "subprocess.Popen[str]"], spy: Spy, tmp_path: Path) -> None:
    key, path = tmp_path / "signing.key", str(tmp_path / "agent")
    agent = start("agent.py", str(key), path)
    until(lambda: os.path.exists(path))

    def sign(message: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(SOON)
            connection.connect(path)
            connection.sendall(message)
            connection.shutdown(socket.SHUT_WR)
            return connection.recv(64)

    def is_valid(seed: bytes, message: bytes) -> bool:
        made: bytes = Ed25519PrivateKey.from_private_bytes(seed).sign(message)
        return made == sign(message)  # Ed25519 has one signature of a message

    def each_is_valid(seed: bytes) -> bool:
        """Of each worker by itself: the others are stopped meanwhile."""
        workers = workers_of(agent.pid)
        for worker in workers:
            others = [other for other in workers if other != worker]
            for other in others:
                os.kill(other, signal.SIGSTOP)
                until(partial(is_stopped, other))
            valid = is_valid(seed, b"message")
            for other in others:
                os.kill(other, signal.SIGCONT)
            if not valid:
                return False
        return len(workers) == 2

    until(lambda: len(workers_of(agent.pid)) == 2)
    first = key.read_bytes()
    assert len(first) == 32
    assert each_is_valid(first)
    before = workers_of(agent.pid)

    os.kill(before[0], signal.SIGSEGV)
    assert says(agent).endswith(f"ended: {-signal.SIGSEGV}\n")
    until(lambda: len(workers_of(agent.pid)) == 2)
    assert each_is_valid(first)
    assert before[0] not in workers_of(agent.pid)

    second = secrets.token_bytes(32)
    key.write_bytes(second)
    agent.send_signal(signal.SIGHUP)
    until(lambda: each_is_valid(second))
    for pid in (agent.pid, *workers_of(agent.pid)):
        spy.none_but_a_planted_one(pid, first, second)

    spy.lock_down(workers_of(agent.pid)[0])  # it found something wrong
    assert agent.wait(SOON) == 0
    assert not os.path.exists(path)


# ---- backup.py ------------------------------------------------------------------------------


def fill(folder: Path, marker: str) -> None:
    folder.mkdir()
    (folder / "below").mkdir()
    (folder / "below" / "marker").write_text(marker)
    (folder / "link").symlink_to("below/marker")
    with (folder / "large").open("wb") as file:
        for _ in range(BYTES >> 20):
            file.write(os.urandom(1 << 20))


def test_backup(person: Callable[..., Person], spy: Spy, tmp_path: Path) -> None:
    phrase, marker = secrets.token_hex(16), secrets.token_hex(16)
    folder, file, back = (tmp_path / name for name in ("folder", "file", "back"))
    fill(folder, marker)
    me = person("backup.py", "save", "folder", "file", SPY_HOLD="")
    me.hidden("Passphrase: ", phrase)
    me.hidden("Again: ", phrase)
    until(file.exists)
    spy.none_but_a_planted_one(me.pid, phrase.encode(), marker.encode())
    spy.let_end(me.pid)
    assert me.leaves()[0] == 0
    assert marker.encode() not in file.read_bytes()

    me = person("backup.py", "restore", "file", "back", SPY_HOLD="")
    me.hidden("Passphrase: ", phrase)
    until(back.exists)
    spy.none_but_a_planted_one(me.pid, phrase.encode(), marker.encode())
    spy.let_end(me.pid)
    assert me.leaves()[0] == 0
    subprocess.run(["/usr/bin/diff", "-r", folder, back], check=True)
    assert (back / "link").is_symlink()


def test_a_backup_that_is_not_what_was_saved(person: Callable[..., Person], tmp_path: Path) -> None:
    piece, head = (1 << 20) + 16, 24
    phrase, file = "correct horse", tmp_path / "file"
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "large").write_bytes(os.urandom(3 << 20))
    me = person("backup.py", "save", "folder", "file")
    me.hidden("Passphrase: ", phrase)
    me.hidden("Again: ", phrase)
    assert me.leaves()[0] == 0
    whole = file.read_bytes()
    first, second = (whole[head + n * piece : head + (n + 1) * piece] for n in (0, 1))
    others = {
        "changed": whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:],
        "cut short": whole[: head + 2 * piece],
        "moved": whole[:head] + second + first + whole[head + 2 * piece :],
        "longer": whole + b"more",
        "of another salt": whole[:10] + bytes([whole[10] ^ 1]) + whole[11:],
        "of another passphrase": whole,
    }
    for how, content in others.items():
        file.write_bytes(content)
        me = person("backup.py", "restore", "file", "back")
        me.hidden("Passphrase: ", "battery staple" if how == "of another passphrase" else phrase)
        status, said = me.leaves()
        assert (status, "InvalidTag" in said) == (1, True), f"{how}: {said}"
        assert not list(tmp_path.glob("back*")), how
    file.write_bytes(whole)
    me = person("backup.py", "restore", "file", "back")
    me.hidden("Passphrase: ", phrase)
    assert me.leaves()[0] == 0
