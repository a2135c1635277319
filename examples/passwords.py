"""A password manager: one encrypted file, one passphrase, and a prompt.

    python examples/passwords.py ~/passwords

The first start asks twice for a new passphrase. After five minutes without a use the key is
overwritten, and so is every secret when the machine sleeps or the screen locks (with dbus-fast:
`pip install 'secalloc[desktop]'`); then the passphrase is asked for again. The file is salt, nonce,
and ChaCha20-Poly1305 of lines NAME TAB PASSWORD, under scrypt's key. `show` writes a password to
standard output, and `copy` hands it to the clipboard's program: from there on it is theirs.
"""

import os
import subprocess
import sys
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

import secalloc

CLIPBOARD = ["xclip", "-selection", "clipboard"]  # or ["wl-copy"]
SALT, NONCE, TAG = 16, 12, 16


def derive(salt: bytes, *, new: bool = False) -> secalloc.Arena:
    key = secalloc.Arena(32, name="key of the passwords")
    with secalloc.getpass("Passphrase: ", confirm=new) as passphrase, key.open("w") as view:
        kdf = Scrypt(salt=salt, length=32, n=2**15, r=8, p=1)
        kdf.derive_into(memoryview(passphrase), memoryview(view))
    key.seal(encrypt=True)  # but in a block, its page is inaccessible, and holds ciphertext
    key.expire(300, idle=True)
    return key


class Vault:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.unlock() if path.exists() else self.new_passphrase(secalloc.Arena(0))

    def unlock(self) -> None:
        self.salt = self.path.read_bytes()[:SALT]
        self.key = derive(self.salt)

    def new_passphrase(self, entries: secalloc.Arena) -> None:
        salt = os.urandom(SALT)
        self.save(entries, salt, derive(salt, new=True))

    def load(self) -> secalloc.Arena:
        """The entries. InvalidTag: another passphrase, or somebody changed the file."""
        data = memoryview(self.path.read_bytes())
        salt, nonce, sealed = data[:SALT], data[SALT : SALT + NONCE], data[SALT + NONCE :]
        entries = secalloc.Arena(len(sealed) - TAG, name="entries")
        with self.key.open("r") as key, entries.open("w") as out:
            # The object has a copy of the key: it is dropped at once.
            ChaCha20Poly1305(memoryview(key)).decrypt_into(nonce, sealed, salt, memoryview(out))
        return entries

    def save(self, text: secalloc.Arena, salt: bytes, key: secalloc.Arena) -> None:
        nonce, sealed = os.urandom(NONCE), bytearray(text.size + TAG)
        with key.open("r") as view:  # a wipe in here is an error at its end: nothing is written
            ChaCha20Poly1305(memoryview(view)).encrypt_into(nonce, memoryview(text), salt, sealed)
        secalloc.write(self.path, salt + nonce + sealed)
        self.salt, self.key = salt, key

    def put(self, name: bytes, password: secalloc.Arena) -> None:
        if b"\t" in name or not name or password.count(b"\n"):
            raise ValueError("it takes a name, without a tab, and a password of one line")
        with self.load() as entries:
            lines = entries.split(b"\n")[:-1]  # views, as is what partition gives: no copies
            others = [line for line in lines if not line.startswith(name + b"\t")]
            parts = [part for line in others for part in (line, b"\n")]
            with secalloc.concat(*parts, name, b"\t", password, b"\n") as changed:
                self.save(changed, self.salt, self.key)

    def run(self, command: str, name: bytes) -> None:
        if command == "new":
            self.put(name, secalloc.b64encode(secalloc.random(18)))
        elif command == "add":
            self.put(name, secalloc.getpass(confirm=True))
        elif command == "passphrase":
            self.new_passphrase(self.load())
        elif command in ("list", "show", "copy"):
            with self.load() as entries:
                for line in entries.split(b"\n")[:-1]:
                    known, _, password = line.partition(b"\t")
                    if command == "list":
                        print(known.reveal("utf-8"))
                    elif known == name and command == "show":
                        os.writev(1, [password, b"\n"])
                    elif known == name:
                        with secalloc.pipe(password) as fd:
                            subprocess.run(CLIPBOARD, stdin=fd, check=True)
        else:
            print("new NAME, add NAME, show NAME, copy NAME, list, passphrase, quit")


def main() -> None:
    try:
        secalloc.lock_on("suspend", "screen-lock")
    except (ImportError, NotImplementedError, OSError) as error:
        print(f"does not lock with the screen: {error}")
    vault = Vault(Path(sys.argv[1]).expanduser())
    while (line := input("> ").strip()) != "quit":
        command, _, name = line.partition(" ")
        try:
            if vault.key.wiped:
                vault.unlock()
            vault.run(command, name.encode())
        except InvalidTag:
            print("another passphrase, or the file was changed")
            vault.key.clear()
        except (ValueError, OSError, subprocess.SubprocessError) as error:
            print(error)  # an error never shows what an arena holds


if __name__ == "__main__":
    main()
