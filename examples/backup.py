"""A backup: a folder into one encrypted file, of any size, and back.

    python examples/backup.py save FOLDER FILE
    python examples/backup.py restore FILE FOLDER    # which is not there yet

scrypt makes the key, of a passphrase and a salt of the file's own. What tar writes is encrypted in
pieces of 1 MiB, each by ChaCha20-Poly1305 under a nonce that counts and says which piece is the
last (STREAM: Hoang, Reyhanitabar, Rogaway, Vizar, 2015). So one that is changed, moved or missing
is an error, at the end, too. The plain text is in one arena, in tar and in the kernel's pipe. What
is not authentic is not written, and the folder is there only when all of the file was right.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

import secalloc

MAGIC, SALT, TAG = b"backup 1", 16, 16
PIECE = 1 << 20  # bytes; the last one is shorter, and may be empty


def derive(salt: bytes, *, new: bool) -> secalloc.Arena:
    key = secalloc.Arena(32, name="key of the backup")
    with secalloc.getpass("Passphrase: ", confirm=new) as passphrase, key.open("w") as view:
        kdf = Scrypt(salt=salt, length=32, n=2**15, r=8, p=1)
        kdf.derive_into(memoryview(passphrase), memoryview(view))
    key.seal()
    return key


def nonce_of(number: int, size: int) -> bytes:
    return number.to_bytes(11, "big") + bytes([size < PIECE])


def pieces(fd: int, plain: secalloc.Arena) -> Iterator[int]:
    """Fill the arena with the next piece, and say how long it is."""
    size = PIECE
    while size == PIECE:
        size = 0
        while size < PIECE and (n := os.readv(fd, [plain[size:]])):
            size += n
        yield size


def encrypt(key: secalloc.Arena, source: int, out: BinaryIO) -> None:
    sealed = memoryview(bytearray(PIECE + TAG))
    with secalloc.Arena(PIECE, name="plain text") as plain:
        for number, size in enumerate(pieces(source, plain)):
            nonce, piece = nonce_of(number, size), sealed[: size + TAG]
            with key.open("r") as view:  # a cipher object has a copy of its key: not for long
                cipher = ChaCha20Poly1305(memoryview(view))
                cipher.encrypt_into(nonce, memoryview(plain[:size]), None, piece)
                del cipher
            out.write(piece)


def decrypt(key: secalloc.Arena, source: BinaryIO, to: int) -> None:
    """InvalidTag: another passphrase, or another file than was saved."""
    size, number = PIECE, 0
    with secalloc.Arena(PIECE, name="plain text") as plain:
        while size == PIECE:
            sealed = source.read(PIECE + TAG)
            size = max(len(sealed) - TAG, 0)
            with key.open("r") as view, plain.open("w") as text:  # on an error it stays wiped
                cipher = ChaCha20Poly1305(memoryview(view))
                cipher.decrypt_into(nonce_of(number, size), sealed, None, memoryview(text[:size]))
                del cipher
            done = 0
            while done < size:
                done += os.writev(to, [plain[done:size]])
            number += 1


def save(folder: Path, file: Path) -> None:
    salt, part = os.urandom(SALT), Path(f"{file}.part")
    tar = ["tar", "-C", str(folder), "-c", "."]
    with open(part, "xb") as out, derive(salt, new=True) as key:
        out.write(MAGIC + salt)
        with subprocess.Popen(tar, stdout=subprocess.PIPE) as process:
            assert process.stdout  # type checkers do not know
            encrypt(key, process.stdout.fileno(), out)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, tar)
        out.flush()
        os.fsync(out.fileno())
    part.rename(file)


def restore(file: Path, folder: Path) -> None:
    part = Path(f"{folder}.part")
    tar = ["tar", "-C", str(part), "-x"]
    part.mkdir()
    try:
        with open(file, "rb") as source:
            magic, salt = source.read(len(MAGIC)), source.read(SALT)
            if magic != MAGIC:
                raise ValueError(f"{file} is no backup")
            key = derive(salt, new=False)
            with key, subprocess.Popen(tar, stdin=subprocess.PIPE) as process:
                assert process.stdin  # type checkers do not know
                decrypt(key, source, process.stdin.fileno())
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, tar)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


if __name__ == "__main__":
    {"save": save, "restore": restore}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
