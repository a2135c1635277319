"""The arena as input and output of what programs really call, equal to what bytes give."""
# ruff: noqa: PT012 - what is wiped inside a block shows at its end

import hashlib
import hmac
import io
import mmap
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from crash import SECRET, raw, secret
from support import crypto

import secalloc
from secalloc import Arena, ArenaView, WipedError

KEY = SECRET[:32]


@pytest.fixture(params=["arena", "view"])
def key(request: pytest.FixtureRequest) -> Arena | ArenaView:
    """32 bytes that are KEY."""
    return Arena(KEY) if request.param == "arena" else secret()[:32]


# ---- the standard library -----------------------------------------------------------


@pytest.mark.parametrize("name", sorted(hashlib.algorithms_guaranteed))
def test_hashlib(name: str, key: Arena | ArenaView) -> None:
    length = (20,) if name.startswith("shake") else ()
    ours, theirs = hashlib.new(name, key), hashlib.new(name, KEY)
    ours.update(key)
    theirs.update(KEY)
    assert ours.digest(*length) == theirs.digest(*length)


def test_hashlib_large() -> None:
    large = secret(300_000)
    assert hashlib.sha256(large).digest() == hashlib.sha256(bytes(large)).digest()


def test_hmac_and_kdfs(key: Arena | ArenaView) -> None:
    assert hmac.digest(key, b"m", "sha256") == hmac.digest(KEY, b"m", "sha256")
    assert hmac.digest(b"k", key, "sha256") == hmac.digest(b"k", KEY, "sha256")
    assert hashlib.blake2b(b"m", key=key).digest() == hashlib.blake2b(b"m", key=KEY).digest()
    for password, salt in ((key, b"salt"), (b"pw", key)):
        plain = (KEY, b"salt") if password is key else (b"pw", KEY)
        assert hashlib.pbkdf2_hmac("sha256", password, salt, 2) == hashlib.pbkdf2_hmac(
            "sha256", *plain, 2
        )
    assert hashlib.scrypt(key, salt=b"s", n=2, r=1, p=1) == hashlib.scrypt(
        KEY, salt=b"s", n=2, r=1, p=1
    )
    assert hmac.compare_digest(key, KEY)
    assert not hmac.compare_digest(key, KEY[::-1])


def test_hmac_new_insists_on_bytes() -> None:
    with pytest.raises(TypeError):
        hmac.new(Arena(KEY), b"m", "sha256")  # type: ignore[call-overload]


