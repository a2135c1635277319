"""The rows of docs/threats.md that no other test shows: mostly what is not protected."""

import os
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from crash import SECRET, raw, secret
from support import check, linux_only
from test_sources import MASK, residue

import secalloc
from secalloc import Arena, WipedError

# ---- who reads from outside --------------------------------------------------------------

HELD = """
import secalloc, sys
secalloc.configure(secretmem={secretmem})
arena = secalloc.Arena(bytes(range(128, 224)))
control = bytearray(bytes(range(128, 224)))
import ctypes
at = ctypes.addressof(ctypes.c_char.from_buffer(control))
print(arena.address, at, secalloc.Protection.SECRETMEM in arena.protection, flush=True)
sys.stdin.read()
"""


@linux_only
@pytest.mark.parametrize("secretmem", [True, False])
def test_another_process_reads_what_is_not_secretmem(secretmem: bool) -> None:
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", "-W", "ignore", "-c", HELD.format(secretmem=secretmem)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout
        arena, control, granted = child.stdout.readline().split()
        try:
            with open(f"/proc/{child.pid}/mem", "rb", buffering=0) as memory:
                assert os.pread(memory.fileno(), len(SECRET), int(control)) == SECRET
                if granted == "True":
                    with pytest.raises(OSError, match="Input/output error"):
                        os.pread(memory.fileno(), len(SECRET), int(arena))
                else:
                    assert os.pread(memory.fileno(), len(SECRET), int(arena)) == SECRET
        except PermissionError:
            pytest.skip("this user may not read the memory of a child")
    if secretmem and granted == "False":
        pytest.skip("there is no secretmem here")


# ---- what a wipe does not reach --------------------------------------------------------------


def test_the_kernel_s_buffers_keep_what_was_sent() -> None:
    left, right = socket.socketpair()
    with left, right, secret() as arena:
        left.sendall(arena)
        assert secalloc.lockdown() >= 1
        assert arena.wiped
        assert right.recv(len(SECRET)) == SECRET


def test_what_is_stored_through_an_old_buffer_after_the_pass() -> None:
    """It lies there; but the arena does not pass it off as content."""
    arena = Arena(len(SECRET))
    with memoryview(arena) as old:
        secalloc.lockdown()
        left, right = socket.socketpair()
        with left, right:
            left.sendall(SECRET)
            assert right.recv_into(old) == len(SECRET)
    assert raw(arena) == SECRET
    assert arena.wiped
    with pytest.raises(WipedError):
        bytes(arena)
    arena.close()


def test_copies_stay() -> None:
    """What was revealed is an ordinary object, and no wipe knows of it."""
    arena = secret()
    revealed = bytes(arena)
    secalloc.lockdown()
    assert arena.wiped
    assert revealed == SECRET


# ---- who compares, who handles -------------------------------------------------------------------


def test_who_compares() -> None:
    """The left side is asked first; bytes pass the question on, the others answer it."""
    arena = secret()
    assert bytes.__eq__(SECRET, arena) is NotImplemented
    assert bytearray.__eq__(bytearray(SECRET), arena) is True
    assert memoryview.__eq__(memoryview(SECRET), arena) is True
    assert arena == bytearray(SECRET)


def test_asyncio_takes_a_signal_over() -> None:
    check("""
        import asyncio
        a = secret()
        assert secalloc.status().handlers[signal.SIGTERM] == "armed"
        async def main():
            got = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, got.set)
            assert secalloc.status().handlers[signal.SIGTERM] != "armed"
            os.kill(os.getpid(), signal.SIGTERM)
            await got.wait()
        asyncio.run(main())
        assert bytes(a) == SECRET
        assert secalloc.status().handlers[signal.SIGSEGV] == "armed"
    """)


# ---- what comes over a network ---------------------------------------------------------------


@linux_only
def test_residue_of_receiving() -> None:
    secret = os.urandom(1024)
    masked = bytes(b ^ MASK for b in secret)
    residue(
        secret,
        f"""
import socket
left, right = socket.socketpair()
with Arena(1024) as arena:
    for i, b in enumerate(bytes.fromhex({masked.hex()!r})): arena[i] = b ^ {MASK}
    left.sendall(arena)
kept = Arena(1024)
""",
        "assert right.recv_into(kept) == 1024",
        "kept = right.recv(1024)",
    )


@linux_only
def test_residue_of_receiving_over_tls(certificate: Path) -> None:
    """OpenSSL decrypts into a buffer of its own first, which is scanned as well."""
    secret = os.urandom(1024)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("localhost", 0)) as listener:

        def serve() -> None:
            for _ in range(2):
                with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
                    connection.sendall(secret)
                    connection.recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        residue(
            secret,
            f"""
import socket, ssl
context = ssl.create_default_context(cafile={str(certificate)!r})
plain = socket.create_connection(("localhost", {listener.getsockname()[1]}), timeout=30)
client = context.wrap_socket(plain, server_hostname="localhost")
kept = Arena(1024)
""",
            "assert client.recv_into(kept) == 1024\nclient.send(b'-')",
            "kept = client.recv(1024)\nclient.send(b'-')",
        )
        thread.join(30)
