"""Real programs that take a secret by a descriptor or a path, and Python's ssl by a path.

Where a program is not installed its test is skipped. Debian's packages: openssl, gnupg, age,
openssh-client, curl, postgresql-client.
"""

import http.server
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import LINUX, check, linux_only

import secalloc

PHRASE = b"correct horse battery staple, twice"


@pytest.fixture
def phrase() -> Iterator[secalloc.Arena]:
    with secalloc.Arena(PHRASE) as arena:
        yield arena


@pytest.fixture
def home() -> Iterator[Path]:
    """A short path: sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="sa", dir="/tmp") as directory:
        yield Path(directory)


def run(*command: object, fds: tuple[int, ...] = (), **options: object) -> bytes:
    """What a program writes; the test is skipped where there is no such program."""
    program = shutil.which(str(command[0]))
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(  # type: ignore[call-overload]  # noqa: S603
        [program, *map(str, command[1:])],
        capture_output=True,
        pass_fds=fds,
        timeout=300,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stderr
    out: bytes = done.stdout + done.stderr
    return out


def test_openssl_by_passin(phrase: secalloc.Arena, home: Path) -> None:
    key = home / "key.pem"
    curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    block = secalloc.pipe(phrase)
    with block as fd:
        run("openssl", "genpkey", *curve, "-aes256", "-pass", f"fd:{fd}", "-out", key, fds=(fd,))
    assert b"ENCRYPTED" in key.read_bytes()
    assert block.unread == 0
    with secalloc.pipe(phrase) as fd:
        out = run(
            "openssl", "pkey", "-in", key, "-noout", "-text", "-passin", f"fd:{fd}", fds=(fd,)
        )
    assert b"Private-Key" in out
    with secalloc.as_path(phrase) as path:
        out = run("openssl", "pkey", "-in", key, "-passin", f"file:{path}", fds=path.fds)
    assert b"PRIVATE KEY" in out


def test_gpg_by_passphrase_fd(phrase: secalloc.Arena, home: Path) -> None:
    env = {**os.environ, "GNUPGHOME": str(home)}
    gpg = ("gpg", "--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback")
    plain = home / "plain"
    plain.write_bytes(b"attack at dawn")
    try:
        with secalloc.pipe(phrase) as fd:
            quick = ("--s2k-count", 1024)  # or the agent measures how long it takes
            run(*gpg, *quick, "--passphrase-fd", fd, "--symmetric", plain, fds=(fd,), env=env)
        with secalloc.pipe(phrase) as fd:
            out = run(*gpg, "--passphrase-fd", fd, "--decrypt", f"{plain}.gpg", fds=(fd,), env=env)
        assert b"attack at dawn" in out
    finally:
        if kill := shutil.which("gpgconf"):
            subprocess.run([kill, "--kill", "all"], env=env, check=False)  # noqa: S603


def test_age_by_its_identity(home: Path) -> None:
    run("age-keygen", "-o", home / "identity")
    text = (home / "identity").read_text()
    recipient = text.partition("public key: ")[2].split()[0]
    (home / "plain").write_bytes(b"attack at dawn")
    run("age", "-r", recipient, "-o", home / "sealed", home / "plain")
    for seekable in (False, True) if LINUX else (False,):
        with (
            secalloc.read(home / "identity") as identity,
            secalloc.as_path(identity, seekable=seekable) as path,
        ):
            out = run("age", "-d", "-i", path, home / "sealed", fds=path.fds)
        assert out == b"attack at dawn"


def test_ssh_add_by_standard_input(home: Path) -> None:
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "of a test", "-f", home / "key")
    adds = 'ssh-add -q - && ssh-add -l && echo "$1"'
    with secalloc.read(home / "key") as key, secalloc.pipe(key) as fd:
        out = run("ssh-agent", "-a", home / "agent", "sh", "-c", adds, "sh", "done", stdin=fd)
    assert b"of a test" in out
    if LINUX:  # ssh-keygen looks at the mode, and at what kind of file it is
        with secalloc.read(home / "key") as key, secalloc.as_path(key, seekable=True) as path:
            out = run("ssh-keygen", "-y", "-f", path, fds=path.fds)
        assert out.split()[:2] == (home / "key.pub").read_bytes().split()[:2]


def test_curl_by_its_configuration(phrase: secalloc.Arena) -> None:
    seen: list[str | None] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["X-Token"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Not to the terminal."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            with (
                secalloc.concat(b'header = "X-Token: ', phrase, b'"\n') as configuration,
                secalloc.as_path(configuration) as path,
            ):
                url = f"http://127.0.0.1:{server.server_port}/"
                run("curl", "-sS", "--noproxy", "*", "--config", path, url, fds=path.fds)
        finally:
            server.shutdown()
            thread.join(300)
    assert seen == [PHRASE.decode()]


def of_postgres(listener: socket.socket, seen: list[bytes]) -> None:
    """As much of a PostgreSQL server as asks for a password in clear, and refuses it."""

    def message(kind: bytes, body: bytes) -> bytes:
        return kind + (len(body) + 4).to_bytes(4, "big") + body

    with listener.accept()[0] as connection, connection.makefile("rb") as stream:
        while True:  # what is no startup asks for encryption
            size = int.from_bytes(stream.read(4), "big")
            if int.from_bytes(stream.read(size - 4)[:4], "big") == 196608:
                break
            connection.sendall(b"N")
        connection.sendall(message(b"R", (3).to_bytes(4, "big")))
        assert stream.read(1) == b"p"
        seen.append(stream.read(int.from_bytes(stream.read(4), "big") - 4).rstrip(b"\0"))
        connection.sendall(message(b"E", b"SFATAL\0C28P01\0Mseen\0\0"))


PSQL = """
import subprocess, sys
from secalloc import residue
masked, port, program = bytes.fromhex(sys.argv[1]), sys.argv[2], sys.argv[3]
kept = Arena(len(masked))
for i, byte in enumerate(masked): kept[i] = byte ^ 0x5A
with secalloc.concat(b"*:*:*:*:", kept, b"\\n") as passfile:
    with secalloc.as_path(passfile, seekable=True) as path:
        done = subprocess.run(
            [program, "-w", "-h", "127.0.0.1", "-p", port, "-U", "me", "-d", "db", "-c", "x"],
            env={**os.environ, "PGPASSFILE": path, "PGSSLMODE": "disable",
                 "PGGSSENCMODE": "disable"},
            pass_fds=path.fds, capture_output=True)
        assert b"seen" in done.stderr, done.stderr