def test_os_calls(key: Arena | ArenaView, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    with path.open("wb", buffering=0) as file:
        assert os.write(file.fileno(), key) == 32
        assert os.writev(file.fileno(), [key, b"-", key]) == 65
        assert os.pwrite(file.fileno(), key, 97) == 32
    assert path.read_bytes() == KEY + KEY + b"-" + KEY + KEY
    with path.open("rb", buffering=0) as file:
        into, also = Arena(32), Arena(40)
        assert os.readv(file.fileno(), [into, also[8:]]) == 64
        assert into == KEY
        assert also[8:] == KEY
        if hasattr(os, "preadv"):
            assert os.preadv(file.fileno(), [into], 1) == 32
            assert into == KEY[1:] + KEY[:1]


def test_file_io(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(SECRET)
    arena = Arena(len(SECRET))
    arena.clear()
    with open(path, "rb", buffering=0) as file, arena.open("w") as view:
        assert isinstance(file, io.FileIO)
        assert file.readinto(view) == len(SECRET)
    assert arena == SECRET
    with open(path, "rb") as buffered:
        assert buffered.readinto(arena) == len(SECRET)
    out = io.BytesIO()
    assert out.write(arena) == len(SECRET)
    assert out.getvalue() == SECRET


def test_sockets() -> None:
    left, right = socket.socketpair()
    with left, right:
        left.sendall(secret())
        into = Arena(len(SECRET))
        assert right.recv_into(into) == len(SECRET)
        assert into == SECRET
        assert left.sendmsg([into[:10], into[10:]]) == len(SECRET)
        again = Arena(len(SECRET))
        got = right.recvmsg_into([again[:5], again[5:]])
        assert got[0] == len(SECRET)
        assert again == SECRET


def test_a_short_receive_does_not_pass_for_a_key() -> None:
    left, right = socket.socketpair()
    with left, right:
        left.sendall(KEY[:10])
        left.shutdown(socket.SHUT_WR)
        into = Arena(32)
        with pytest.raises(EOFError), into.open("w") as view:
            got = 0
            while got < 32:
                n = right.recv_into(view[got:])
                if n == 0:
                    raise EOFError
                got += n
        assert into.wiped
        assert KEY[:10] not in raw(into)


def test_others(key: Arena | ArenaView) -> None:
    assert zlib.crc32(key) == zlib.crc32(KEY)
    assert zlib.decompress(zlib.compress(key)) == KEY
    assert struct.unpack("32s", key) == (KEY,)
    assert struct.iter_unpack("8s", key).__next__() == (KEY[:8],)
    with mmap.mmap(-1, 4096) as page:
        page.write(KEY)
        assert page.find(key, 0) == 0
        page[100:132] = key
        assert page[100:132] == KEY
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as echo:
        assert echo.stdin is not None
        assert echo.stdout is not None
        os.write(echo.stdin.fileno(), key)
        echo.stdin.close()
        assert echo.stdout.read() == KEY


def test_numpy(key: Arena | ArenaView) -> None:
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    array = numpy.frombuffer(key, dtype=numpy.uint8)
    assert array.tobytes() == KEY
    array ^= 0xFF
    assert bytes(key) == bytes(b ^ 0xFF for b in KEY)


# ---- cryptography --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["AESGCM", "ChaCha20Poly1305", "AESCCM", "AESGCMSIV"])
def test_aeads(name: str, key: Arena | ArenaView) -> None:
    aead, exceptions = crypto("hazmat.primitives.ciphers.aead"), crypto("exceptions")
    nonce, text = b"n" * 12, secret()
    try:
        ours, theirs = getattr(aead, name)(key), getattr(aead, name)(KEY)
    except exceptions.UnsupportedAlgorithm:
        pytest.skip(f"this OpenSSL has no {name}")
    sealed = ours.encrypt(nonce, text, b"aad")
    assert sealed == theirs.encrypt(nonce, SECRET, b"aad")
    if not hasattr(ours, "encrypt_into"):
        pytest.skip(f"{name}.encrypt_into is not in this version")

    out = Arena(len(SECRET) + 16)
    with out.open("w") as view:
        assert ours.encrypt_into(nonce, text, b"aad", view) == len(sealed)
    assert out == sealed

    back = Arena(len(SECRET))
    with back.open("w") as view:
        assert ours.decrypt_into(nonce, out, b"aad", view) == len(SECRET)
    assert back == SECRET

    out[0] ^= 1
    with pytest.raises(exceptions.InvalidTag), back.open("w") as view:
        ours.decrypt_into(nonce, out, b"aad", view)
    assert back.wiped
    assert SECRET[1:17] not in raw(back)
    with pytest.raises(WipedError):
        bytes(back)


def key_object(name: str, arena: Arena) -> Callable[[], bytes]:
    """Uses a key object of the package, made once."""
    aead = crypto("hazmat.primitives.ciphers.aead")
    ciphers = crypto("hazmat.primitives.ciphers")
    hashes, hmacs = crypto("hazmat.primitives.hashes"), crypto("hazmat.primitives.hmac")
    ed25519 = crypto("hazmat.primitives.asymmetric.ed25519")
    if hasattr(aead, name):
        cipher = getattr(aead, name)(arena)
        return lambda: bytes(cipher.encrypt(b"n" * 12, b"text", None))
    if name == "HMAC":
        mac = hmacs.HMAC(arena, hashes.SHA256())
        return lambda: bytes(mac.copy().finalize())
    if name == "Ed25519PrivateKey":
        signer = ed25519.Ed25519PrivateKey.from_private_bytes(arena)
        return lambda: bytes(signer.sign(b"text"))
    cipher = ciphers.Cipher(ciphers.algorithms.AES(arena), ciphers.modes.CTR(b"i" * 16))
    return lambda: bytes(cipher.encryptor().update(b"text"))


COPIES = ["AESGCM", "AESGCMSIV", "AESOCB3", "ChaCha20Poly1305", "HMAC", "Ed25519PrivateKey"]
READS = ["AESCCM", "Cipher"]


@pytest.mark.parametrize("name", [*COPIES, *READS])
def test_who_goes_on_after_a_lockdown(name: str) -> None:
    """Some keep OpenSSL's own copy; those that read again fail, and never use noise."""
    use = key_object(name, arena := Arena(KEY))
    expected = use()
    secalloc.lockdown()
    assert arena.wiped
    if name in COPIES:
        assert use() == expected
    else:
        with pytest.raises((WipedError, TypeError, BufferError)):
            use()


def test_hkdf(key: Arena | ArenaView) -> None:
    hkdf, hashes = crypto("hazmat.primitives.kdf.hkdf"), crypto("hazmat.primitives.hashes")

    def kdf() -> Any:
        return hkdf.HKDF(algorithm=hashes.SHA256(), length=42, salt=b"salt", info=b"info")

    expected = kdf().derive(KEY)
    assert kdf().derive(key) == expected
    if not hasattr(hkdf.HKDF, "derive_into"):
        pytest.skip("HKDF.derive_into is not in this version")
    out = Arena(42)
    with out.open("w") as view:
        assert kdf().derive_into(key, view) == 42
    assert out == expected


def test_ed25519_and_x25519(key: Arena | ArenaView) -> None:
    ed25519 = crypto("hazmat.primitives.asymmetric.ed25519").Ed25519PrivateKey
    x25519 = crypto("hazmat.primitives.asymmetric.x25519").X25519PrivateKey
    for kind in (ed25519, x25519):
        ours, theirs = kind.from_private_bytes(key), kind.from_private_bytes(KEY)
        assert ours.public_key().public_bytes_raw() == theirs.public_key().public_bytes_raw()
    ours = ed25519.from_private_bytes(key)
    assert ours.sign(key) == ed25519.from_private_bytes(KEY).sign(KEY)


def test_hmac_hash_and_cipher_of_cryptography(key: Arena | ArenaView) -> None:
    ciphers = crypto("hazmat.primitives.ciphers")
    hashes = crypto("hazmat.primitives.hashes")
    hmacs = crypto("hazmat.primitives.hmac")
    sha256, aes, ctr = hashes.SHA256(), ciphers.algorithms.AES, ciphers.modes.CTR

    def mac(secret_key: Any) -> bytes:
        one = hmacs.HMAC(secret_key, sha256)
        one.update(secret_key)
        return bytes(one.finalize())

    def digest(data: Any) -> bytes:
        one = hashes.Hash(sha256)
        one.update(data)
        return bytes(one.finalize())

    def encrypt(secret_key: Any, text: Any) -> bytes:
        cipher = ciphers.Cipher(aes(secret_key), ctr(b"i" * 16))
        return bytes(cipher.encryptor().update(text))

    assert mac(key) == mac(KEY)
    assert digest(key) == digest(KEY)
    assert encrypt(key, key) == encrypt(KEY, KEY)


# ---- TLS over the loopback -------------------------------------------------------------


def test_ssl(certificate: Path) -> None:
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate)
    client_side = ssl.create_default_context(cafile=str(certificate))
    listener = socket.create_server(("localhost", 0))
    size = 100_000
    content = bytes(secret(size))

    def echo() -> None:
        connection, _ = listener.accept()
        with server_side.wrap_socket(connection, server_side=True) as server:
            held, got = bytearray(size), 0
            while got < size:
                got += server.recv_into(memoryview(held)[got:])
            server.sendall(held)

    thread = threading.Thread(target=echo)
    thread.start()
    with (
        socket.create_connection(listener.getsockname()[:2]) as plain,
        client_side.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        client.settimeout(30)
        client.sendall(secret(size))
        into = Arena(size)
        with into.open("w") as view:
            got = 0
            while got < size:
                n = client.recv_into(view[got:])
                assert n
                got += n
    thread.join()
    listener.close()
    assert into == content