found = residue.find(kept)
control = bytes(kept)
assert len(residue.find(kept)) > len(found)
print([str(copy) for copy in found])
"""


@linux_only
def test_psql_by_its_passfile_and_no_residue() -> None:
    program = shutil.which("psql")
    if program is None:
        pytest.skip("psql is not installed")
    masked = bytes(byte ^ 0x5A for byte in PHRASE).hex()
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=of_postgres, args=(listener, seen), daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        out = check(
            PSQL.replace(
                "import subprocess, sys",
                f"import subprocess, sys\nsys.argv = ['-', {masked!r}, {str(port)!r}, {program!r}]",
                1,
            )
        )
        thread.join(300)
    assert seen == [PHRASE]
    assert out == "[]"


# ---- ssl's paths -------------------------------------------------------------------------------


TLS = """
import ssl, socket
from secalloc import residue
directory, by, finds = {directory!r}, {by!r}, {finds!r}
both = secalloc.read(f"{{directory}}/both.pem")
key = secalloc.read(f"{{directory}}/key.pem")
certificate = f"{{directory}}/certificate.pem"

def loaded(purpose):
    context = ssl.SSLContext(purpose)
    context.load_verify_locations(certificate)
    if by == "name": context.load_cert_chain(certificate, f"{{directory}}/key.pem")
    elif by == "bytes":
        global control
        control = bytes(key)
    elif by == "both":
        with secalloc.as_path(both, seekable=True) as path: context.load_cert_chain(path)
    else:
        with secalloc.as_path(key, seekable=by == "file") as path:
            context.load_cert_chain(certificate, path)
    return context

theirs, ours = loaded(ssl.PROTOCOL_TLS_SERVER), loaded(ssl.PROTOCOL_TLS_CLIENT)
found = residue.find(key)
if by != "bytes":
    theirs.verify_mode = ssl.CERT_REQUIRED  # the client shows its certificate
    listener = socket.create_server(("127.0.0.1", 0))
    def serve():
        with theirs.wrap_socket(listener.accept()[0], server_side=True) as connection:
            connection.sendall(connection.recv(100) + repr(connection.getpeercert()).encode()[:0])
            assert connection.getpeercert()
    thread = threading.Thread(target=serve)
    thread.start()
    with socket.create_connection(listener.getsockname()) as plain:
        with ours.wrap_socket(plain, server_hostname="localhost") as connection:
            connection.sendall(b"hello")
            assert connection.recv(100) == b"hello"
    thread.join()
    listener.close()
    found += residue.find(key)
print(bool(found))
if finds is not None: assert bool(found) == finds, [str(copy) for copy in found]
"""


@pytest.fixture(scope="module")
def keys() -> Iterator[Path]:
    """A key and its certificate, in a directory; and both in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed: it makes the key")
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        subprocess.run(  # noqa: S603
            [
                *(
                    openssl,
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                    "-nodes",
                    "-days",
                    "2",
                ),
                *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
                *("-keyout", directory / "key.pem", "-out", directory / "certificate.pem"),
            ],
            check=True,
            capture_output=True,
        )
        key, certificate = directory / "key.pem", directory / "certificate.pem"
        (directory / "both.pem").write_bytes(key.read_bytes() + certificate.read_bytes())
        yield directory


@linux_only
@pytest.mark.parametrize("by", ["pipe", "file", "both"])
def test_a_key_by_its_path_leaves_nothing(by: str, keys: Path) -> None:
    """For a TLS server and a client that shows its own certificate, over loopback."""
    check(TLS.format(directory=str(keys), by=by, finds=False))


@linux_only
def test_what_finds_nothing_finds_a_copy(keys: Path) -> None:
    """The control; and what the same call leaves by the name of a file on a disk is told."""
    check(TLS.format(directory=str(keys), by="bytes", finds=True))
    check(TLS.format(directory=str(keys), by="name", finds=None))


def test_both_in_one_file_need_a_file(keys: Path) -> None:
    with (
        secalloc.read(keys / "both.pem") as both,
        secalloc.as_path(both) as path,
        pytest.raises((ssl.SSLError, OSError)),
    ):
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path)
